//! A model that there is no memory for, asked for while another one works.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod ground;

use std::fs;

use ground::{ELEMENT, caps, copy_of_the_built_in_model, frame, init, strict};
use gst::prelude::*;

/// A field of protobuf that holds bytes.
fn bytes(number: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 1 << 14, "two bytes tell its length");
    let length = [
        (content.len() & 0x7f | 0x80) as u8,
        (content.len() >> 7) as u8,
    ];
    [&[number << 3 | 2], &length[..], content].concat()
}

/// A field of protobuf that holds a number below 128.
fn number(field: u8, value: u8) -> Vec<u8> {
    vec![field << 3, value]
}

/// An operation of one output.
fn node(operator: &str, inputs: &[&str], output: &str) -> Vec<u8> {
    let inputs = inputs.iter().flat_map(|name| bytes(1, name.as_bytes()));
    let rest = [bytes(2, output.as_bytes()), bytes(4, operator.as_bytes())].concat();
    bytes(1, &inputs.chain(rest).collect::<Vec<_>>())
}

/// An input or output of four free axes, in float32.
fn port(field: u8, name: &str) -> Vec<u8> {
    let axis = bytes(1, &bytes(2, b"n"));
    let tensor = [number(1, 1), bytes(2, &axis.repeat(4))].concat();
    bytes(
        field,
        &[bytes(1, name.as_bytes()), bytes(2, &bytes(1, &tensor))].concat(),
    )
}

/// A decoder of latents that makes a picture of a terabyte out of nothing.
fn insatiable() -> Vec<u8> {
    let sides = [1_i64, 3, 1 << 19, 1 << 19].map(i64::to_le_bytes).concat();
    let sides = [
        number(1, 4),
        number(2, 7),
        bytes(8, b"sides"),
        bytes(9, &sides),
    ]
    .concat();
    let graph = [
        node("ReduceSum", &["latent_sample"], "sum"),
        node("Expand", &["sum", "sides"], "sample"),
        bytes(2, b"g"),
        bytes(5, &sides),
        port(11, "latent_sample"),
        port(12, "sample"),
    ];
    let opset = [bytes(1, b""), number(2, 17)].concat();
    [number(1, 8), bytes(7, &graph.concat()), bytes(8, &opset)].concat()
}

/// The built-in model with that decoder.
fn too_large() -> tempfile::TempDir {
    let folder = copy_of_the_built_in_model();
    fs::write(folder.path().join("vae_decoder/model.onnx"), insatiable()).unwrap();
    folder
}

/// The error that an element posts when it is asked for `state` and refuses.
fn refusal(element: &gst::Element, state: gst::State) -> gst::glib::Error {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(element.set_state(state).is_err(), "it went to {state:?}");
    let message = bus.pop_filtered(&[gst::MessageType::Error]).unwrap();
    element.set_bus(None::<&gst::Bus>);
    match message.view() {
        gst::MessageView::Error(error) => error.error(),
        other => panic!("{other:?}"),
    }
}

fn name_of(element: &gst::Element) -> String {
    let info = element.property::<gst::Structure>("model-info");
    info.get("name").unwrap()
}

#[test]
fn a_second_model_without_memory_is_refused_and_the_first_plays_on() {
    let folder = too_large();
    let mut playing = strict();
    let caps = caps("RGB", 64, 48);
    playing.set_src_caps(caps.clone());
    playing.push(frame(&caps, 0)).unwrap();
    playing.pull().unwrap();

    let second = gst::ElementFactory::make(ELEMENT)
        .property("model-dir", folder.path().to_str().unwrap())
        .build()
        .unwrap();
    let error = refusal(&second, gst::State::Ready);

    assert!(error.matches(gst::ResourceError::NoSpaceLeft), "{error:?}");
    let text = error.message();
    assert!(
        text.contains("vae_decoder") && text.contains("lower the picture size"),
        "{text}"
    );
    for n in 1..4 {
        playing.push(frame(&caps, n)).unwrap();
        playing.pull().unwrap();
    }
    second.set_state(gst::State::Null).unwrap();
}

#[test]
fn an_element_that_is_given_such_a_model_keeps_the_one_it_has() {
    init();
    let folder = too_large();
    let element = gst::ElementFactory::make(ELEMENT).build().unwrap();
    element.set_state(gst::State::Ready).unwrap();
    let before = name_of(&element);

    element.set_property("model-dir", folder.path().to_str().unwrap());
    let error = refusal(&element, gst::State::Paused);

    assert!(error.matches(gst::ResourceError::NoSpaceLeft), "{error:?}");
    assert_eq!(element.current_state(), gst::State::Ready);
    assert_eq!(name_of(&element), before, "it is still loaded");
    element.set_property("model-dir", None::<String>);
    element.set_state(gst::State::Paused).unwrap();
    assert_eq!(name_of(&element), before);
    element.set_state(gst::State::Null).unwrap();
}
