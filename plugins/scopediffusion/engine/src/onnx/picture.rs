//! The two small graphs between a picture's bytes and a network's numbers.
//!
//! They run where the network runs, if that is a GPU: what crosses over is bytes, a quarter of the
//! numbers or less. Both take any size. On the CPU [`crate::frame::spread`] and
//! [`crate::frame::gather`] do the same.
//!
//! ```text
//!  bytes u8 [1, H, W, 3] ──► values [1, 3, H, W] in −1…1                        for an encoder
//!  values [1, 3, H, W]   ──► bytes u8 [1, H, W, 3], fault f32 []                for a decoder
//! ```
//!
//! `fault` is 0, or NaN if any value is NaN or infinite.
//!
//! Source: StreamDiffusion's image processor, `x = u8 / 255 * 2 − 1`, and back, rounded half to even.

use super::wire::{put_bytes, put_number};

/// Name of the picture in both graphs.
pub(crate) const BYTES: &str = "bytes";
/// Name of the network's numbers in both graphs.
pub(crate) const VALUES: &str = "values";
/// Name of the second output of [`into_bytes`].
pub(crate) const FAULT: &str = "fault";

/// `TensorProto.DataType`.
const FLOAT: u64 = 1;
const UINT8: u64 = 2;
const HALF: u64 = 10;

/// Version of the operators below.
const OPERATORS: u64 = 17;
/// Version of the file format that came with it.
const FORMAT: u64 = 8;

/// The graph in front of an encoder.
///
/// - `half`: whether the encoder takes 16-bit numbers.
pub(crate) fn from_bytes(half: bool) -> Vec<u8> {
    let mut graph = Graph::default();
    graph.constant("most", 255.0);
    graph.constant("two", 2.0);
    graph.constant("one", 1.0);
    let planes = ints("perm", &[0, 3, 1, 2]);
    graph.node("Transpose", &[BYTES], "planes", &[planes]);
    graph.node("Cast", &["planes"], "whole", &[int("to", FLOAT)]);
    graph.node("Div", &["whole", "most"], "share", &[]);
    graph.node("Mul", &["share", "two"], "double", &[]);
    let last = if half { "wide" } else { VALUES };
    graph.node("Sub", &["double", "one"], last, &[]);
    if half {
        graph.node("Cast", &["wide"], VALUES, &[int("to", HALF)]);
    }
    graph.input(BYTES, UINT8, PICTURE);
    graph.output(VALUES, real(half), PLANES);
    graph.model()
}

/// The graph behind a decoder.
///
/// - `half`: whether the decoder gives 16-bit numbers.
pub(crate) fn into_bytes(half: bool) -> Vec<u8> {
    let mut graph = Graph::default();
    graph.constant("most", 255.0);
    graph.constant("two", 2.0);
    graph.constant("half", 0.5);
    graph.constant("zero", 0.0);
    graph.constant("one", 1.0);
    let wide = if half { "wide" } else { VALUES };
    if half {
        graph.node("Cast", &[VALUES], wide, &[int("to", FLOAT)]);
    }
    graph.node("Div", &[wide, "two"], "halved", &[]);
    graph.node("Add", &["halved", "half"], "share", &[]);
    graph.node("Clip", &["share", "zero", "one"], "clipped", &[]);
    graph.node("Mul", &["clipped", "most"], "scaled", &[]);
    graph.node("Round", &["scaled"], "whole", &[]);
    graph.node("Cast", &["whole"], "planes", &[int("to", UINT8)]);
    let pixels = ints("perm", &[0, 2, 3, 1]);
    graph.node("Transpose", &["planes"], BYTES, &[pixels]);
    // A number less itself is nothing; what is no number stays none.
    graph.node("Sub", &[wide, wide], "nothing", &[]);
    graph.node("ReduceSum", &["nothing"], FAULT, &[int("keepdims", 0)]);
    graph.input(VALUES, real(half), PLANES);
    graph.output(BYTES, UINT8, PICTURE);
    graph.output(FAULT, FLOAT, &[]);
    graph.model()
}

