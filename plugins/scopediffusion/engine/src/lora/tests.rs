//! Adapter files as they arrive, and what they do to a model.

use std::collections::HashMap;
use std::io::Cursor;

use proptest::prelude::*;
use safetensors::tensor::TensorView;

use super::*;

/// An adapter file: keys, shapes and one value for all numbers of a tensor.
pub(crate) fn file(tensors: &[(&str, &[usize], f32)]) -> Vec<u8> {
    let data: Vec<(String, Vec<usize>, Vec<u8>)> = tensors
        .iter()
        .map(|(key, shape, value)| {
            let count = shape.iter().product::<usize>();
            let bytes = (0..count).flat_map(|k| (value * (1.0 + k as f32).sin()).to_le_bytes());
            ((*key).to_owned(), shape.to_vec(), bytes.collect())
        })
        .collect();
    let views: HashMap<&str, TensorView<'_>> = data
        .iter()
        .map(|(key, shape, bytes)| {
            (
                key.as_str(),
                TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap(),
            )
        })
        .collect();
    safetensors::serialize(views, None).unwrap()
}

const DOWN: &str = "unet.mid_block.attentions.0.proj_in.lora_A.weight";
const UP: &str = "unet.mid_block.attentions.0.proj_in.lora_B.weight";

fn refusal(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("style.safetensors");
    std::fs::write(&path, bytes).unwrap();
    open(&path).expect_err("it is refused").to_string()
}

#[test]
fn a_pair_of_matrices_is_read_with_its_strength() {
    let bytes = file(&[
        (DOWN, &[2, 3], 0.1),
        (UP, &[4, 2], 0.2),
        ("unet.mid_block.attentions.0.proj_in.alpha", &[], 1.0),
    ]);

    let layers = read(&mut Cursor::new(&bytes), bytes.len() as u64).unwrap();

    let layer = &layers[&(Place::Unet, "mid_block_attentions_0_proj_in".to_owned())];
    assert_eq!(
        (layer.rank(), layer.down.shape.as_slice()),
        (2, &[2, 3][..])
    );
    assert!((layer.strength() - 1_f32.sin() / 2.0).abs() < 1e-6);
}

#[test]
fn hostile_headers_are_refused_before_memory_is_asked_for() {
    let mut huge = u64::MAX.to_le_bytes().to_vec();
    huge.extend([b'{'; 8]);
    assert!(
        refusal(&huge).contains("its header claims 18446744073709551615 bytes of a file of 16")
    );
    assert!(refusal(b"short").contains("not a safetensors file"));
    assert!(refusal(b"<html><head><title>404").contains("its header claims"));

    let header = |text: &str| {
        let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(text.as_bytes());
        bytes.extend([0; 16]);
        bytes
    };
    let tensor = |offsets: &str, shape: &str| {
        header(&format!(
            r#"{{"{DOWN}": {{"dtype": "F32", "shape": {shape}, "data_offsets": {offsets}}}}}"#
        ))
    };
    for (offsets, shape) in [
        ("[0, 16]", "[4611686018427387904, 4611686018427387904]"),
        ("[16, 0]", "[2, 2]"),
        ("[0, 4]", "[2, 2]"),
    ] {
        let reason = refusal(&tensor(offsets, shape));
        assert!(reason.contains("damaged"), "{offsets} {shape}: {reason}");
    }
}

#[test]
fn tensors_that_overlap_are_refused() {
    let text = format!(
        r#"{{"{DOWN}": {{"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}},
            "{UP}": {{"dtype": "F32", "shape": [2, 2], "data_offsets": [8, 24]}}}}"#
    );
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(text.as_bytes());
    bytes.extend([0; 24]);

    assert!(refusal(&bytes).contains("tensors overlap"));
}

#[test]
fn a_file_that_is_cut_short_is_named() {
    let bytes = file(&[(DOWN, &[2, 3], 0.1), (UP, &[4, 2], 0.2)]);

    let reason = refusal(&bytes[..bytes.len() - 4]);

    assert!(reason.contains("cut short"), "{reason}");
}

#[test]
fn layers_that_are_no_adapter_are_refused_by_name() {
    assert!(refusal(&file(&[(DOWN, &[2, 3], 0.1)])).contains("only one of its two matrices"));
    let shapes = refusal(&file(&[(DOWN, &[2, 3], 0.1), (UP, &[4, 5], 0.2)]));
    assert!(
        shapes.contains("has the shapes [2, 3] and [4, 5]"),
        "{shapes}"
    );
    let nan = refusal(&file(&[(DOWN, &[2, 3], f32::NAN), (UP, &[4, 2], 0.2)]));
    assert!(nan.contains("no numbers"), "{nan}");
    assert!(refusal(&file(&[("unet.x.lora_mid.weight", &[1], 0.1)])).contains("lora_mid"));
    assert!(refusal(&file(&[])).contains("adapts no layer"));
}

proptest! {
    #[test]
    fn any_damage_is_read_or_refused(
        at in 0.0..1.0_f64,
        junk in proptest::collection::vec(any::<u8>(), 0..40),
        cut in 0.0..1.0_f64,
    ) {
        let mut bytes = file(&[(DOWN, &[2, 3], 0.1), (UP, &[4, 2], 0.2)]);
        let from = (at * bytes.len() as f64) as usize;
        let to = (from + junk.len()).min(bytes.len());
        bytes.splice(from..to, junk);
        bytes.truncate(((0.5 + cut) * bytes.len() as f64) as usize);
        let _ = read(&mut Cursor::new(&bytes), bytes.len() as u64);
    }
}
