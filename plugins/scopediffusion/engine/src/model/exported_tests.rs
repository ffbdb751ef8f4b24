//! A folder of `gst-scope model export` with everything that it can add, against diffusers and peft.
//!
//! Needs ONNX Runtime (`make setup-run`); fails without it.

use std::fs;
use std::path::PathBuf;

use super::tests::load_with;
use super::*;
use crate::frame::{FrameView, Layout};
use crate::golden::{self, Golden, assert_close};
use crate::lora::Lora;
use crate::parameters::Patch;
use crate::reference::Reference;

/// The prompt of the vectors.
const PROMPT: &str = "a lighthouse in the rain";
/// Height and width of their latents, and side of their pictures.
const LATENT: (usize, usize) = (8, 12);
const SIDE: u32 = 32;

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/exported")
}

fn model() -> Model {
    load_with(&dir().join("model"), &[]).unwrap()
}

fn vectors() -> Golden {
    Golden::open_in(&dir(), "vectors")
}

fn parameters(ink: f32, oil: f32) -> Parameters {
    let patch = serde_json::json!({
        "prompt": PROMPT,
        "lora_scales": [{"path": "/l/ink.safetensors", "scale": ink}, {"path": "oil", "scale": oil}],
    });
    let mut parameters = Parameters::default();
    parameters
        .apply(&Patch::from_json(&patch.to_string()).unwrap())
        .unwrap();
    parameters
}

fn pictures() -> [Vec<u8>; 2] {
    let vectors = vectors();
    ["picture0", "picture1"].map(|name| vectors.bytes(name).unwrap())
}

fn view(data: &[u8]) -> FrameView<'_> {
    FrameView {
        data,
        width: SIDE,
        height: SIDE,
        stride: 3 * SIDE as usize,
        layout: Layout::RGB,
    }
}

fn seen(model: &Model, pictures: &[&[u8]]) -> Reference {
    let views: Vec<_> = pictures.iter().map(|data| view(data)).collect();
    model.look_at(&views).unwrap()
}

/// The network's output for the two rows of the vectors.
fn out(model: &Model, parameters: &Parameters, reference: &Reference, scale: f32) -> Vec<f32> {
    let vectors = vectors();
    let context = model.condition(parameters).unwrap().tokens;
    let scales: Vec<f32> = (model.network_loras().iter())
        .map(|name| parameters.lora_scale(name))
        .collect();
    let mut out = Tensor::default();
    let rows = Rows {
        sample: &vectors.floats("sample"),
        timesteps: &vectors.floats("timesteps"),
        context: &context.repeat(2),
        pooled: &[],
        time_ids: &[],
        guidance: &[],
        stamp: 0,
        tokens: &reference.tokens.repeat(2),
        reference_scale: scale,
        lora_scales: &scales,
        latent: LATENT,
    };
    model
        .networks
        .denoise(&rows, &mut out, &Watch::default())
        .unwrap();
    out.values
}

#[test]
fn what_the_folder_can_do_is_found_in_its_files() {
    let model = model();

    let facts = model.facts();
    assert!(facts.reference_images && facts.batchable && facts.tiny_autoencoder);
    assert_eq!(facts.lora_inputs, ["ink", "oil"]);
}

#[test]
fn pictures_become_the_tokens_of_the_reference() {
    let (model, vectors, [first, second]) = (model(), vectors(), pictures());

    let both = seen(&model, &[&first, &second]);

    assert_close("tokens", &both.tokens, &vectors.floats("tokens"), 1e-4);
    let nothing = vectors.floats("nothing");
    assert_close("nothing", &both.negative, &nothing.repeat(2), 1e-4);
    assert_close("none", &model.no_picture().tokens, &nothing, 1e-4);
}

#[test]
fn scales_of_adapters_change_what_the_text_encoder_says() {
    let (model, vectors) = (model(), vectors());
    let said = |ink, oil| model.condition(&parameters(ink, oil)).unwrap().tokens;

    assert_close(
        "plain",
        &said(0.0, 0.0),
        &vectors.floats("context_plain"),
        1e-4,
    );
    assert_close(
        "adapted",
        &said(0.8, -0.5),
        &vectors.floats("context_adapted"),
        1e-4,
    );
}

#[test]
fn the_network_follows_adapters_and_pictures_as_the_reference_does() {
    let (model, vectors, [first, second]) = (model(), vectors(), pictures());
    let (none, one) = (model.no_picture(), seen(&model, &[&first]));
    let two = seen(&model, &[&first, &second]);
    for (name, (ink, oil), reference, scale) in [
        ("out_plain", (0.0, 0.0), &none, 0.0),
        ("out_adapted", (0.8, -0.5), &none, 0.0),
        ("out_shown", (0.0, 0.0), &one, 0.6),
        ("out_both", (0.8, -0.5), &two, 0.6),
    ] {
        let out = out(&model, &parameters(ink, oil), reference, scale);

        assert_close(name, &out, &vectors.floats(name), 2e-4);
    }
}