const PICTURE: &[Axis] = &[Axis::Is(1), Axis::Free("H"), Axis::Free("W"), Axis::Is(3)];
const PLANES: &[Axis] = &[Axis::Is(1), Axis::Is(3), Axis::Free("H"), Axis::Free("W")];

fn real(half: bool) -> u64 {
    if half { HALF } else { FLOAT }
}

/// One axis of an input or output.
#[derive(Clone, Copy)]
enum Axis {
    Is(u64),
    Free(&'static str),
}

/// A `GraphProto` under construction.
#[derive(Default)]
struct Graph(Vec<u8>);

impl Graph {
    fn node(&mut self, operator: &str, inputs: &[&str], output: &str, attributes: &[Vec<u8>]) {
        let mut node = Vec::new();
        for input in inputs {
            put_bytes(&mut node, 1, input.as_bytes());
        }
        put_bytes(&mut node, 2, output.as_bytes());
        put_bytes(&mut node, 4, operator.as_bytes());
        for attribute in attributes {
            put_bytes(&mut node, 5, attribute);
        }
        put_bytes(&mut self.0, 1, &node);
    }

    /// A number without axes.
    fn constant(&mut self, name: &str, value: f32) {
        let mut tensor = Vec::new();
        put_number(&mut tensor, 2, FLOAT);
        put_bytes(&mut tensor, 8, name.as_bytes());
        put_bytes(&mut tensor, 9, &value.to_le_bytes());
        put_bytes(&mut self.0, 5, &tensor);
    }

    fn input(&mut self, name: &str, kind: u64, axes: &[Axis]) {
        put_bytes(&mut self.0, 11, &port(name, kind, axes));
    }

    fn output(&mut self, name: &str, kind: u64, axes: &[Axis]) {
        put_bytes(&mut self.0, 12, &port(name, kind, axes));
    }

    /// The whole file.
    fn model(mut self) -> Vec<u8> {
        put_bytes(&mut self.0, 2, b"picture");
        let (mut operators, mut model) = (Vec::new(), Vec::new());
        put_bytes(&mut operators, 1, b"");
        put_number(&mut operators, 2, OPERATORS);
        put_number(&mut model, 1, FORMAT);
        put_bytes(&mut model, 7, &self.0);
        put_bytes(&mut model, 8, &operators);
        model
    }
}

/// A `ValueInfoProto`.
fn port(name: &str, kind: u64, axes: &[Axis]) -> Vec<u8> {
    let (mut shape, mut tensor, mut of, mut port) = (vec![], vec![], vec![], vec![]);
    for axis in axes {
        let mut size = Vec::new();
        match axis {
            Axis::Is(number) => put_number(&mut size, 1, *number),
            Axis::Free(name) => put_bytes(&mut size, 2, name.as_bytes()),
        }
        put_bytes(&mut shape, 1, &size);
    }
    put_number(&mut tensor, 1, kind);
    put_bytes(&mut tensor, 2, &shape);
    put_bytes(&mut of, 1, &tensor);
    put_bytes(&mut port, 1, name.as_bytes());
    put_bytes(&mut port, 2, &of);
    port
}

/// An `AttributeProto` that holds a whole number.
fn int(name: &str, value: u64) -> Vec<u8> {
    let mut attribute = Vec::new();
    put_bytes(&mut attribute, 1, name.as_bytes());
    put_number(&mut attribute, 3, value);
    put_number(&mut attribute, 20, 2);
    attribute
}

/// An `AttributeProto` that holds several.
fn ints(name: &str, values: &[u64]) -> Vec<u8> {
    let mut attribute = Vec::new();
    put_bytes(&mut attribute, 1, name.as_bytes());
    for value in values {
        put_number(&mut attribute, 8, *value);
    }
    put_number(&mut attribute, 20, 7);
    attribute
}
