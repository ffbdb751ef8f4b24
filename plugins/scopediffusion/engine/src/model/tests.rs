//! Folders that open but hold graphs which do not, or which are not what their names say.
//!
//! Needs ONNX Runtime (`make setup-run`); fails without it.

use std::fs;
use std::path::Path;

use super::*;
use crate::backend::ort::OrtBackend;
use crate::backend::{Device, Opening, Provider};
use crate::golden;
use crate::lora::Lora;
use crate::onnx::outline;
use crate::onnx::tests::{bytes, far_weight, model, node, port, weight};
use crate::onnx::wire::{Value, fields, text};

fn load(dir: &Path) -> Result<Model, EngineError> {
    load_with(dir, &[])
}

pub(super) fn load_with(dir: &Path, loras: &[Lora]) -> Result<Model, EngineError> {
    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    let device = Device {
        provider: Provider::Cpu,
        index: 0,
    };
    Model::load(&Folder::open(dir)?, backend, device, loras, &mut |_| {})
}

fn refusal(change: impl FnOnce(&Path)) -> EngineError {
    let copy = golden::model_copy();
    change(copy.path());
    load(copy.path()).expect_err("the model is refused")
}

#[test]
fn loading_tells_its_stages() {
    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    let folder = Folder::open(&golden::model_dir()).unwrap();
    let mut stages = Vec::new();

    Model::load(&folder, backend, Device::default(), &[], &mut |stage| {
        stages.push(stage.to_string())
    })
    .unwrap();

    assert_eq!(stages.len(), 5);
    assert_eq!(stages[0], "Loading the text encoder of model-tiny");
}

#[test]
fn a_graph_with_garbage_inside_is_damaged() {
    let error = refusal(|dir| {
        let path = dir.join("unet/model.onnx");
        let mut bytes = fs::read(&path).unwrap();
        bytes[1000..2000].fill(0xff);
        fs::write(&path, bytes).unwrap();
    });

    let EngineError::ModelFileCorrupt { path, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(path.ends_with("unet/model.onnx"));
}

#[test]
fn a_graph_in_the_wrong_place_is_not_supported() {
    let swapped = |from: &'static str, to: &'static str| {
        refusal(|dir| _ = fs::copy(dir.join(from), dir.join(to)).unwrap()).to_string()
    };

    let unet = swapped("vae_decoder/model.onnx", "unet/model.onnx");
    assert!(unet.contains("its unet has no input `sample`"), "{unet}");
    let decoder = swapped("vae_encoder/model.onnx", "vae_decoder/model.onnx");
    assert!(
        decoder.contains("its vae_decoder has no input `latent_sample`"),
        "{decoder}"
    );
    let encoder = swapped("unet/model.onnx", "vae_encoder/model.onnx");
    assert!(
        encoder.contains("its vae_encoder also wants `timestep`"),
        "{encoder}"
    );
}

#[test]
fn a_second_text_encoder_without_its_tokenizer_is_incomplete() {
    let error = refusal(|dir| {
        fs::create_dir(dir.join("text_encoder_2")).unwrap();
        let from = dir.join("text_encoder/model.onnx");
        fs::copy(from, dir.join("text_encoder_2/model.onnx")).unwrap();
    });

    let EngineError::ModelFileMissing { path } = &error else {
        panic!("{error:?}")
    };
    assert!(path.ends_with("tokenizer_2/vocab.json"), "{path:?}");
}

#[test]
fn a_provider_that_is_not_there_is_named() {
    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    if backend.has_files_of(Provider::Cuda).is_ok() {
        return; // With a build for CUDA it depends on the machine.
    }
    let folder = Folder::open(&golden::model_dir()).unwrap();
    let device = Device {
        provider: Provider::Cuda,
        index: 0,
    };

    let error = Model::load(&folder, backend, device, &[], &mut |_| {}).unwrap_err();

    let EngineError::ProviderUnavailable { provider, reason } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*provider, "cuda");
    assert!(
        reason.contains("libonnxruntime_providers_cuda.so is missing"),
        "{reason}"
    );

    let auto = Model::load(&folder, backend, Device::default(), &[], &mut |_| {}).unwrap();
    assert_eq!(auto.facts().provider, "cpu");
    assert_eq!(auto.facts().fallback.as_ref(), Some(reason));
}

#[test]
fn weights_beside_the_graph_that_are_missing_are_named() {
    let error =
        refusal(|dir| fs::write(dir.join("unet/model.onnx"), graph_with_weights()).unwrap());

    let EngineError::ModelFileMissing { path } = &error else {
        panic!("{error:?}")
    };
    assert!(path.ends_with("weights.bin"), "{path:?}");
}

/// `y = x + w` with `w` in a file `weights.bin` beside the graph.
fn graph_with_weights() -> Vec<u8> {
    let (x, y) = (port("x", 1, &[Some(1)]), port("y", 1, &[Some(1)]));
    let far = far_weight("w", 1, &[("location", "weights.bin")]);
    model(&[node("Add", &["x", "w"], &["y"])], &[far], &[x], &[y])
}

