//! The ICE agent inside webrtcbin, made quick and quiet.

use gst::glib;
use gst::prelude::*;

/// Prepares a webrtcbin's agent; must happen before negotiation.
pub(crate) fn prepare(webrtcbin: &gst::Element) {
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
    if only_loopback() {
        ice.emit_by_name::<bool>("add-local-ip-address", &[&"127.0.0.1"]);
    }
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

    #[test]
    fn a_machine_with_only_loopback_is_recognised() {
        let trie =
            "Main:\n  +-- 127.0.0.0/8 2 0 2\n        |-- 127.0.0.1\n           /32 host LOCAL\n";
        let table = "00000000000000000000000000000001 01 80 10 80       lo\n";
        assert!(!has_four(trie) && !has_six(table) && !has_four("") && !has_six(""));
    }

    #[test]
    fn a_real_address_is_seen() {
        assert!(has_four("     |-- 192.0.2.2\n        /32 host LOCAL\n"));
        assert!(has_six(
            "fd000000000000000000000000000002 02 40 00 80     eth0\n"
        ));
    }
}
