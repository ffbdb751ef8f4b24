//! The ICE agent inside webrtcbin, made quick and quiet, and where it may listen.

use std::net::IpAddr;

use gst::glib;
use gst::prelude::*;

/// Prepares a webrtcbin's agent; must happen before negotiation. Media is exchanged at these `addresses`; empty is every
/// address of this machine.
///
/// Not async, because libnice's agent is no `Send` object.
pub fn prepare(webrtcbin: &gst::Element, addresses: &[IpAddr]) {
    let Some(ice) = webrtcbin.property::<Option<gst::Object>>("ice-agent") else {
        return;
    };
    if ice.find_property("agent").is_some()
        && let Some(agent) = ice.property::<Option<glib::Object>>("agent")
    {
        // Trap: UPnP is on by default; it starts an HTTP listener and delays "gathering complete" by 200 ms.
        // TCP candidates only cost time. Checked keep-alives notice at least some peers that went away.
        for (name, value) in [
            ("upnp", false),
            ("ice-tcp", false),
            ("keepalive-conncheck", true),
        ] {
            if agent.find_property(name).is_some() {
                agent.set_property(name, value);
            }
        }
    }
    // Trap: with nothing but `lo`, libnice gathers nothing and never says so; loopback must be named.
    let loopback = [IpAddr::from([127, 0, 0, 1])];
    let addresses = if addresses.is_empty() && only_loopback() {
        &loopback[..]
    } else {
        addresses
    };
    for address in addresses {
        if !ice.emit_by_name::<bool>("add-local-ip-address", &[&address.to_string()]) {
            gst::warning!(
                gst::CAT_DEFAULT,
                obj = webrtcbin,
                "the ICE agent does not take the local address {address}"
            );
        }
    }
}

/// Whether a candidate hides its address behind an mDNS name, as a browser does that may not use the camera.
///
/// Trap: webrtcbin 1.22 looks such a name up and, where nobody answers, keeps its agent for ever: a thread and six
/// files for each connection. Nothing is lost without: the other side's own checks reach us and tell its address.
///
/// - `candidate`: `candidate:…`, with or without `a=`.
#[must_use]
pub fn is_hidden(candidate: &str) -> bool {
    let address = candidate.split_ascii_whitespace().nth(4);
    address.is_some_and(|address| address.to_ascii_lowercase().ends_with(".local"))
}

/// The description less its candidates that [`is_hidden`] is true of.
#[must_use]
pub fn without_hidden(sdp: &str) -> String {
    let lines = sdp.split_inclusive('\n');
    lines
        .filter(|line| !(line.starts_with("a=candidate:") && is_hidden(line)))
        .collect()
}

/// Whether this machine has no address but its own loopback. Where that cannot be told, libnice decides.
fn only_loopback() -> bool {
    let Ok(four) = std::fs::read_to_string("/proc/net/fib_trie") else {
        return false;
    };
    let six = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    !has_four(&four) && !has_six(&six)
}

/// Whether the kernel's routing trie holds a local address outside 127/8.
fn has_four(trie: &str) -> bool {
    let mut address = "";
    trie.lines()
        .any(|line| match line.trim().strip_prefix("|-- ") {
            Some(next) => {
                address = next;
                false
            }
            None => line.contains("/32 host LOCAL") && !address.starts_with("127."),
        })
}

/// Whether an interface other than `lo` has an IPv6 address.
fn has_six(table: &str) -> bool {
    table
        .lines()
        .filter_map(|line| line.split_ascii_whitespace().last())
        .any(|interface| interface != "lo")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LO: &str = "Main:\n  +-- 127.0.0.0/8 2 0 2\n     +-- 127.0.0.0/31 1 0 0\n        |-- 127.0.0.1\n           /32 host LOCAL\n     |-- 127.255.255.255\n           /32 link BROADCAST\n";

    #[test]
    fn candidates_behind_a_name_are_left_out_and_nothing_else() {
        let sdp = "v=0\r\na=candidate:1 1 udp 9 f652c54d-1a4a.local 36284 typ host\r\n\
                   a=candidate:2 1 udp 9 192.0.2.7 5 typ host\r\na=mid:x.local\r\n";

        let left = without_hidden(sdp);

        assert_eq!(
            left,
            "v=0\r\na=candidate:2 1 udp 9 192.0.2.7 5 typ host\r\na=mid:x.local\r\n"
        );
        assert!(is_hidden("candidate:1 1 udp 9 A.LOCAL 36284 typ host"));
    }

    #[test]
    fn a_machine_with_only_loopback_is_recognised() {
        assert!(!has_four(LO));
        assert!(!has_six(
            "00000000000000000000000000000001 01 80 10 80       lo\n"
        ));
        assert!(!has_four("") && !has_six(""));
    }

    #[test]
    fn a_real_address_is_seen() {
        let eth = format!("{LO}     |-- 192.0.2.2\n        /32 host LOCAL\n");

        assert!(has_four(&eth));
        assert!(has_six(
            "fd000000000000000000000000000002 02 40 00 80     eth0\n"
        ));
    }
}
