//! Graphs written by hand, sound and hostile.

use std::io::Cursor;
use std::path::Path;

use proptest::prelude::*;

use super::wire::{put_bytes, put_number};
use super::*;
use crate::golden;

/// A message of fields.
pub(crate) fn message(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(crate) fn bytes(number: u64, content: &[u8]) -> Vec<u8> {
    let mut field = Vec::new();
    put_bytes(&mut field, number, content);
    field
}

pub(crate) fn number(field: u64, value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, field, value);
    out
}

/// An operation: operator, inputs, outputs.
pub(crate) fn node(operator: &str, inputs: &[&str], outputs: &[&str]) -> Vec<u8> {
    let inputs: Vec<u8> = inputs
        .iter()
        .flat_map(|name| bytes(1, name.as_bytes()))
        .collect();
    let outputs: Vec<u8> = outputs
        .iter()
        .flat_map(|name| bytes(2, name.as_bytes()))
        .collect();
    message(&[&inputs, &outputs, &bytes(4, operator.as_bytes())])
}

/// An input or output of a kind with axes; `None` is a free one.
pub(crate) fn port(name: &str, kind: u64, axes: &[Option<u64>]) -> Vec<u8> {
    let axis = |axis: &Option<u64>| {
        let axis = match axis {
            Some(size) => number(1, *size),
            None => bytes(2, b"n"),
        };
        bytes(1, &axis)
    };
    let shape: Vec<u8> = axes.iter().flat_map(axis).collect();
    let tensor = message(&[&number(1, kind), &bytes(2, &shape)]);
    message(&[&bytes(1, name.as_bytes()), &bytes(2, &bytes(1, &tensor))])
}

/// A model of nodes, weights, inputs and outputs.
pub(crate) fn model(
    nodes: &[Vec<u8>],
    weights: &[Vec<u8>],
    inputs: &[Vec<u8>],
    outputs: &[Vec<u8>],
) -> Vec<u8> {
    let all = |number, parts: &[Vec<u8>]| -> Vec<u8> {
        parts.iter().flat_map(|part| bytes(number, part)).collect()
    };
    let graph = message(&[
        &all(1, nodes),
        &bytes(2, b"g"),
        &all(5, weights),
        &all(11, inputs),
        &all(12, outputs),
    ]);
    let opset = message(&[&bytes(1, b""), &number(2, 17)]);
    message(&[&number(1, 8), &bytes(7, &graph), &bytes(8, &opset)])
}

/// A weight of one axis with its values in the file.
pub(crate) fn weight(name: &str, kind: u64, side: u64, raw: &[u8]) -> Vec<u8> {
    message(&[
        &number(1, side),
        &number(2, kind),
        &bytes(8, name.as_bytes()),
        &bytes(9, raw),
    ])
}

/// A weight of `side` numbers in another file.
pub(crate) fn far_weight(name: &str, side: u64, entries: &[(&str, &str)]) -> Vec<u8> {
    let entries: Vec<u8> = entries
        .iter()
        .flat_map(|(key, value)| {
            bytes(
                13,
                &message(&[&bytes(1, key.as_bytes()), &bytes(2, value.as_bytes())]),
            )
        })
        .collect();
    message(&[
        &number(1, side),
        &number(2, 1),
        &bytes(8, name.as_bytes()),
        &entries,
        &number(14, 1),
    ])
}

fn verdict(weights: &[Vec<u8>], dir: &Path) -> Result<(), Fault> {
    let model = model(&[node("Add", &["x", "w"], &["y"])], weights, &[], &[]);
    let outline = outline(Cursor::new(&model), model.len() as u64).unwrap();
    check(&outline, dir)
}

