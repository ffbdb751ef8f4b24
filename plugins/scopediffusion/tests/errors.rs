//! One precise error each, with a remedy, and nothing else breaks.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod ground;

use std::fs;
use std::path::Path;

use ground::{ELEMENT, caps, copy_of_the_built_in_model, frame, init, run, strict};
use gst::prelude::*;

/// The error of an element that refuses to leave NULL.
fn refusal(set: impl Fn(&gst::Element)) -> (gst::glib::Error, String) {
    init();
    let element = gst::ElementFactory::make(ELEMENT).build().unwrap();
    set(&element);
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    assert!(
        element.set_state(gst::State::Ready).is_err(),
        "it went to READY"
    );
    let errors: Vec<_> =
        std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Error])).collect();
    element.set_state(gst::State::Null).unwrap();
    element.set_bus(None::<&gst::Bus>);
    assert_eq!(errors.len(), 1, "one error, not {errors:?}");
    let gst::MessageView::Error(error) = errors[0].view() else {
        unreachable!()
    };
    (error.error(), error.error().message().to_owned())
}

fn model_dir(path: &Path) -> impl Fn(&gst::Element) {
    move |element| element.set_property("model-dir", path.to_str().unwrap())
}

#[test]
fn a_copied_model_folder_works_like_the_built_in_one() {
    let model = copy_of_the_built_in_model();

    let message = run(&format!(
        "videotestsrc num-buffers=2 ! video/x-raw,format=RGB,width=64,height=48 ! {ELEMENT} model-dir={} ! fakesink",
        model.path().display()
    ));

    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
}

#[test]
fn a_missing_model_folder_is_named() {
    let (error, text) = refusal(model_dir(Path::new("/nowhere/model")));

    assert!(error.matches(gst::ResourceError::NotFound), "{error:?}");
    assert!(
        text.contains("/nowhere/model") && text.contains("`model-dir`"),
        "{text}"
    );
}

#[test]
fn a_missing_graph_is_named() {
    let model = copy_of_the_built_in_model();
    fs::remove_file(model.path().join("unet/model.onnx")).unwrap();

    let (error, text) = refusal(model_dir(model.path()));

    assert!(error.matches(gst::ResourceError::NotFound), "{error:?}");
    assert!(text.contains("unet"), "{text}");
}

#[test]
fn a_truncated_graph_is_named() {
    let model = copy_of_the_built_in_model();
    let unet = model.path().join("unet/model.onnx");
    let bytes = fs::read(&unet).unwrap();
    fs::write(&unet, &bytes[..bytes.len() / 2]).unwrap();

    let (error, text) = refusal(model_dir(model.path()));

    assert!(
        error.matches(gst::StreamError::WrongType),
        "{error:?}: {text}"
    );
    assert!(text.contains("unet"), "{text}");
}

#[test]
fn a_git_lfs_pointer_is_recognised() {
    let model = copy_of_the_built_in_model();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    fs::write(model.path().join("unet/model.onnx"), pointer).unwrap();

    let (_, text) = refusal(model_dir(model.path()));

    assert!(text.to_lowercase().contains("lfs"), "{text}");
}

#[test]
fn a_wrong_onnx_runtime_path_names_the_remedy() {
    let (error, text) =
        refusal(|element| element.set_property("onnxruntime-lib", "/nowhere/libonnxruntime.so"));

    assert!(error.matches(gst::LibraryError::Init), "{error:?}");
    assert!(text.contains("/nowhere/libonnxruntime.so"), "{text}");
}

#[test]
fn cuda_that_is_missing_is_an_error_and_not_a_quiet_fallback() {
    let (error, text) =
        refusal(|element| element.set_property_from_str("execution-provider", "cuda"));

    assert!(
        error.matches(gst::ResourceError::NotFound),
        "{error:?}: {text}"
    );
    assert!(
        text.contains("providers_cuda.so is missing") || text.contains("CUDA"),
        "it names what is missing: {text}"
    );
}

