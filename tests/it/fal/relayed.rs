//! The way through a TURN server, where there is no other.

use anyhow::{Result, ensure};
use gst::prelude::*;
use scope_tests::{Cloud, Turn};
use serde_json::json;

use super::{RETURNED, start};

/// Only relayed candidates may be told, so that no other way can have been taken.
fn told_only_relays(cloud: &Cloud) -> Result<()> {
    let told: Vec<String> = cloud.report()?["told_candidates"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|line| line.as_str().map(str::to_owned))
        .collect();
    ensure!(!told.is_empty(), "no candidate was told");
    ensure!(
        told.iter().all(|line| line.contains("typ relay")),
        "{told:?}"
    );
    Ok(())
}

#[test]
fn pictures_come_back_through_the_relay_alone() -> Result<()> {
    start();
    let turn = Turn::start()?;
    let cloud = Cloud::new("webrtc", "ice-transport-policy=relay")?;
    cloud
        .bin
        .set_property("turn-servers", gst::Array::new([turn.url()]));
    cloud.play()?;

    cloud.picture_like(RETURNED)?;
    ensure!(cloud.stage() == "live");
    told_only_relays(&cloud)?;
    turn.has_relayed()
}

/// Scope's own cloud apps hand servers out. Over TCP they are reached where a firewall lets no UDP out.
#[test]
fn a_relay_that_the_app_names_is_used_by_either_transport() -> Result<()> {
    start();
    for transport in ["udp", "tcp"] {
        let turn = Turn::start()?;
        let cloud = Cloud::new("ws", "ice-transport-policy=relay")?;
        let server = json!({"urls": format!("turn:{}?transport={transport}", turn.address),
            "username": Turn::USER, "credential": Turn::PASSWORD});
        cloud
            .app
            .faults(&json!({"rest": {"ice_servers": [server]}}))?;
        cloud.play()?;

        cloud.picture_like(RETURNED)?;
        told_only_relays(&cloud)?;
        turn.has_relayed()?;
    }
    Ok(())
}

#[test]
fn without_any_relay_the_reason_names_the_property() -> Result<()> {
    start();
    let cloud = Cloud::new("webrtc", "ice-transport-policy=relay")?;
    cloud.play()?;

    let reason = cloud.reason_of("reconnecting")?;
    ensure!(reason.contains("turn-servers"), "{reason}");
    Ok(())
}

#[test]
fn a_wrong_password_ends_in_a_reason_and_the_fallback_goes_on() -> Result<()> {
    start();
    let turn = Turn::start()?;
    let cloud = Cloud::new("webrtc", "ice-transport-policy=relay")?;
    let wrong = turn.url().replace(Turn::PASSWORD, "guessed");
    cloud
        .bin
        .set_property("turn-servers", gst::Array::new([wrong]));
    cloud.play()?;

    let reason = cloud.reason_of("reconnecting")?;
    ensure!(
        reason.contains("password in turn-servers") && !reason.contains("guessed"),
        "{reason}"
    );
    cloud.waiting();
    cloud.picture_like(super::SENT)?;
    Ok(())
}