fn reason(weights: &[Vec<u8>], dir: &Path) -> String {
    match verdict(weights, dir) {
        Err(Fault::Corrupt(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_real_graph_is_outlined_and_sound() {
    let path = golden::model_dir().join("unet/model.onnx");
    let bytes = std::fs::read(&path).unwrap();

    let outline = outline(Cursor::new(&bytes), bytes.len() as u64).unwrap();

    assert!(outline.nodes.len() > 100, "{}", outline.nodes.len());
    assert!(outline.tensors.len() > 50, "{}", outline.tensors.len());
    assert_eq!(check(&outline, path.parent().unwrap()), Ok(()));
    let inside = outline
        .tensors
        .iter()
        .filter_map(|tensor| match tensor.place {
            Place::Inside { offset, length } => Some(offset + length),
            _ => None,
        });
    assert!(inside.max().unwrap() <= bytes.len() as u64);
}

#[test]
fn weights_outside_the_folder_are_never_looked_for() {
    let dir = tempfile::tempdir().unwrap();
    for location in ["../../etc/passwd", "/etc/passwd", "a/../../b", "..", ""] {
        let reason = reason(&[far_weight("w", 1, &[("location", location)])], dir.path());
        assert!(
            reason.contains("outside its own folder"),
            "{location}: {reason}"
        );
    }
}

#[test]
fn weights_beside_the_graph_must_be_there_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let far = |side, offset: &str, length: &str| {
        let entries = [
            ("location", "w.bin"),
            ("offset", offset),
            ("length", length),
        ];
        far_weight("w", side, &entries)
    };
    let missing = verdict(&[far(4, "0", "16")], dir.path());
    assert_eq!(missing, Err(Fault::Missing(dir.path().join("w.bin"))));

    std::fs::write(dir.path().join("w.bin"), [0; 16]).unwrap();
    assert_eq!(verdict(&[far(4, "0", "16")], dir.path()), Ok(()));
    assert!(reason(&[far(4, "4", "16")], dir.path()).contains("the file has 16 bytes"));
    assert!(reason(&[far(4, "18446744073709551615", "16")], dir.path()).contains("cut short"));
    assert!(reason(&[far(4, "0", "12")], dir.path()).contains("12 bytes instead of 16"));
    std::fs::create_dir(dir.path().join("d")).unwrap();
    let folder = far_weight("w", 1, &[("location", "d")]);
    assert!(reason(&[folder], dir.path()).contains("is not a file"));
}

#[test]
fn weights_may_be_shared_but_not_overlap() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("w.bin"), [0; 64]).unwrap();
    let far = |name, offset: &str| {
        far_weight(
            name,
            4,
            &[("location", "w.bin"), ("offset", offset), ("length", "16")],
        )
    };

    assert_eq!(
        verdict(&[far("a", "0"), far("b", "0"), far("c", "16")], dir.path()),
        Ok(())
    );
    let reason = reason(&[far("a", "0"), far("b", "8")], dir.path());
    assert!(reason.contains("`a` and `b` overlap"), "{reason}");
}

#[test]
fn sizes_that_cannot_be_meant_are_refused_before_memory_is_asked_for() {
    let dir = Path::new("/");
    let huge = message(&[
        &number(1, 1 << 62),
        &number(1, 1 << 62),
        &number(2, 1),
        &bytes(8, b"w"),
        &bytes(9, &[0; 4]),
    ]);

    assert!(reason(&[huge], dir).contains("impossible shape"));
    assert!(reason(&[weight("w", 1, 1 << 63, &[0; 4])], dir).contains("impossible shape"));
    assert!(reason(&[weight("w", 1, 5, &[0; 4])], dir).contains("4 bytes instead of 20"));
}

#[test]
fn operators_from_elsewhere_are_refused_by_name() {
    let foreign = message(&[&node("Evil", &["x"], &["y"]), &bytes(7, b"acme.ops")]);
    let model = model(&[foreign], &[], &[], &[]);
    let outline = outline(Cursor::new(&model), model.len() as u64).unwrap();

    let Err(Fault::Unsupported(reason)) = check(&outline, Path::new("/")) else {
        panic!("it passed")
    };

    assert!(
        reason.contains("`Evil`") && reason.contains("`acme.ops`"),
        "{reason}"
    );
}

#[test]
fn only_the_usual_way_to_add_an_axis_is_repaired() {
    let repaired = |nodes: &[Vec<u8>]| {
        let inputs = [port("sample", 1, &[None; 4]), port("timestep", 1, &[])];
        let model = model(nodes, &[], &inputs, &[]);
        repair::give_timestep_an_axis(&model, "timestep", "sample")
    };
    let unsqueeze = node("Unsqueeze", &["timestep", "axes"], &["t1"]);

    assert!(repaired(&[unsqueeze.clone(), node("Cast", &["t1"], &["t2"])]).is_some());
    assert!(repaired(&[node("Mul", &["timestep", "f"], &["t1"])]).is_none());
    assert!(repaired(&[unsqueeze, node("Mul", &["timestep", "f"], &["t3"])]).is_none());
    assert!(repaired(&[]).is_none());
}

proptest! {
    #[test]
    fn any_bytes_are_outlined_or_refused(
        junk in proptest::collection::vec(any::<u8>(), 0..300),
        at in 0.0..1.0_f64,
    ) {
        let mut file = model(
            &[node("Add", &["x", "w"], &["y"])],
            &[far_weight("w", 4, &[("location", "w.bin"), ("offset", "7")])],
            &[port("x", 1, &[None])],
            &[],
        );
        let start = (at * file.len() as f64) as usize;
        let end = (start + junk.len()).min(file.len());
        file.splice(start..end, junk);
        if let Ok(outline) = outline(Cursor::new(&file), file.len() as u64) {
            let _ = check(&outline, Path::new("/nowhere"));
        }
        let _ = repair::give_timestep_an_axis(&file, "x", "x");
    }
}
