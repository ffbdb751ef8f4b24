//! Small graphs of our own, put together node by node.

use super::wire::{put_bytes, put_number};

/// `TensorProto.DataType`.
pub(crate) const FLOAT: u64 = 1;
pub(crate) const UINT8: u64 = 2;
const INT64: u64 = 7;
pub(crate) const HALF: u64 = 10;

/// Version of the operators that the graphs are written in.
const OPERATORS: u64 = 17;
/// Version of the file format that came with it.
const FORMAT: u64 = 8;

pub(crate) fn real(half: bool) -> u64 {
    if half { HALF } else { FLOAT }
}

/// One axis of an input or output.
#[derive(Clone, Copy)]
pub(crate) enum Axis {
    Is(u64),
    Free(&'static str),
}

/// A `GraphProto` under construction.
#[derive(Default)]
pub(crate) struct Graph(Vec<u8>);

impl Graph {
    pub(crate) fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[Vec<u8>],
    ) {
        self.nodes(operator, inputs, &[output], attributes);
    }

    /// A node with several outputs.
    pub(crate) fn nodes(
        &mut self,
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: &[Vec<u8>],
    ) {
        let mut node = Vec::new();
        for input in inputs {
            put_bytes(&mut node, 1, input.as_bytes());
        }
        for output in outputs {
            put_bytes(&mut node, 2, output.as_bytes());
        }
        put_bytes(&mut node, 4, operator.as_bytes());
        for attribute in attributes {
            put_bytes(&mut node, 5, attribute);
        }
        put_bytes(&mut self.0, 1, &node);
    }

    /// A number without axes.
    pub(crate) fn constant(&mut self, name: &str, value: f32) {
        let mut tensor = Vec::new();
        put_number(&mut tensor, 2, FLOAT);
        put_bytes(&mut tensor, 8, name.as_bytes());
        put_bytes(&mut tensor, 9, &value.to_le_bytes());
        put_bytes(&mut self.0, 5, &tensor);
    }

    /// Whole numbers in a row.
    pub(crate) fn numbers(&mut self, name: &str, values: &[usize]) {
        let mut tensor = Vec::new();
        put_number(&mut tensor, 1, values.len() as u64);
        put_number(&mut tensor, 2, INT64);
        put_bytes(&mut tensor, 8, name.as_bytes());
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|value| (*value as u64).to_le_bytes())
            .collect();
        put_bytes(&mut tensor, 9, &bytes);
        put_bytes(&mut self.0, 5, &tensor);
    }

    pub(crate) fn input(&mut self, name: &str, kind: u64, axes: &[Axis]) {
        put_bytes(&mut self.0, 11, &port(name, kind, axes));
    }

    pub(crate) fn output(&mut self, name: &str, kind: u64, axes: &[Axis]) {
        put_bytes(&mut self.0, 12, &port(name, kind, axes));
    }

    /// The whole file.
    pub(crate) fn model(mut self, name: &str) -> Vec<u8> {
        put_bytes(&mut self.0, 2, name.as_bytes());
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
pub(crate) fn int(name: &str, value: u64) -> Vec<u8> {
    let mut attribute = Vec::new();
    put_bytes(&mut attribute, 1, name.as_bytes());
    put_number(&mut attribute, 3, value);
    put_number(&mut attribute, 20, 2);
    attribute
}

/// An `AttributeProto` that holds several.
pub(crate) fn ints(name: &str, values: &[u64]) -> Vec<u8> {
    let mut attribute = Vec::new();
    put_bytes(&mut attribute, 1, name.as_bytes());
    for value in values {
        put_number(&mut attribute, 8, *value);
    }
    put_number(&mut attribute, 20, 7);
    attribute
}
