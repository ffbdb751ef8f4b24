//! Another autoencoder, and low-rank adapters: at load and while frames flow.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod ground;

use std::path::{Path, PathBuf};

use ground::{ELEMENT, drawn, harness, init};
use gst::prelude::*;

const MODEL: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/engine/tests/golden/model-tiny"
);
const LAYER: &str = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q";

/// An adapter of rank 2 for a layer of 16 values.
fn adapter(dir: &Path, side: usize) -> PathBuf {
    let bytes = 2 * side * 4;
    let header = format!(
        r#"{{"{LAYER}.lora_A.weight":{{"dtype":"F32","shape":[2,{side}],"data_offsets":[0,{bytes}]}},
            "{LAYER}.lora_B.weight":{{"dtype":"F32","shape":[{side},2],"data_offsets":[{bytes},{}]}}}}"#,
        2 * bytes
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend((0..4 * side).flat_map(|k| (2.0 * (1.0 + k as f32).sin()).to_le_bytes()));
    let path = dir.join("style.safetensors");
    std::fs::write(&path, file).unwrap();
    path
}

#[test]
fn an_adapter_changes_the_picture_and_its_scale_changes_while_frames_flow() {
    let dir = tempfile::tempdir().unwrap();
    let path = adapter(dir.path(), 16);
    let path = path.to_str().unwrap();
    let plain = drawn(&mut harness(Some(MODEL), |_| {}));
    let mut adapted = harness(Some(MODEL), |element| element.set_property("loras", path));
    assert!(drawn(&mut adapted) != plain, "the adapter shows");

    let element = adapted.element().unwrap();
    let patch = r#"{"lora_scales": [{"path": "style.safetensors", "scale": 0}]}"#;
    let refused = element.emit_by_name::<Option<String>>("apply-parameters", &[&patch]);
    assert_eq!(refused, None);

    let shown = (0..500).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(10));
        drawn(&mut adapted) == plain
    });
    assert!(shown, "at scale 0 the picture is the plain one");
    let loras = element.property::<String>("loras");
    assert!(loras.contains(r#""scale":0.0"#), "{loras}");
}

#[test]
fn scales_of_adapters_that_are_not_loaded_are_refused() {
    init();
    let element = gst::ElementFactory::make(ELEMENT).build().unwrap();

    let patch = r#"{"lora_scales": [{"path": "other.safetensors", "scale": 0.5}], "seed": 7}"#;
    let refused = element.emit_by_name::<Option<String>>("apply-parameters", &[&patch]);

    assert!(refused.is_some_and(|sentence| sentence.contains("`other.safetensors`")));
    assert_eq!(
        element.property::<u64>("seed"),
        42,
        "nothing of it was taken"
    );
}

#[test]
fn an_adapter_for_another_model_is_one_precise_error() {
    init();
    let dir = tempfile::tempdir().unwrap();
    let path = adapter(dir.path(), 320);
    let element = gst::ElementFactory::make(ELEMENT)
        .property("model-dir", MODEL)
        .property("loras", path.to_str().unwrap())
        .build()
        .unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));

    assert!(element.set_state(gst::State::Ready).is_err());

    let errors: Vec<_> =
        std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Error])).collect();
    element.set_state(gst::State::Null).unwrap();
    element.set_bus(None::<&gst::Bus>);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let gst::MessageView::Error(error) = errors[0].view() else {
        unreachable!()
    };
    let text = error.error().message().to_owned();
    assert!(
        text.contains("style.safetensors") && text.contains("320 inputs"),
        "{text}"
    );
}

#[test]
fn the_autoencoder_of_another_folder_is_used() {
    let plain = drawn(&mut harness(Some(MODEL), |_| {}));
    let vae = tempfile::tempdir().unwrap();
    for part in ["vae_encoder", "vae_decoder"] {
        std::fs::create_dir(vae.path().join(part)).unwrap();
        let file = format!("{part}/model.onnx");
        std::fs::copy(Path::new(MODEL).join(&file), vae.path().join(&file)).unwrap();
    }
    let config = r#"{"_class_name": "AutoencoderKL", "scaling_factor": 0.5}"#;
    std::fs::write(vae.path().join("vae_decoder/config.json"), config).unwrap();

    let path = vae.path().to_str().unwrap();
    let mut other = harness(Some(MODEL), |element| element.set_property("vae-dir", path));

    assert!(drawn(&mut other) != plain);
    let info = other
        .element()
        .unwrap()
        .property::<gst::Structure>("model-info");
    assert_eq!(info.get::<bool>("tiny-autoencoder"), Ok(false));
}

#[test]
fn model_info_tells_what_was_found() {
    let harness = harness(Some(MODEL), |_| {});
    let info = harness
        .element()
        .unwrap()
        .property::<gst::Structure>("model-info");

    assert_eq!(info.get::<bool>("tiny-autoencoder"), Ok(true));
    assert_eq!(info.get::<bool>("turbo"), Ok(true));
    assert_eq!(info.get::<u64>("token-width"), Ok(32));
    let steps = info.get::<gst::Array>("video-steps").unwrap();
    assert_eq!(
        steps
            .iter()
            .map(|step| step.get::<i32>().unwrap())
            .collect::<Vec<_>>(),
        [500]
    );
    assert!(!info.has_field("width"), "any size will do");
}
