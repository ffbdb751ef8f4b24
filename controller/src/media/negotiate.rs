//! Offer in, answer out, through webrtcbin's promises.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst_webrtc::{WebRTCICEGatheringState, WebRTCSDPType, WebRTCSessionDescription};
use tokio::sync::Notify;

use super::answer;
use super::error::MediaError;
use super::offer::Plan;

/// With UPnP off gathering completes at once; a STUN or TURN server that is silent must not hold the answer up.
const GATHERING: Duration = Duration::from_secs(2);
/// webrtcbin works in its own thread; this only guards against one that died.
const STEP: Duration = Duration::from_secs(10);

/// Our candidates as they are found.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gathering {
    found: Arc<Mutex<Vec<(u32, String)>>>,
    changed: Arc<Notify>,
}

impl Gathering {
    /// Listens from before the negotiation, or the first ones would be missed.
    pub(crate) fn watch(webrtcbin: &gst::Element) -> Self {
        let gathering = Self::default();
        let found = gathering.found.clone();
        webrtcbin.connect_closure(
            "on-ice-candidate",
            false,
            glib::closure!(move |_: &gst::Element, line: u32, candidate: &str| {
                // Since GStreamer 1.26 an empty one marks the end.
                if !candidate.is_empty() {
                    found.lock().unwrap().push((line, candidate.to_owned()));
                }
            }),
        );
        let changed = gathering.changed.clone();
        webrtcbin.connect_notify(Some("ice-gathering-state"), move |_, _| {
            changed.notify_one()
        });
        gathering
    }

    async fn finish(&self, webrtcbin: &gst::Element) {
        let complete = || {
            webrtcbin.property::<WebRTCICEGatheringState>("ice-gathering-state")
                == WebRTCICEGatheringState::Complete
        };
        let wait = async {
            while !complete() {
                // The state changes in another thread, a little after its notification at times.
                tokio::time::timeout(Duration::from_millis(20), self.changed.notified())
                    .await
                    .ok();
            }
        };
        if tokio::time::timeout(GATHERING, wait).await.is_err() {
            tracing::debug!("gathering candidates took too long; answering with what there is");
        }
    }
}

/// Answers `offer`: returns when every candidate is in the text.
pub(crate) async fn answer(
    webrtcbin: &gst::Element,
    offer: &str,
    plan: &Plan,
    gathering: &Gathering,
) -> Result<String, MediaError> {
    let offer = webrtc_live::ice::without_hidden(offer);
    let message = gst_sdp::SDPMessage::parse_buffer(offer.as_bytes())
        .map_err(|_| MediaError::Negotiation("it is not SDP".into()))?;
    let offer = WebRTCSessionDescription::new(WebRTCSDPType::Offer, message);
    ask(webrtcbin, "set-remote-description", Some(&offer)).await?;
    let reply = ask(webrtcbin, "create-answer", None).await?;
    let description = reply
        .as_ref()
        .and_then(|reply| reply.get::<WebRTCSessionDescription>("answer").ok())
        .ok_or_else(|| MediaError::Negotiation("no common ground was found".into()))?;
    ask(webrtcbin, "set-local-description", Some(&description)).await?;
    gathering.finish(webrtcbin).await;
    let description = webrtcbin
        .property::<Option<WebRTCSessionDescription>>("local-description")
        .unwrap_or(description);
    let text = description
        .sdp()
        .as_text()
        .map_err(|_| MediaError::Negotiation("our answer is no text".into()))?;
    let found = gathering.found.lock().unwrap().clone();
    Ok(answer::complete(&text, plan, &found))
}

/// One step of the negotiation.
async fn ask(
    webrtcbin: &gst::Element,
    step: &str,
    description: Option<&WebRTCSessionDescription>,
) -> Result<Option<gst::Structure>, MediaError> {
    let (promise, reply) = gst::Promise::new_future();
    match description {
        Some(description) => webrtcbin.emit_by_name::<()>(step, &[description, &promise]),
        None => webrtcbin.emit_by_name::<()>(step, &[&None::<gst::Structure>, &promise]),
    }
    let refused = |why: String| MediaError::Negotiation(format!("{step}: {why}"));
    let reply = tokio::time::timeout(STEP, reply)
        .await
        .map_err(|_| refused("no reply".into()))?;
    let reply = reply
        .map_err(|error| refused(format!("{error:?}")))?
        .map(|reply| reply.to_owned());
    match reply
        .as_ref()
        .and_then(|reply| reply.get::<gst::glib::Error>("error").ok())
    {
        Some(error) => Err(refused(error.message().to_owned())),
        None => Ok(reply),
    }
}
