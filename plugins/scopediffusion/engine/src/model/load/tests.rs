//! Which file of a graph is opened. Copies for CUDA are stood in for by graphs that the CPU runs.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::*;
use crate::golden;
use crate::lora;
use crate::model::tests::two_rows;
use crate::onnx::tests::{bytes, model, node, port};
use crate::onnx::{self, Place};

const TO_Q: &str = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q";

/// The golden model with a copy of its network that `change` has made another.
fn with_copy(change: impl FnOnce(&mut Vec<u8>)) -> TempDir {
    let folder = golden::model_copy();
    let mut content = fs::read(folder.path().join("unet/model.onnx")).unwrap();
    change(&mut content);
    fs::write(copy_in(&folder), content).unwrap();
    folder
}

fn copy_in(folder: &TempDir) -> PathBuf {
    folder.path().join("unet/model.cuda.onnx")
}

/// Fills the weight of a layer of the network.
fn fill(content: &mut [u8], layer: &str, value: f32) {
    let outline = onnx::outline(std::io::Cursor::new(&*content), content.len() as u64).unwrap();
    let node = outline.nodes.iter().find(|node| node.name.contains(layer));
    let name = &node.expect("the layer is there").inputs[1];
    let tensor = outline.tensors.iter().find(|tensor| tensor.name == *name);
    let Place::Inside { offset, length } = tensor.unwrap().place else {
        panic!("{name} is not in the file")
    };
    let place = &mut content[offset as usize..][..length as usize];
    for number in place.chunks_exact_mut(4) {
        number.copy_from_slice(&value.to_le_bytes());
    }
}

/// Loads on the CPU as CUDA would be loaded on; tells the stages too.
fn loaded(dir: &Path, loras: &[Lora]) -> (Model, Vec<String>) {
    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    let device = Device {
        provider: Provider::Cpu,
        index: 0,
    };
    let opener = backend.on(&device.into()).unwrap().with_fused();
    let (folder, mut said) = (Folder::open(dir).unwrap(), Vec::new());
    let model = Model::load_on(&folder, &opener, loras, &mut |stage| {
        said.push(stage.into())
    });
    (model.unwrap(), said)
}

fn plain(loras: &[Lora]) -> Vec<f32> {
    two_rows(&crate::model::tests::load_with(&golden::model_dir(), loras).unwrap())
}

/// What a model with this copy draws, if the graph itself was opened, and why.
fn left_aside(folder: &TempDir, loras: &[Lora]) -> String {
    let (model, said) = loaded(folder.path(), loras);

    assert_eq!(model.facts().fused, [""; 0]);
    assert!(model.facts().has_fused);
    assert_eq!(two_rows(&model), plain(loras));
    let [(role, reason)] = model.facts().fused_refused.as_slice() else {
        panic!("{:?}", model.facts().fused_refused)
    };
    assert_eq!(*role, "unet");
    let sentence = format!("The fused copy of the unet is left aside: {reason}");
    let sentence_of_all = format!("The fused copy of the model is left aside: {reason}");
    assert!(
        said.contains(&sentence) || said.contains(&sentence_of_all),
        "{said:?}"
    );
    reason.clone()
}

#[test]
fn a_sound_copy_is_taken_where_cuda_is_and_nowhere_else() {
    let folder = with_copy(|content| fill(content, "conv_out", 0.0));

    let (model, _) = loaded(folder.path(), &[]);

    assert_eq!(model.facts().fused, ["unet"]);
    assert!(model.facts().fused_refused.is_empty());
    assert_ne!(two_rows(&model), plain(&[]));
    let on_cpu = crate::model::tests::load_with(folder.path(), &[]).unwrap();
    assert_eq!(two_rows(&on_cpu), plain(&[]));
    assert!(on_cpu.facts().has_fused && on_cpu.facts().fused.is_empty());
}

#[test]
fn a_folder_without_copies_is_what_it_was() {
    let (model, _) = loaded(&golden::model_dir(), &[]);

    assert!(!model.facts().has_fused && model.facts().fused.is_empty());
    assert_eq!(two_rows(&model), plain(&[]));
}

#[test]
fn a_damaged_copy_is_left_aside_with_its_fault() {
    let cut = with_copy(|content| content.truncate(content.len() / 2));
    assert!(left_aside(&cut, &[]).contains("model.cuda.onnx` is damaged: it is cut short"));

    let pointer =
        with_copy(|content| *content = b"version https://git-lfs.github.com/spec/v1".into());
    assert!(left_aside(&pointer, &[]).contains("git-lfs"));

    let garbage = with_copy(|content| content[1000..2000].fill(0xff));
    assert!(left_aside(&garbage, &[]).contains("model.cuda.onnx"));

    let numbers = with_copy(|content| fill(content, "conv_out", f32::NAN));
    assert!(left_aside(&numbers, &[]).contains("no numbers (NaN)"));
}

