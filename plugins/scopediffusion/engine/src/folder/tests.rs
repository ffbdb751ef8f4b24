//! Folders as they arrive in real life: complete, incomplete, damaged, or something else.

use std::fs;

use proptest::prelude::*;

use super::*;
use crate::golden;

fn refusal(change: impl FnOnce(&Path)) -> EngineError {
    let copy = golden::model_copy();
    change(copy.path());
    Folder::open(copy.path()).expect_err("the folder is refused")
}

/// The end of the path that an error blames, with its reason.
fn blamed(error: &EngineError) -> String {
    let (path, reason) = match error {
        EngineError::ModelFileMissing { path } => (path, "missing"),
        EngineError::ModelFileCorrupt { path, reason } => (path, reason.as_str()),
        other => panic!("{other:?} blames no file"),
    };
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    format!("{}: {reason}", parts[parts.len() - 2..].join("/"))
}

#[test]
fn a_whole_folder_opens_without_a_runtime() {
    let folder = Folder::open(&golden::model_dir()).unwrap();

    assert_eq!(folder.name(), "model-tiny");
    assert!(folder.trailing && folder.text_encoder_2.is_none());
    assert_eq!(folder.autoencoder.scaling(), 1.0);
}

#[test]
fn the_autoencoder_may_come_from_another_folder() {
    let other = golden::copy_of(&golden::xl_dir().join("model-tiny-xl"));
    let config = other.path().join("vae_decoder/config.json");
    fs::write(&config, r#"{"scaling_factor": 0.13025}"#).unwrap();

    let folder = Folder::open(&golden::model_dir()).unwrap();
    let folder = folder.with_autoencoder(other.path()).unwrap();

    assert!(folder.vae_decoder.path().starts_with(other.path()));
    assert!(folder.unet.path().starts_with(golden::model_dir()));
    assert_eq!(folder.autoencoder.scaling(), 0.13025);
}

#[test]
fn an_autoencoder_folder_that_is_not_complete_is_blamed() {
    let other = golden::model_copy();
    fs::remove_file(other.path().join("vae_encoder/model.onnx")).unwrap();

    let folder = Folder::open(&golden::model_dir()).unwrap();
    let error = folder.with_autoencoder(other.path()).unwrap_err();

    assert_eq!(blamed(&error), "vae_encoder/model.onnx: missing");
}

#[test]
fn a_folder_called_model_is_named_after_the_one_around_it() {
    let around = tempfile::Builder::new().prefix("sketch").tempdir().unwrap();
    fs::create_dir(around.path().join("model")).unwrap();

    assert!(name_of(&around.path().join("model")).starts_with("sketch"));
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let error = Folder::open(Path::new("/no/such/model")).unwrap_err();

    assert_eq!(
        error,
        EngineError::ModelFolderMissing {
            path: "/no/such/model".into()
        }
    );
}

#[test]
fn every_file_that_a_model_needs_is_missed_by_name() {
    for file in [
        "unet/model.onnx",
        "text_encoder/model.onnx",
        "vae_encoder/model.onnx",
        "vae_decoder/model.onnx",
        "scheduler/scheduler_config.json",
    ] {
        let error = refusal(|dir| fs::remove_file(dir.join(file)).unwrap());
        assert_eq!(blamed(&error), format!("{file}: missing"));
    }
    let error = refusal(|dir| fs::remove_dir_all(dir.join("tokenizer")).unwrap());
    assert_eq!(blamed(&error), "tokenizer/vocab.json: missing");
}

#[test]
fn a_folder_does_without_hints() {
    let copy = golden::model_copy();
    for file in [
        "model_index.json",
        "unet/config.json",
        "vae_decoder/config.json",
    ] {
        fs::remove_file(copy.path().join(file)).unwrap();
    }
    fs::remove_file(copy.path().join("tokenizer/tokenizer.json")).unwrap();

    let folder = Folder::open(copy.path()).unwrap();

    assert_eq!(folder.autoencoder.scaling(), 0.18215);
}

#[test]
fn the_only_graph_of_a_part_may_have_any_name() {
    let copy = golden::model_copy();
    let unet = copy.path().join("unet");
    fs::rename(unet.join("model.onnx"), unet.join("fused.onnx")).unwrap();

    let folder = Folder::open(copy.path()).unwrap();
    assert!(folder.unet.path().ends_with("unet/fused.onnx"));

    fs::copy(unet.join("fused.onnx"), unet.join("plain.onnx")).unwrap();
    let error = Folder::open(copy.path()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("none of its 2 graphs is model.onnx"),
        "{error}"
    );
}

#[test]
fn damaged_files_are_blamed_with_a_reason() {
    let write = |file: &'static str, text: &'static str| {
        blamed(&refusal(|dir| fs::write(dir.join(file), text).unwrap()))
    };
    assert_eq!(write("unet/model.onnx", ""), "unet/model.onnx: it is empty");
    let pointer = write(
        "unet/model.onnx",
        "version https://git-lfs.github.com/spec/v1\noid",
    );
    assert!(pointer.contains("git-lfs pointer"), "{pointer}");
    assert!(write("vae_decoder/model.onnx", "<html>").contains("a web page"));
    assert!(write("unet/config.json", "{").contains("EOF"));
    assert!(write("unet/config.json", r#"{"in_channels": -4}"#).contains("invalid value"));
    assert!(write("unet/config.json", r#"{"sample_multiple_of": 0}"#).contains("1 to 1024"));
    assert!(write("model_index.json", r#"{"default_video_timesteps": []}"#).contains("falling"));
    let scheduler = "scheduler/scheduler_config.json";
    assert!(write(scheduler, r#"{"beta_schedule": "sigmoid"}"#).contains("`sigmoid` is unknown"));
    assert!(write(scheduler, r#"{"prediction_type": "flow"}"#).contains("unknown variant `flow`"));
    assert!(write("tokenizer/tokenizer.json", "[]").starts_with("tokenizer/tokenizer.json"));
    let cut = write("tokenizer/tokenizer.json", r#"{"decoder": {"type": "By"#);
    assert!(cut.contains("EOF"), "{cut}");
    let special = write(
        "tokenizer/special_tokens_map.json",
        r#"{"bos_token": "<begin>"}"#,
    );
    assert!(special.contains("no `<begin>`"), "{special}");
}

#[test]
fn a_folder_in_place_of_a_file_is_blamed() {
    let error = refusal(|dir| {
        fs::remove_file(dir.join("unet/model.onnx")).unwrap();
        fs::create_dir(dir.join("unet/model.onnx")).unwrap();
    });

    assert_eq!(blamed(&error), "unet/model.onnx: it is not a file");
}

#[test]
fn a_transformer_in_place_of_a_unet_is_not_supported() {
    let error = refusal(|dir| fs::rename(dir.join("unet"), dir.join("transformer")).unwrap());

    assert!(
        error
            .to_string()
            .contains("a transformer instead of a unet"),
        "{error}"
    );
}

const FILES: [&str; 11] = [
    "model_index.json",
    "scheduler/scheduler_config.json",
    "text_encoder/model.onnx",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer.json",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/model.onnx",
    "vae_decoder/config.json",
    "vae_decoder/model.onnx",
];

proptest! {
    // Half of the usual ones, which `make fuzz` raises: each copies a folder.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 2))]

    #[test]
    fn a_damaged_folder_is_opened_or_refused_without_panic(
        file in 0..FILES.len(),
        cut in proptest::option::of(0.0..1.0_f64),
        damage in proptest::collection::vec((0.0..1.0_f64, any::<u8>()), 0..4),
        ready_made: bool,
    ) {
        let copy = golden::model_copy();
        let path = copy.path().join(FILES[file]);
        let mut bytes = fs::read(&path).unwrap();
        for (at, byte) in damage {
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        fs::write(&path, bytes).unwrap();
        if !ready_made {
            fs::remove_file(copy.path().join("tokenizer/tokenizer.json")).unwrap();
        }

        if let Ok(folder) = Folder::open(copy.path()) {
            let _ = folder.tokenizers[0].encode("neon lights at night");
        }
    }
}

#[test]
fn a_network_that_edits_pictures_is_refused_before_it_is_loaded() {
    let copy = golden::model_copy();
    let path = copy.path().join("unet/model.onnx");
    let sample = onnx::tests::port("sample", 1, &[None, Some(9), None, None]);
    let node = onnx::tests::node("Identity", &["sample"], &["out_sample"]);
    fs::write(&path, onnx::tests::model(&[node], &[], &[sample], &[])).unwrap();

    let refused = Folder::open(copy.path()).unwrap().survey().unwrap_err();

    assert!(refused.to_string().contains("9 channels"), "{refused}");
}

#[test]
fn a_folder_of_another_make_is_told_what_it_is() {
    let refused = |files: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        Folder::open(folder.path()).unwrap_err().to_string()
    };

    let torch = refused(&["unet/diffusion_pytorch_model.safetensors"]);
    assert!(torch.contains("gst-scope model export"), "{torch}");
    let flux = refused(&["transformer/diffusion_pytorch_model-00001-of-00003.safetensors"]);
    assert!(flux.contains("a transformer instead"), "{flux}");
    let nothing = refused(&["model_index.json"]);
    assert!(nothing.contains("is missing"), "{nothing}");
}
