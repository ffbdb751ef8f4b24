//! Graphs of one operation: what goes in, what comes out, in every type that a file may have.

use super::*;
use crate::backend::fake::{gather, spread};
use crate::backend::{Changes, Device, Feed, Form, Graph, Output, Provider, Read, Tensor, Values};
use crate::folder::Folder;
use crate::golden;
use crate::onnx::tests::{model, node, port};
use crate::watch::Watch;

const FLOAT: u64 = 1;
const INT32: u64 = 6;
const INT64: u64 = 7;
const HALF: u64 = 10;

/// A graph with the content of `model` in the place of `role`.
fn opened(role: &str, content: &[u8]) -> Box<dyn Graph> {
    opened_as(role, content, false)
}

/// - `like_a_device`: pictures go through graphs, as they do on a GPU.
fn opened_as(role: &str, content: &[u8], like_a_device: bool) -> Box<dyn Graph> {
    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    let copy = golden::copy_of(&golden::model_dir());
    std::fs::write(copy.path().join(role).join("model.onnx"), content).unwrap();
    let folder = Folder::open(copy.path()).unwrap();
    let part = match role {
        "vae_encoder" => &folder.vae_encoder,
        "vae_decoder" => &folder.vae_decoder,
        _ => &folder.unet,
    };
    let device = Device {
        provider: Provider::Cpu,
        index: 0,
    };
    let opener = backend.on(&device.into()).unwrap();
    let opener = match like_a_device {
        true => opener.with_picture_graphs(),
        false => opener,
    };
    opener.open(part, Changes::default()).unwrap()
}

/// What goes in comes out, cast where the two kinds differ.
fn through(from: u64, to: u64) -> Vec<u8> {
    let free = [None; 4];
    let mut cast = node("Cast", &["x"], &["y"]);
    let attribute = [
        crate::onnx::tests::bytes(1, b"to"),
        crate::onnx::tests::number(3, to),
        crate::onnx::tests::number(20, 2),
    ];
    cast.extend(crate::onnx::tests::bytes(5, &attribute.concat()));
    model(
        &[cast],
        &[],
        &[port("x", from, &free)],
        &[port("y", to, &free)],
    )
}

fn run(graph: &mut dyn Graph, shape: &[usize], values: Values<'_>, read: &mut Read<'_>) {
    let feed = Feed::new("x", shape, values);
    let form = match values {
        Values::Bytes(_) | Values::Whole(_) => Form::Real,
        Values::Real(_) => Form::Bytes,
    };
    let watch = Watch::default();
    graph.run(&[feed], &[("y", form)], &watch, read).unwrap();
}

#[test]
fn bytes_become_the_numbers_of_the_formula_exactly() {
    let (height, width) = (4, 64);
    let bytes: Vec<u8> = (0..3 * height * width)
        .map(|k| (k * 7 % 256) as u8)
        .collect();
    let shape = [1, 3, height, width];
    for (kind, exact, like_a_device) in [
        (FLOAT, true, false),
        (FLOAT, true, true),
        (HALF, false, false),
        (HALF, false, true),
    ] {
        let mut graph = opened_as("vae_encoder", &through(kind, FLOAT), like_a_device);
        for _ in 0..3 {
            let mut seen = Tensor::default();
            run(
                &mut *graph,
                &shape,
                Values::Bytes(&bytes),
                &mut |_, output| seen.take(output),
            );

            assert_eq!(seen.shape, shape);
            let expected = spread(&bytes).into_iter();
            let expected: Vec<f32> = match exact {
                true => expected.collect(),
                false => expected
                    .map(|value| half::f16::from_f32(value).to_f32())
                    .collect(),
            };
            assert_eq!(seen.values, expected);
        }
    }
}

