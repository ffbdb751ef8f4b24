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

use super::write::{Axis, FLOAT, Graph, HALF, UINT8, int, ints, real};

/// Name of the picture in both graphs.
pub(crate) const BYTES: &str = "bytes";
/// Name of the network's numbers in both graphs.
pub(crate) const VALUES: &str = "values";
/// Name of the second output of [`into_bytes`].
pub(crate) const FAULT: &str = "fault";

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
    graph.model("picture")
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
    graph.model("picture")
}

const PICTURE: &[Axis] = &[Axis::Is(1), Axis::Free("H"), Axis::Free("W"), Axis::Is(3)];
const PLANES: &[Axis] = &[Axis::Is(1), Axis::Is(3), Axis::Free("H"), Axis::Free("W")];
