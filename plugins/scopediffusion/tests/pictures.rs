//! Pictures beside the frames, and adapters that are inputs: the element on a folder of `gst-scope model export`.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod ground;

use std::path::Path;

use ground::{drawn, harness, run};
use gst::prelude::*;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/engine/tests/exported/model");
const INK: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/engine/tests/exported/ink.safetensors"
);

/// A picture file with GStreamer's test pattern of this name.
fn picture(dir: &Path, pattern: &str) -> String {
    let path = dir.join(format!("{pattern}.png"));
    let path = path.to_str().unwrap().to_owned();
    let text = format!(
        "videotestsrc num-buffers=1 pattern={pattern} ! video/x-raw,width=90,height=60 ! pngenc ! filesink location={path}"
    );
    assert_eq!(run(&text).type_(), gst::MessageType::Eos);
    path
}

fn tell(harness: &gst_check::Harness, patch: &str) -> Option<String> {
    let element = harness.element().unwrap();
    element.emit_by_name("apply-parameters", &[&patch])
}

#[test]
fn reference_images_steer_the_picture_and_their_scale_changes_while_frames_flow() {
    let dir = tempfile::tempdir().unwrap();
    let (bars, ball) = (picture(dir.path(), "smpte"), picture(dir.path(), "ball"));
    let plain = drawn(&mut harness(Some(MODEL), |_| {}));
    let mut shown = harness(Some(MODEL), |element| {
        element.set_property("reference-images", &bars);
    });

    let one = drawn(&mut shown);
    assert!(one != plain, "the picture shows");
    let both = serde_json::json!({ "vace_ref_images": [bars, ball], "vace_context_scale": 1.5 });
    assert_eq!(tell(&shown, &both.to_string()), None);
    let two = drawn(&mut shown);
    assert!(two != one, "the second one shows too");
    let listed = shown
        .element()
        .unwrap()
        .property::<String>("reference-images");
    assert!(
        listed.contains("smpte.png") && listed.contains("ball.png"),
        "{listed}"
    );

    assert_eq!(tell(&shown, r#"{"vace_context_scale": 0.0}"#), None);
    assert!(
        drawn(&mut shown) == plain,
        "at scale 0 nothing of them is left"
    );
    assert_eq!(
        tell(
            &shown,
            r#"{"vace_ref_images": [], "vace_context_scale": 1.0}"#
        ),
        None
    );
    assert!(drawn(&mut shown) == plain, "and without them");
}

#[test]
fn a_model_without_an_adapter_refuses_them_and_names_what_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let bars = picture(dir.path(), "smpte");
    let harness = harness(None, |_| {});
    harness
        .element()
        .unwrap()
        .set_state(gst::State::Ready)
        .unwrap();

    let patch = serde_json::json!({ "vace_ref_images": [bars], "seed": 7 });
    let refused = tell(&harness, &patch.to_string()).unwrap();

    assert!(refused.contains("colour-transfer"), "{refused}");
    let element = harness.element().unwrap();
    assert_eq!(
        element.property::<u64>("seed"),
        42,
        "nothing of it was taken"
    );
    assert_eq!(
        tell(
            &harness,
            r#"{"vace_ref_images": [], "vace_context_scale": 1.0}"#
        ),
        None
    );
}

#[test]
fn any_model_takes_on_the_colours_of_a_picture() {
    let dir = tempfile::tempdir().unwrap();
    let red = picture(dir.path(), "red");
    let mut harness = harness(None, |_| {});
    let plain = drawn(&mut harness);

    let asked = serde_json::json!({ "colour_reference": red, "colour_transfer": 1.0 });
    assert_eq!(tell(&harness, &asked.to_string()), None);

    let mean = |picture: &[u8], channel: usize| {
        let values = picture.iter().skip(channel).step_by(3);
        values.map(|value| f64::from(*value)).sum::<f64>() / (picture.len() / 3) as f64
    };
    let coloured = drawn(&mut harness);
    assert!(
        mean(&coloured, 0) > 240.0 && mean(&coloured, 1) < 15.0,
        "as red as the picture"
    );
    assert_eq!(tell(&harness, r#"{"colour_transfer": 0.5}"#), None);
    let half = drawn(&mut harness);
    assert!(mean(&half, 0) < mean(&coloured, 0) && mean(&half, 0) > mean(&plain, 0));
    assert_eq!(tell(&harness, r#"{"colour_transfer": 0.0}"#), None);
    assert!(drawn(&mut harness) == plain);
}

#[test]
fn a_file_that_is_missing_or_no_picture_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.png");
    std::fs::write(&text, "no picture").unwrap();
    let harness = harness(Some(MODEL), |_| {});
    harness
        .element()
        .unwrap()
        .set_state(gst::State::Ready)
        .unwrap();

    let missing = tell(&harness, r#"{"vace_ref_images": ["/nowhere.png"]}"#).unwrap();
    let patch = serde_json::json!({ "colour_reference": text });
    let broken = tell(&harness, &patch.to_string()).unwrap();

    assert!(missing.contains("/nowhere.png"), "{missing}");
    assert!(broken.contains("notes.png` cannot be decoded"), "{broken}");
}

#[test]
fn an_adapter_that_is_an_input_changes_its_scale_without_loading_anything() {
    let plain = drawn(&mut harness(Some(MODEL), |_| {}));
    let mut adapted = harness(Some(MODEL), |element| element.set_property("loras", INK));
    let whole = drawn(&mut adapted);
    assert!(whole != plain, "the adapter shows");
    let info = adapted
        .element()
        .unwrap()
        .property::<gst::Structure>("model-info");
    let inputs = info.get::<gst::Array>("lora-inputs").unwrap();
    assert_eq!(inputs.len(), 2);

    let bus = gst::Bus::new();
    adapted.element().unwrap().set_bus(Some(&bus));
    assert_eq!(
        tell(
            &adapted,
            r#"{"lora_scales": [{"path": "ink.safetensors", "scale": 0}]}"#
        ),
        None
    );
    assert!(drawn(&mut adapted) == plain, "with the very next frame");
    assert_eq!(
        tell(
            &adapted,
            r#"{"lora_scales": [{"path": "oil", "scale": 1.0}]}"#
        ),
        None
    );
    assert!(
        drawn(&mut adapted) != plain,
        "one that nobody listed, by its name"
    );
    let loaded = bus.pop_filtered(&[gst::MessageType::Element]);
    assert!(loaded.is_none(), "{loaded:?}");
}
