//! Folders that open but hold graphs which do not, or which are not what their names say.
//!
//! Needs ONNX Runtime (`make setup-run`); fails without it.

use std::fs;
use std::path::Path;

use super::*;
use crate::golden;

fn load(dir: &Path) -> Result<Model, EngineError> {
    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    let device = Device {
        provider: Provider::Cpu,
        index: 0,
    };
    Model::load(&Folder::open(dir)?, backend, device, &mut |_| {})
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

    Model::load(&folder, backend, Device::default(), &mut |stage| {
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
    if backend.has_cuda() {
        return; // On a machine with CUDA there is nothing to refuse.
    }
    let folder = Folder::open(&golden::model_dir()).unwrap();
    let device = Device {
        provider: Provider::Cuda,
        index: 0,
    };

    let error = Model::load(&folder, backend, device, &mut |_| {}).unwrap_err();

    let EngineError::ProviderUnavailable { provider, reason } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(*provider, "cuda");
    assert!(reason.contains("not enabled in this build"), "{reason}");
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

/// `y = x + w` with `w` in a file `weights.bin` beside the graph, written by hand.
fn graph_with_weights() -> Vec<u8> {
    let field = |number: u8, content: &[u8]| {
        [&[number << 3 | 2, content.len() as u8][..], content].concat()
    };
    let number = |number: u8, value: u8| vec![number << 3, value];
    let entry = |key: &[u8], value: &[u8]| field(13, &[field(1, key), field(2, value)].concat());
    let floats = field(
        1,
        &[number(1, 1), field(2, &field(1, &number(1, 1)))].concat(),
    );
    let port = |name: &[u8]| [field(1, name), field(2, &floats)].concat();
    let add = [
        field(1, b"x"),
        field(1, b"w"),
        field(2, b"y"),
        field(4, b"Add"),
    ]
    .concat();
    let weights = [
        number(1, 1),
        number(2, 1),
        field(8, b"w"),
        entry(b"location", b"weights.bin"),
        number(14, 1),
    ]
    .concat();
    let graph = [
        field(1, &add),
        field(2, b"g"),
        field(5, &weights),
        field(11, &port(b"x")),
        field(12, &port(b"y")),
    ]
    .concat();
    [
        number(1, 8),
        field(7, &graph),
        field(8, &[field(1, b""), number(2, 17)].concat()),
    ]
    .concat()
}