/// A graph with the inputs of the golden network and one operation.
fn of_one_operation(operator: &str, domain: &str, weights: &[Vec<u8>]) -> Vec<u8> {
    let path = golden::model_dir().join("unet/model.onnx");
    let content = fs::read(path).unwrap();
    let outline = onnx::outline(std::io::Cursor::new(&content), content.len() as u64).unwrap();
    let inputs = outline.inputs.iter().map(|input| {
        let axes = input.axes.as_deref().unwrap();
        port(&input.name, 1, axes)
    });
    let inputs: Vec<_> = inputs.collect();
    let mut node = node(operator, &["sample"], &["out_sample"]);
    node.extend(bytes(7, domain.as_bytes()));
    model(
        &[node],
        weights,
        &inputs,
        &[port("out_sample", 1, &[None; 4])],
    )
}

#[test]
fn a_copy_that_cannot_run_here_or_is_dangerous_is_left_aside() {
    let no_kernel =
        with_copy(|content| *content = of_one_operation("NhwcConv", "com.microsoft", &[]));
    assert!(left_aside(&no_kernel, &[]).contains("NhwcConv"));

    let custom = with_copy(|content| *content = of_one_operation("Steal", "com.example", &[]));
    assert!(left_aside(&custom, &[]).contains("library of custom operators"));

    let outside = [("location", "../../../etc/passwd"), ("length", "4")];
    let outside = onnx::tests::far_weight("w", 1, &outside);
    let outside = with_copy(|content| *content = of_one_operation("Identity", "", &[outside]));
    assert!(left_aside(&outside, &[]).contains("outside its own folder"));
}

#[test]
fn a_copy_of_another_model_is_left_aside() {
    let folder = golden::model_copy();
    fs::copy(
        folder.path().join("vae_decoder/model.onnx"),
        copy_in(&folder),
    )
    .unwrap();

    assert!(left_aside(&folder, &[]).contains("other inputs than model.onnx"));
}

fn adapter(dir: &TempDir) -> Lora {
    let key = |matrix: &str| format!("lora_unet_{TO_Q}.lora_{matrix}.weight");
    let (down, up) = (key("down"), key("up"));
    let tensors = [
        (down.as_str(), &[2, 16][..], 0.3),
        (up.as_str(), &[16, 2][..], 0.3),
    ];
    let path = dir.path().join("a.safetensors");
    fs::write(&path, lora::tests::file(&tensors)).unwrap();
    Lora { path, scale: 1.0 }
}

#[test]
fn adapters_are_merged_into_a_copy_that_has_their_layers() {
    let dir = tempfile::tempdir().unwrap();
    let adapters = [adapter(&dir)];
    let folder = with_copy(|_| {});

    let (model, _) = loaded(folder.path(), &adapters);

    assert_eq!(model.facts().fused, ["unet"]);
    assert_eq!(two_rows(&model), plain(&adapters));
    assert_ne!(plain(&adapters), plain(&[]));
}

#[test]
fn a_copy_that_lacks_an_adapters_layers_is_left_aside_and_the_adapter_is_merged() {
    let dir = tempfile::tempdir().unwrap();
    // As where queries, keys and values are packed into one weight.
    let folder = with_copy(|content| {
        let (name, other) = (b"attn1/to_q/MatMul", b"attn1/pckd/MatMul");
        let ends: Vec<_> = content
            .windows(name.len())
            .enumerate()
            .filter(|(_, part)| part == name)
            .collect();
        let places: Vec<_> = ends.into_iter().map(|(at, _)| at).collect();
        for at in places {
            content[at..][..name.len()].copy_from_slice(other);
        }
    });

    let reason = left_aside(&folder, &[adapter(&dir)]);

    assert!(
        reason.contains(&format!("has no layer `{TO_Q}`")),
        "{reason}"
    );
}

#[test]
fn a_load_that_is_interrupted_ends_there_and_the_next_one_is_whole() {
    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    let folder = Folder::open(&golden::model_dir()).unwrap();
    let device = Device {
        provider: Provider::Cpu,
        index: 0,
    };
    let (interrupt, mut said) = (LoadInterrupt::default(), Vec::new());
    let load = |progress: Progress<'_>| {
        Model::load_unless(&interrupt, &folder, backend, device, &[], progress)
    };

    let error = load(&mut |stage| {
        said.push(stage.to_owned());
        if stage.starts_with("Loading the denoising network") {
            interrupt.stop();
        }
    });

    assert_eq!(error.unwrap_err(), EngineError::Interrupted);
    assert_eq!(said.len(), 2, "nothing is begun after it: {said:?}");
    interrupt.go_on();
    assert_eq!(two_rows(&load(&mut |_| {}).unwrap()), plain(&[]));
}