#[test]
fn numbers_become_the_bytes_of_the_formula_exactly_and_faults_are_found() {
    let (height, width) = (8, 32);
    let shape = [1, 3, height, width];
    let values: Vec<f32> = (0..3 * height * width)
        .map(|k| k as f32 / 300.0 - 1.3)
        .collect();
    for like_a_device in [false, true] {
        let open = |kind| opened_as("vae_decoder", &through(FLOAT, kind), like_a_device);
        let (mut graph, mut half) = (open(FLOAT), open(HALF));
        let look = |graph: &mut dyn Graph, values: &[f32]| {
            let mut seen = (Vec::new(), false);
            run(graph, &shape, Values::Real(values), &mut |_, output| {
                let Output::Picture { bytes, sound, .. } = output else {
                    panic!("{output:?}")
                };
                seen = (bytes.to_vec(), sound);
            });
            seen
        };

        assert_eq!(look(&mut *graph, &values), (gather(&values), true));
        let rounded = values
            .iter()
            .map(|value| half::f16::from_f32(*value).to_f32());
        let rounded: Vec<f32> = rounded.collect();
        assert_eq!(look(&mut *half, &values), (gather(&rounded), true));
        for wrong in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut values = values.clone();
            values[77] = wrong;
            assert!(!look(&mut *graph, &values).1, "{wrong}");
            assert!(!look(&mut *half, &values).1, "{wrong} in 16 bits");
        }
        assert!(look(&mut *graph, &values).1, "and the next is sound again");
    }
}

#[test]
fn whole_numbers_are_fed_as_the_file_wants_them() {
    let ids: Vec<i64> = vec![3, -5, 70_000, 9];
    for kind in [INT32, INT64, FLOAT] {
        let mut graph = opened("unet", &through(kind, FLOAT));
        let mut seen = Tensor::default();

        let take = &mut |_, output: Output<'_>| seen.take(output);
        run(&mut *graph, &[1, 1, 2, 2], Values::Whole(&ids), take);

        assert_eq!(seen.values, [3.0, -5.0, 70_000.0, 9.0], "type {kind}");
    }
}

#[test]
fn timesteps_are_fed_as_the_file_wants_them() {
    for kind in [HALF, INT32, INT64, FLOAT] {
        let mut graph = opened("unet", &through(kind, FLOAT));
        let (shape, mut seen) = ([1, 1, 1, 2], Tensor::default());
        let feed = Feed::new("x", &shape, Values::Real(&[999.0, 250.0]));
        let (wanted, watch) = ([("y", Form::Real)], Watch::default());

        let read = &mut |_, output: Output<'_>| seen.take(output);
        graph.run(&[feed], &wanted, &watch, read).unwrap();

        assert_eq!(seen.values, [999.0, 250.0], "type {kind}");
    }
}

#[test]
fn what_has_a_stamp_is_written_once() {
    let mut graph = opened("unet", &through(FLOAT, FLOAT));
    let shape = [1, 1, 1, 2];
    let mut fed = |values: &[f32], stamp| {
        let mut seen = Tensor::default();
        let feed = Feed {
            stamp,
            ..Feed::new("x", &shape, Values::Real(values))
        };
        let wanted = [("y", Form::Real)];
        let read = &mut |_, output: Output<'_>| seen.take(output);
        graph
            .run(&[feed], &wanted, &Watch::default(), read)
            .unwrap();
        seen.values
    };

    assert_eq!(fed(&[1.0, 2.0], 7), [1.0, 2.0]);
    assert_eq!(
        fed(&[8.0, 9.0], 7),
        [1.0, 2.0],
        "the stamp says that it is there"
    );
    assert_eq!(fed(&[8.0, 9.0], 8), [8.0, 9.0]);
    assert_eq!(fed(&[3.0, 4.0], 0), [3.0, 4.0]);
    assert_eq!(
        fed(&[5.0, 6.0], 8),
        [5.0, 6.0],
        "something else was there meanwhile"
    );
}

#[test]
fn many_sizes_one_after_another_are_all_right() {
    let mut graph = opened("unet", &through(FLOAT, FLOAT));
    for side in (1..30).chain(1..30) {
        let values: Vec<f32> = (0..side).map(|k| (k * side) as f32).collect();
        let shape = [1, 1, 1, side];
        let feed = Feed::new("x", &shape, Values::Real(&values));
        let (mut seen, watch) = (Tensor::default(), Watch::default());

        let read = &mut |_, output: Output<'_>| seen.take(output);
        graph
            .run(&[feed], &[("y", Form::Real)], &watch, read)
            .unwrap();

        assert_eq!(seen.values, values);
    }
}
