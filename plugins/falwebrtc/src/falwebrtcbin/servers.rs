//! What webrtcbin is told before it negotiates: STUN and TURN servers, ours and the app's, in its own spelling.

use fal_client::{IceServer, Secret};
use gst::prelude::*;
use gst_webrtc::WebRTCICETransportPolicy;

use webrtc_live::{MediaError, ice, set_if_there, turn};

use super::link::Plan;

/// Sets a new webrtcbin up.
///
/// # Errors
///
/// Only relays may be used, and there is none.
pub(crate) fn prepare(webrtcbin: &gst::Element, plan: &Plan) -> Result<(), MediaError> {
    set_if_there(webrtcbin, "bundle-policy", "max-bundle");
    set_if_there(webrtcbin, "latency", &plan.latency.as_millis().to_string());
    let mut stun = plan.stun_server.clone();
    let mut relays = plan.turn_servers.clone();
    for server in &plan.app_servers {
        for url in &server.urls {
            match url.split_once(':') {
                Some(("stun", _)) => stun = stun.or_else(|| Some(url.clone())),
                Some(("turn" | "turns", _)) => relays.push(with_credentials(url, server)),
                _ => {}
            }
        }
    }
    if plan.policy == WebRTCICETransportPolicy::Relay && relays.is_empty() {
        return Err(MediaError::Negotiation(
            "ice-transport-policy is relay, and there is no TURN server: name one in turn-servers"
                .into(),
        ));
    }
    webrtcbin.set_property("ice-transport-policy", plan.policy);
    if let Some(server) = stun {
        set_if_there(webrtcbin, "stun-server", &with_slashes(&server));
    }
    for server in &relays {
        turn::add(webrtcbin, &with_slashes(server.expose()));
    }
    ice::prepare(webrtcbin, &[]);
    Ok(())
}

/// `stun:host` as `stun://host`, which is what webrtcbin reads.
fn with_slashes(url: &str) -> String {
    match url.split_once(':') {
        Some((scheme, rest)) if !rest.starts_with("//") => format!("{scheme}://{rest}"),
        _ => url.to_owned(),
    }
}

/// `turn:host` as `turn:user:password@host`.
fn with_credentials(url: &str, server: &IceServer) -> Secret {
    let escape = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let user = server.username.as_deref().map(escape).unwrap_or_default();
    let password = server
        .credential
        .as_ref()
        .map(|secret| escape(secret.expose()))
        .unwrap_or_default();
    match url.split_once(':') {
        Some((scheme, rest)) => Secret::new(format!(
            "{scheme}://{user}:{password}@{}",
            rest.trim_start_matches('/')
        )),
        None => Secret::new(url),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_written_as_webrtcbin_reads_them() {
        assert_eq!(with_slashes("stun:a.b:19302"), "stun://a.b:19302");
        assert_eq!(with_slashes("turns://u:p@a.b"), "turns://u:p@a.b");
        let server = IceServer {
            urls: Vec::new(),
            username: Some("1700:me".into()),
            credential: Some(Secret::new("p/w=")),
        };
        let url = with_credentials("turn:a.b:3478?transport=udp", &server);
        assert_eq!(
            url.expose(),
            "turn://1700%3Ame:p%2Fw%3D@a.b:3478?transport=udp"
        );
    }
}