#[test]
fn after_a_refusal_the_same_element_starts_when_the_cause_is_gone() {
    init();
    let element = gst::ElementFactory::make(ELEMENT)
        .property("model-dir", "/nowhere")
        .build()
        .unwrap();
    assert!(element.set_state(gst::State::Ready).is_err());
    element.set_state(gst::State::Null).unwrap();

    element.set_property("model-dir", None::<String>);

    assert!(element.set_state(gst::State::Ready).is_ok());
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_model_set_in_ready_counts_from_the_next_start() {
    init();
    let element = gst::ElementFactory::make(ELEMENT).build().unwrap();
    element.set_state(gst::State::Ready).unwrap();

    element.set_property("model-dir", "/nowhere");
    assert!(element.set_state(gst::State::Paused).is_err());

    element.set_property("model-dir", None::<String>);
    assert!(element.set_state(gst::State::Paused).is_ok());
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_size_the_model_cannot_work_at_is_said_with_its_multiple() {
    let mut harness = strict();
    let bus = gst::Bus::new();
    harness.element().unwrap().set_bus(Some(&bus));
    let caps = caps("RGB", 70, 50);

    harness.set_src_caps(caps.clone());
    assert!(harness.push(frame(&caps, 0)).is_err());

    let error = bus
        .pop_filtered(&[gst::MessageType::Error])
        .expect("an error");
    let gst::MessageView::Error(error) = error.view() else {
        unreachable!()
    };
    assert!(error.error().matches(gst::StreamError::Format), "{error:?}");
    let text = error.error().message().to_owned();
    assert!(
        text.contains("70") && text.contains("multiple") && text.contains("`width`"),
        "{text}"
    );
    let stopped = bus.pop_filtered(&[gst::MessageType::Element]);
    drop(stopped);
    harness.element().unwrap().set_bus(None::<&gst::Bus>);
}

#[test]
fn bad_patches_change_nothing_and_say_why() {
    init();
    let element = gst::ElementFactory::make(ELEMENT)
        .property("prompt", "night")
        .build()
        .unwrap();
    let before = element.property::<String>("parameters");
    let patches = [
        ("", "JSON"),
        ("[1, 2]", "object"),
        (r#"{"noise_scale": 7}"#, "noise_scale"),
        (r#"{"noise_scale": "loud"}"#, "noise_scale"),
        (
            r#"{"denoising_step_list": [250, 500]}"#,
            "denoising_step_list",
        ),
        (r#"{"denoising_step_list": [5000]}"#, "denoising_step_list"),
        (r#"{"prompts": [{"text": "day", "weight": -1}]}"#, "weight"),
        (r#"{"prompt": "day", "seed": -5}"#, "seed"),
    ];

    for (patch, word) in patches {
        let refused = element.emit_by_name::<Option<String>>("apply-parameters", &[&patch]);
        let sentence = refused.unwrap_or_else(|| panic!("{patch} was taken"));
        assert!(sentence.contains(word), "{patch}: {sentence}");
        assert_eq!(element.property::<String>("parameters"), before, "{patch}");
    }
    let taken =
        element.emit_by_name::<Option<String>>("apply-parameters", &[&r#"{"prompt": "day"}"#]);
    assert_eq!(taken, None);
    assert_eq!(
        element.property::<Option<String>>("prompt").as_deref(),
        Some("day")
    );
}

#[test]
fn two_elements_share_one_model_and_one_refusal_does_not_hurt_the_other() {
    let mut healthy = strict();
    let caps = caps("RGB", 64, 48);
    healthy.set_src_caps(caps.clone());
    healthy.push_and_pull(frame(&caps, 0)).unwrap();

    refusal(model_dir(Path::new("/nowhere/model")));

    assert!(healthy.push_and_pull(frame(&caps, 1)).is_ok());
}
