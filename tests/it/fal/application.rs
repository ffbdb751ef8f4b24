//! An application that owns token and socket: messages pass by signals.

use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use gst::glib;
use gst::prelude::*;
use scope_tests::Cloud;
use serde_json::json;

use super::{RETURNED, start};

type Said = Arc<Mutex<Vec<(Vec<u8>, bool)>>>;

/// A pipeline without an `app-id`, and what it says.
fn owned() -> Result<(Cloud, Said)> {
    start();
    let cloud = Cloud::new("webrtc", "")?;
    cloud.bin.set_property("app-id", None::<&str>);
    let said = Said::default();
    let heard = said.clone();
    cloud.bin.connect_closure(
        "signalling-send",
        false,
        glib::closure!(move |_: gst::Element, message: glib::Bytes, binary: bool| {
            heard.lock().unwrap().push((message.to_vec(), binary));
        }),
    );
    Ok((cloud, said))
}

fn hear(cloud: &Cloud, text: &str) {
    cloud.bin.emit_by_name::<()>(
        "signalling-receive",
        &[&glib::Bytes::from(text.as_bytes()), &false],
    );
}

#[test]
fn nothing_is_said_before_the_app_has_spoken_and_then_an_offer() -> Result<()> {
    let (cloud, said) = owned()?;
    cloud.play()?;
    cloud.bin.emit_by_name::<()>("signalling-opened", &[]);
    cloud.await_stage("starting-runner")?;
    ensure!(said.lock().unwrap().is_empty());

    hear(&cloud, r#"{"type":"ready"}"#);
    cloud.until("offer", |_| Ok(!said.lock().unwrap().is_empty()))?;

    let (offer, binary) = said.lock().unwrap()[0].clone();
    let offer: serde_json::Value = serde_json::from_slice(&offer)?;
    ensure!(!binary && offer["type"] == "offer", "{offer}");
    ensure!(
        cloud.report()?["attempts"] == 0,
        "the element opens no socket of its own"
    );
    Ok(())
}

#[test]
fn a_closed_socket_ends_the_connection_and_a_new_one_begins_another() -> Result<()> {
    let (cloud, said) = owned()?;
    let ended = Arc::new(Mutex::new(Vec::new()));
    let told = ended.clone();
    cloud.bin.connect_closure(
        "signalling-ended",
        false,
        glib::closure!(move |_: gst::Element, reason: &str| told
            .lock()
            .unwrap()
            .push(reason.to_owned())),
    );
    cloud.play()?;
    for round in 1..=2 {
        cloud.bin.emit_by_name::<()>("signalling-opened", &[]);
        hear(&cloud, r#"{"type":"ready"}"#);
        let offers = || {
            let said = said.lock().unwrap();
            said.iter()
                .filter(|(text, _)| String::from_utf8_lossy(text).contains("\"offer\""))
                .count()
        };
        cloud.until("offer", |_| Ok(offers() == round))?;
        cloud
            .bin
            .emit_by_name::<()>("signalling-closed", &[&1006_u32, &""]);
        cloud.until("end", |_| Ok(ended.lock().unwrap().len() == round))?;
        let children = cloud
            .bin
            .downcast_ref::<gst::Bin>()
            .map(|bin| bin.children().len());
        ensure!(children == Some(0), "{children:?}");
    }
    Ok(())
}

/// The whole way, with a WebSocket of the application's making: here a Python one, driven over its pipes.
#[test]
fn pictures_come_back_over_the_applications_own_socket() -> Result<()> {
    let (cloud, said) = owned()?;
    let address = cloud.app.address.clone();
    ensure!(TcpStream::connect(&address).is_ok());
    let mut socket = scope_tests::Peer::socket(
        &format!("ws://{address}/owner/app/webrtc"),
        scope_tests::cloud::KEY,
    )?;
    cloud.play()?;
    socket.ask("open", json!({}))?;
    cloud.bin.emit_by_name::<()>("signalling-opened", &[]);

    let mut sent = 0;
    for _ in 0..400 {
        let fresh: Vec<_> = said.lock().unwrap()[sent..].to_vec();
        for (message, _) in fresh {
            socket.ask("send", json!({"text": String::from_utf8(message)?}))?;
            sent += 1;
        }
        let heard = socket.ask("receive", json!({}))?;
        for text in heard["messages"].as_array().cloned().unwrap_or_default() {
            hear(&cloud, text.as_str().unwrap_or_default());
        }
        if cloud.stage() == "live" {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    cloud.picture_like(RETURNED)?;
    Ok(())
}