#[test]
fn an_adapter_as_an_input_is_the_same_as_one_merged() {
    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("called otherwise.safetensors");
    fs::copy(dir().join("ink.safetensors"), &path).unwrap();
    let merged = load_with(&dir().join("model"), &[Lora { path, scale: 0.8 }]).unwrap();
    let asked = model();

    let merged = out(&merged, &parameters(0.0, 0.0), &merged.no_picture(), 0.0);
    let asked = out(&asked, &parameters(0.8, 0.0), &asked.no_picture(), 0.0);

    assert_close("merged", &merged, &asked, 2e-4);
}

#[test]
fn an_adapter_that_is_an_input_is_not_merged_and_another_of_its_name_is_refused() {
    let folder = Folder::open(&dir().join("model")).unwrap();
    let lora = |path: PathBuf| Lora { path, scale: 1.0 };

    let own = [lora(dir().join("ink.safetensors")), lora("oil".into())];
    assert_eq!(folder.merged(&own).unwrap(), []);
    let other = lora("/l/neon.safetensors".into());
    assert_eq!(
        folder.merged(std::slice::from_ref(&other)).unwrap(),
        [other]
    );

    let room = tempfile::tempdir().unwrap();
    let path = room.path().join("ink.safetensors");
    fs::write(&path, "another").unwrap();
    let refused = folder.merged(&[lora(path)]).unwrap_err().to_string();
    assert!(
        refused.contains("another adapter called `ink`"),
        "{refused}"
    );
}

#[test]
fn a_network_that_wants_tokens_is_refused_without_its_image_encoder() {
    let copy = golden::copy_of(&dir().join("model"));
    fs::remove_dir_all(copy.path().join("image_encoder")).unwrap();

    let refused = load_with(copy.path(), &[]).unwrap_err().to_string();

    assert!(refused.contains("has no image_encoder"), "{refused}");
}

#[test]
fn a_model_without_the_adapter_is_shown_nothing_and_says_what_there_is_instead() {
    let plain = load_with(&golden::model_dir(), &[]).unwrap();
    let [picture, _] = pictures();

    let refused = plain.look_at(&[view(&picture)]).unwrap_err().to_string();

    assert!(refused.contains("colour-transfer"), "{refused}");
}

#[test]
fn pictures_and_scales_change_a_stream_between_two_frames() {
    use crate::engine::{Batching, Engine, Outcome, Pace, Prompts};
    let (model, [first, second]) = (Arc::new(model()), pictures());
    let reference = seen(&model, &[&first, &second]);
    let pace = Pace {
        batching: Batching::Sequential,
        frame_buffer: 1,
        ..Pace::default()
    };
    let mut engine = Engine::new(model, (96, 64), pace, parameters(0.0, 0.0)).unwrap();
    let frame = golden::picture(0, (96, 64));
    let draw = |engine: &mut Engine| {
        let view = FrameView {
            data: &frame,
            width: 96,
            height: 64,
            stride: 288,
            layout: Layout::RGB,
        };
        let mut out = vec![0; 3 * 96 * 64];
        // A change reaches the output when its frame has gone through all steps.
        for _ in 0..4 {
            assert_eq!(engine.process(Some(&view)).unwrap(), Outcome::Picture);
        }
        let mut view = crate::FrameViewMut {
            data: &mut out,
            width: 96,
            height: 64,
            stride: 288,
            layout: Layout::RGB,
        };
        engine.write_picture(&mut view).unwrap();
        out
    };
    let tell = |engine: &mut Engine, json: &str| {
        engine
            .apply(&Patch::from_json(json).unwrap(), Prompts::Wait)
            .unwrap();
    };

    let plain = draw(&mut engine);
    engine.set_reference(Some(reference));
    let shown = draw(&mut engine);
    assert_ne!(shown, plain);
    tell(&mut engine, r#"{"vace_context_scale": 0.0}"#);
    assert_eq!(draw(&mut engine), plain);
    tell(&mut engine, r#"{"vace_context_scale": 1.0}"#);
    engine.set_reference(None);
    assert_eq!(draw(&mut engine), plain);

    tell(
        &mut engine,
        r#"{"lora_scales": [{"path": "ink", "scale": 1.0}]}"#,
    );
    assert_ne!(draw(&mut engine), plain);
    tell(
        &mut engine,
        r#"{"lora_scales": [{"path": "ink", "scale": 0.0}]}"#,
    );
    assert_eq!(draw(&mut engine), plain);

    engine.set_colours(Some(crate::Colours::of(&view(&second)).unwrap()));
    assert_eq!(draw(&mut engine), plain, "no strength yet");
    tell(&mut engine, r#"{"colour_transfer": 1.0}"#);
    assert_ne!(draw(&mut engine), plain);
}