/// The golden network as most exporters write it: a timestep without an axis.
fn with_scalar_timestep(unet: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    for field in fields(unet).map(Option::unwrap) {
        let Value::Bytes(graph) = field.value else {
            file.extend_from_slice(field.raw);
            continue;
        };
        if field.number != 7 {
            file.extend_from_slice(field.raw);
            continue;
        }
        let unsqueeze = node("Unsqueeze", &["timestep", "row_axis"], &["timestep_row"]);
        let mut edited = bytes(1, &unsqueeze);
        edited.extend(bytes(5, &weight("row_axis", 7, 1, &0_i64.to_le_bytes())));
        for field in fields(graph).map(Option::unwrap) {
            match (field.number, field.value) {
                (1, Value::Bytes(node)) => {
                    let mut renamed = Vec::new();
                    for field in fields(node).map(Option::unwrap) {
                        match (field.number, text(field.value)) {
                            (1, Some("timestep")) => renamed.extend(bytes(1, b"timestep_row")),
                            _ => renamed.extend_from_slice(field.raw),
                        }
                    }
                    edited.extend(bytes(1, &renamed));
                }
                (11, Value::Bytes(input))
                    if fields(input)
                        .flatten()
                        .any(|f| text(f.value) == Some("timestep")) =>
                {
                    edited.extend(bytes(11, &port("timestep", 1, &[])));
                }
                _ => edited.extend_from_slice(field.raw),
            }
        }
        file.extend(bytes(7, &edited));
    }
    file
}

#[test]
fn a_timestep_without_an_axis_is_repaired_and_draws_the_same() {
    let copy = golden::model_copy();
    let path = copy.path().join("unet/model.onnx");
    let scalar = with_scalar_timestep(&fs::read(&path).unwrap());
    fs::write(&path, &scalar).unwrap();

    let (repaired, plain) = (
        load(copy.path()).unwrap(),
        load(&golden::model_dir()).unwrap(),
    );

    assert!(repaired.facts().batchable);
    assert_eq!(two_rows(&repaired), two_rows(&plain));
}

#[test]
fn a_timestep_that_cannot_be_repaired_runs_step_by_step_and_draws_the_same() {
    let copy = golden::model_copy();
    let path = copy.path().join("unet/model.onnx");
    let scalar = with_scalar_timestep(&fs::read(&path).unwrap());
    // A second user of the timestep: not the usual way.
    let graph_end = bytes(1, &node("Identity", &["timestep"], &["unused"]));
    let other = fields(&scalar)
        .map(Option::unwrap)
        .flat_map(|field| match field.value {
            Value::Bytes(graph) if field.number == 7 => {
                bytes(7, &[graph_end.as_slice(), graph].concat())
            }
            _ => field.raw.to_vec(),
        });
    fs::write(&path, other.collect::<Vec<u8>>()).unwrap();

    let (odd, plain) = (
        load(copy.path()).unwrap(),
        load(&golden::model_dir()).unwrap(),
    );

    assert!(!odd.facts().batchable);
    assert_eq!(two_rows(&odd), two_rows(&plain));
}

/// What the network makes of two rows at different timesteps.
pub(super) fn two_rows(model: &Model) -> Vec<f32> {
    let mut out = Tensor::default();
    let values = |count: usize| -> Vec<f32> { (0..count).map(|k| (k as f32).sin()).collect() };
    let rows = Rows {
        sample: &values(2 * 4 * 8 * 8),
        timesteps: &[759.0, 99.0],
        context: &values(2 * 77 * 32),
        pooled: &[],
        time_ids: &[],
        guidance: &[],
        stamp: 0,
        tokens: &[],
        reference_scale: 0.0,
        lora_scales: &[],
        latent: (8, 8),
    };
    model
        .networks
        .denoise(&rows, &mut out, &Watch::default())
        .unwrap();
    out.values
        .iter()
        .map(|value| (value * 1e4).round())
        .collect()
}

