//! What a sender may be called, and what comes of other names.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

use gst::prelude::*;

mod ground;

use ground::{Receiving, Running, Sending, caps, name};

#[test]
fn a_name_that_breaks_a_rule_is_an_error_and_one_that_is_no_text_is_no_panic() {
    use std::os::unix::ffi::OsStringExt as _;
    ground::init();
    let no_text = std::ffi::OsString::from_vec(b"a\xff\xfeb".to_vec());
    // A value of GLib's that holds these bytes as its string.
    let no_text = std::path::PathBuf::from(no_text).to_value();
    let long = "x".repeat(300).to_value();
    for element in ["spoutsink", "spoutsrc"] {
        for (name, reason) in [
            (&no_text, "not valid UTF-8 from byte 1 on"),
            (&long, "300 bytes"),
        ] {
            let text = match element {
                "spoutsink" => "videotestsrc num-buffers=1 ! spoutsink name=it",
                _ => "spoutsrc name=it ! fakesink",
            };
            let running = Running::launch(text);
            let it = running.element("it");
            it.set_property_from_value("sender-name", name);
            it.property::<String>("sender-name");

            assert!(running.pipeline.set_state(gst::State::Playing).is_err());
            let error = running.error();
            assert!(error.contains(reason), "{element}: {error}");
        }
    }
}

#[test]
fn an_adapter_that_is_none_is_an_error_and_any_other_is_taken() {
    use std::os::unix::ffi::OsStringExt as _;
    ground::init();
    let no_text = std::ffi::OsString::from_vec(b"\xff0".to_vec());
    let no_text = std::path::PathBuf::from(no_text).to_value();
    for text in ["spoutsink name=it", "spoutsrc name=it ! fakesink"] {
        let text = match text.starts_with("spoutsink") {
            true => format!("videotestsrc num-buffers=1 ! {text}"),
            false => text.into(),
        };
        for wrong in [&no_text, &"AMD".to_value(), &"64".to_value()] {
            let running = Running::launch(&text);
            let it = running.element("it");
            it.set_property_from_value("adapter", wrong);
            it.property::<String>("adapter");

            assert!(running.pipeline.set_state(gst::State::Playing).is_err());
            let error = running.error();
            assert!(error.contains("set `adapter` to `auto`"), "{error}");
        }
        for right in ["auto", "1", "0x11e5c"] {
            let running = Running::launch(&text);
            let it = running.element("it");
            it.set_property("adapter", right);
            assert_eq!(it.property::<String>("adapter"), right);
            running.pipeline.set_state(gst::State::Playing).unwrap();
        }
    }
}

#[test]
fn a_name_set_in_ready_is_taken() {
    let text =
        "videotestsrc num-buffers=1 ! video/x-raw,format=BGRA,width=8,height=8 ! spoutsink name=it";
    let running = Running::launch(text);
    running.pipeline.set_state(gst::State::Ready).unwrap();
    let (it, name) = (running.element("it"), name());
    it.set_property("sender-name", &name);

    running.pipeline.set_state(gst::State::Paused).unwrap();
    running.pipeline.state(ground::GENEROUS).0.unwrap();

    assert_eq!(it.property::<Option<String>>("actual-name"), Some(name));
}

#[test]
fn a_sender_without_a_name_has_the_programs() {
    let mut sending = Sending::new("", &caps("BGRA", 8, 8));
    sending.send(vec![5; 256]);

    let name: String = sending.running.element("sink").property("actual-name");

    assert!(name.starts_with("names"), "{name}");
}

#[test]
fn two_sinks_of_one_name_are_numbered() {
    let name = name();
    let mut first = Sending::new(&name, &caps("BGRA", 8, 8));
    first.send(vec![1; 256]);
    let mut second = Sending::new(&name, &caps("BGRA", 8, 8));
    second.send(vec![2; 256]);

    let actual = |sending: &Sending| {
        sending
            .running
            .element("sink")
            .property::<Option<String>>("actual-name")
    };
    assert_eq!(actual(&first), Some(name.clone()));
    assert_eq!(actual(&second), Some(format!("{name}_1")));
    let receiving = Receiving::new(&format!("{name}_1"), "");
    assert_eq!(receiving.bytes(), vec![2; 256]);
}