#[test]
fn a_tokenizer_of_another_model_is_found_at_load() {
    let error = refusal(|dir| {
        fs::remove_file(dir.join("tokenizer/tokenizer.json")).unwrap();
        let path = dir.join("tokenizer/vocab.json");
        let text = fs::read_to_string(&path).unwrap();
        let text = text.trim_end().strip_suffix('}').unwrap().to_owned();
        fs::write(&path, text + r#", "abracadabra</w>": 40000}"#).unwrap();
    });

    assert!(
        error.to_string().contains("knows the token 40000"),
        "{error}"
    );
}

#[test]
fn weights_outside_the_folder_are_refused() {
    let (x, y) = (port("x", 1, &[Some(1)]), port("y", 1, &[Some(1)]));
    let far = far_weight("w", 1, &[("location", "../../etc/passwd")]);
    let graph = model(&[node("Add", &["x", "w"], &["y"])], &[far], &[x], &[y]);
    let error = refusal(|dir| fs::write(dir.join("unet/model.onnx"), graph).unwrap());

    assert!(
        error
            .to_string()
            .contains("`../../etc/passwd`, outside its own folder"),
        "{error}"
    );
}

#[test]
fn a_graph_that_asks_for_more_memory_than_there_is_is_told_from_a_damaged_one() {
    // A terabyte of pixels, out of nothing.
    let sides: Vec<u8> = [1_i64, 3, 1 << 19, 1 << 19]
        .iter()
        .flat_map(|side| side.to_le_bytes())
        .collect();
    let nodes = [
        node("ReduceSum", &["latent_sample"], &["sum"]),
        node("Expand", &["sum", "sides"], &["sample"]),
    ];
    let free = [None; 4];
    let graph = model(
        &nodes,
        &[weight("sides", 7, 4, &sides)],
        &[port("latent_sample", 1, &free)],
        &[port("sample", 1, &free)],
    );

    let error = refusal(|dir| fs::write(dir.join("vae_decoder/model.onnx"), graph).unwrap());

    let EngineError::OutOfMemory { graph, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(graph, "vae_decoder");
    assert!(
        error.remedy().contains("picture size"),
        "{}",
        error.remedy()
    );
}

/// Loads the golden model with a cache.
fn load_cached(cache: &Path) -> Model {
    load_from_and_cached(&golden::model_dir(), cache)
}

fn load_from_and_cached(dir: &Path, cache: &Path) -> Model {
    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    let opening = Opening {
        device: Device {
            provider: Provider::Cpu,
            index: 0,
        },
        shapes: None,
        cache_dir: Some(cache.into()),
        ..Opening::default()
    };
    let folder = Folder::open(dir).unwrap();
    Model::load(&folder, backend, opening, &[], &mut |_| {}).unwrap()
}

fn entries(cache: &Path) -> Vec<std::path::PathBuf> {
    let mut all: Vec<_> = fs::read_dir(cache)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    all.sort();
    all
}

#[test]
fn what_was_optimised_once_is_kept_and_computes_the_same() {
    let (scratch, plain) = (
        tempfile::tempdir().unwrap(),
        load(&golden::model_dir()).unwrap(),
    );
    let cache = scratch.path().join("not/there/yet");

    let first = load_cached(&cache);
    let kept = entries(&cache);
    let again = load_cached(&cache);

    assert_eq!(
        kept.len(),
        8,
        "a graph and its sum for each of four: {kept:?}"
    );
    assert_eq!(entries(&cache), kept);
    assert_eq!(two_rows(&first), two_rows(&plain));
    assert_eq!(two_rows(&again), two_rows(&plain));
}

#[test]
fn a_damaged_entry_is_made_anew_whatever_is_wrong_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    let expected = two_rows(&load_cached(scratch.path()));
    let kept = entries(scratch.path());
    let read = || -> Vec<_> { kept.iter().map(|file| fs::read(file).unwrap()).collect() };
    type Damage = fn(&Path);
    let damages: [Damage; 4] = [
        |file| {
            let bytes = fs::read(file).unwrap();
            fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        },
        |file| {
            let mut bytes = fs::read(file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(file, bytes).unwrap();
        },
        |file| fs::write(file, "").unwrap(),
        |file| fs::remove_file(file).unwrap(),
    ];
    for damage in damages {
        kept.iter().for_each(|file| damage(file));

        assert_eq!(two_rows(&load_cached(scratch.path())), expected);

        assert_eq!(
            entries(scratch.path()),
            kept,
            "and nothing is left lying about"
        );
        let mended = read();
        assert_eq!(two_rows(&load_cached(scratch.path())), expected);
        assert!(mended == read(), "what was mended is sound and stays");
    }
}

#[test]
fn a_graph_with_its_weights_in_another_file_is_not_kept_without_them() {
    let scratch = tempfile::tempdir().unwrap();
    let exported = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/exported/model");

    load_from_and_cached(&exported, scratch.path());

    let kept = entries(scratch.path());
    let graphs = kept
        .iter()
        .filter(|path| path.extension().is_some_and(|end| end == "onnx"));
    for graph in graphs {
        let bytes = fs::read(graph).unwrap();
        let outline = outline(std::io::Cursor::new(&bytes), bytes.len() as u64).unwrap();
        crate::onnx::check(&outline, scratch.path())
            .unwrap_or_else(|fault| panic!("{graph:?}: {fault:?}"));
    }
    load_from_and_cached(&exported, scratch.path());
    assert_eq!(
        entries(scratch.path()),
        kept,
        "none was removed as unreadable"
    );
}

#[test]
fn a_cache_that_cannot_be_written_is_no_obstacle() {
    let file = tempfile::NamedTempFile::new().unwrap();

    let model = load_cached(&file.path().join("below/a/file"));

    assert_eq!(
        two_rows(&model),
        two_rows(&load(&golden::model_dir()).unwrap())
    );
}
