//! What an ONNX file says about itself, read without its weights and without a runtime.
//!
//! A file is a stranger's: every length, offset and path in it is checked against the files that
//! are there before anybody opens it, and nothing is allocated on its say-so.
//!
//! Source: onnx/onnx, onnx.proto: `ModelProto`, `GraphProto`, `NodeProto`, `TensorProto`.

mod check;
pub(crate) mod latents;
pub(crate) mod picture;
pub(crate) mod repair;
pub(crate) mod wire;
pub(crate) mod write;

use std::io::{self, BufReader, Read, Seek, SeekFrom};

pub(crate) use self::check::{Fault, byte_size, check};
use self::wire::{Value, fields, text};

/// A node longer than this (it holds a large constant) is not looked into.
const LONGEST_NODE: u64 = 1 << 20;

/// The outline of a graph.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outline {
    pub(crate) nodes: Vec<NodeOutline>,
    pub(crate) tensors: Vec<TensorOutline>,
    pub(crate) inputs: Vec<InputOutline>,
}

/// One input.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct InputOutline {
    pub(crate) name: String,
    /// Its axes, where that is said; `None` is a free one.
    pub(crate) axes: Option<Vec<Option<u64>>>,
}

impl Outline {
    /// Whether every input has one size only.
    pub(crate) fn is_fixed(&self) -> bool {
        let fixed = |input: &InputOutline| {
            let axes = input.axes.as_deref();
            axes.is_some_and(|axes| axes.iter().all(Option::is_some))
        };
        !self.inputs.is_empty() && self.inputs.iter().all(fixed)
    }
}

/// One operation.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct NodeOutline {
    pub(crate) name: String,
    pub(crate) operator: String,
    pub(crate) domain: String,
    pub(crate) inputs: Vec<String>,
    /// Value of the attribute `transB`, of a `Gemm`.
    pub(crate) transposed: bool,
}

/// One weight.
#[derive(Debug, Default, PartialEq, Clone)]
pub(crate) struct TensorOutline {
    pub(crate) name: String,
    pub(crate) shape: Vec<u64>,
    /// `TensorProto.DataType`.
    pub(crate) kind: u64,
    pub(crate) place: Place,
}

/// Where the values of a weight lie.
#[derive(Debug, Default, PartialEq, Clone)]
pub(crate) enum Place {
    /// Number by number in the file, which only small ones do.
    #[default]
    Spelled,
    /// As bytes in the file itself.
    Inside { offset: u64, length: u64 },
    /// In another file.
    Outside {
        location: String,
        offset: u64,
        length: Option<u64>,
    },
}

/// Reads the outline of a file of `length` bytes.
pub(crate) fn outline<F: Read + Seek>(file: F, length: u64) -> io::Result<Outline> {
    let mut scan = Scan {
        file: BufReader::with_capacity(1 << 16, file),
        at: 0,
    };
    let mut outline = Outline::default();
    scan.seek(0)?;
    while let Some((number, wire, size)) = scan.field(length)? {
        if wire == 0 {
            continue;
        }
        let end = scan.end(size, length)?;
        if number == 7 && wire == 2 {
            scan.graph(end, &mut outline)?;
        }
        scan.seek(end)?;
    }
    Ok(outline)
}

/// A place in a file.
struct Scan<F> {
    file: BufReader<F>,
    at: u64,
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "it is not an ONNX file")
}

impl<F: Read + Seek> Scan<F> {
    /// The next field's number, wire type and length of content; for a number, the number.
    fn field(&mut self, end: u64) -> io::Result<Option<(u64, u64, u64)>> {
        if self.at >= end {
            return Ok(None);
        }
        let tag = self.varint()?;
        let size = match tag & 7 {
            0 => self.varint()?,
            1 => 8,
            2 => self.varint()?,
            5 => 4,
            _ => return Err(malformed()),
        };
        Ok(Some((tag >> 3, tag & 7, size)))
    }

    /// Where content of `size` bytes that starts here ends, if that is within `limit`.
    fn end(&self, size: u64, limit: u64) -> io::Result<u64> {
        let end = self.at.checked_add(size).filter(|end| *end <= limit);
        end.ok_or_else(malformed)
    }

    fn varint(&mut self) -> io::Result<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let mut byte = [0];
            self.file.read_exact(&mut byte)?;
            self.at += 1;
            value |= u64::from(byte[0] & 0x7f) << shift;
            if byte[0] & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(malformed())
    }

    fn seek(&mut self, to: u64) -> io::Result<()> {
        match i64::try_from(i128::from(to) - i128::from(self.at)) {
            Ok(by) => self.file.seek_relative(by)?,
            Err(_) => _ = self.file.seek(SeekFrom::Start(to))?,
        }
        self.at = to;
        Ok(())
    }

    /// Content of a field, which the caller has found to be short and within the file.
    fn bytes(&mut self, size: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = (&mut self.file).take(size).read_to_end(&mut bytes)?;
        self.at += read as u64;
        if read as u64 == size {
            Ok(bytes)
        } else {
            Err(malformed())
        }
    }

    fn graph(&mut self, end: u64, outline: &mut Outline) -> io::Result<()> {
        while let Some((number, wire, size)) = self.field(end)? {
            if wire == 0 {
                continue;
            }
            let close = self.end(size, end)?;
            match (number, wire) {
                (1, 2) if size <= LONGEST_NODE => {
                    let node = self.bytes(size)?;
                    outline.nodes.push(node_outline(&node));
                }
                (11, 2) if size <= LONGEST_NODE => {
                    let input = self.bytes(size)?;
                    outline.inputs.push(input_outline(&input));
                }
                (5, 2) => outline.tensors.push(self.tensor(close)?),
                _ => {}
            }
            self.seek(close)?;
        }
        Ok(())
    }

    fn tensor(&mut self, end: u64) -> io::Result<TensorOutline> {
        let mut tensor = TensorOutline::default();
        let mut outside = None;
        while let Some((number, wire, size)) = self.field(end)? {
            if wire == 0 {
                match number {
                    1 => tensor.shape.push(size),
                    2 => tensor.kind = size,
                    _ => {}
                }
                continue;
            }
            let close = self.end(size, end)?;
            match (number, wire) {
                (1, 2) if size <= LONGEST_NODE => packed(&self.bytes(size)?, &mut tensor.shape),
                (8, 2) if size <= LONGEST_NODE => {
                    tensor.name = String::from_utf8_lossy(&self.bytes(size)?).into_owned();
                }
                (9, 2) => {
                    let offset = self.at;
                    tensor.place = Place::Inside {
                        offset,
                        length: size,
                    };
                }
                (13, 2) if size <= LONGEST_NODE => {
                    let entry = self.bytes(size)?;
                    external(&entry, outside.get_or_insert_default());
                }
                _ => {}
            }
            self.seek(close)?;
        }
        if let Some(outside) = outside {
            tensor.place = outside.place()?;
        }
        Ok(tensor)
    }
}

/// The entries of `external_data`, as they were read.
#[derive(Default)]
struct External {
    location: String,
    offset: Option<String>,
    length: Option<String>,
}

impl External {
    fn place(self) -> io::Result<Place> {
        let number = |text: Option<String>| {
            let read = |text: String| text.parse::<u64>().map_err(|_| malformed());
            text.map(read).transpose()
        };
        Ok(Place::Outside {
            location: self.location,
            offset: number(self.offset)?.unwrap_or(0),
            length: number(self.length)?,
        })
    }
}

fn external(entry: &[u8], outside: &mut External) {
    let (mut key, mut value) = (None, None);
    for field in fields(entry).flatten() {
        match field.number {
            1 => key = text(field.value),
            2 => value = text(field.value).map(str::to_owned),
            _ => {}
        }
    }
    match key {
        Some("location") => outside.location = value.unwrap_or_default(),
        Some("offset") => outside.offset = value,
        Some("length") => outside.length = value,
        _ => {}
    }
}

fn packed(bytes: &[u8], numbers: &mut Vec<u64>) {
    let (mut value, mut shift) = (0_u64, 0_u32);
    for byte in bytes {
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        shift += 7;
        if byte & 0x80 == 0 {
            numbers.push(value);
            (value, shift) = (0, 0);
        }
    }
}

fn node_outline(node: &[u8]) -> NodeOutline {
    let mut outline = NodeOutline::default();
    for field in fields(node).flatten() {
        let said = || text(field.value).unwrap_or_default().to_owned();
        match field.number {
            1 => outline.inputs.push(said()),
            3 => outline.name = said(),
            4 => outline.operator = said(),
            5 => outline.transposed |= is_transposed(field.value),
            7 => outline.domain = said(),
            _ => {}
        }
    }
    outline
}

/// The first message in field `number`.
pub(crate) fn inner(message: &[u8], number: u64) -> Option<&[u8]> {
    fields(message)
        .flatten()
        .find_map(|field| match field.value {
            Value::Bytes(inner) if field.number == number => Some(inner),
            _ => None,
        })
}

fn input_outline(input: &[u8]) -> InputOutline {
    let named = fields(input).flatten().find(|field| field.number == 1);
    let name = named
        .and_then(|field| text(field.value))
        .unwrap_or_default();
    let tensor = inner(input, 2).and_then(|kind| inner(kind, 1));
    let shape = tensor.and_then(|tensor| inner(tensor, 2));
    let axes = |shape| {
        let axes = fields(shape).flatten().filter(|field| field.number == 1);
        axes.map(|axis| size_of_axis(axis.value)).collect()
    };
    InputOutline {
        name: name.to_owned(),
        axes: shape.map(axes),
    }
}

/// `dim_value` of an axis.
fn size_of_axis(axis: Value<'_>) -> Option<u64> {
    let Value::Bytes(axis) = axis else {
        return None;
    };
    let size = fields(axis).flatten().find(|field| field.number == 1);
    match size?.value {
        Value::Number(size) if size > 0 => Some(size),
        _ => None,
    }
}

/// Whether an attribute is `transB = 1`.
fn is_transposed(attribute: Value<'_>) -> bool {
    let Value::Bytes(bytes) = attribute else {
        return false;
    };
    let (mut named, mut set) = (false, false);
    for field in fields(bytes).flatten() {
        match field.number {
            1 => named = text(field.value) == Some("transB"),
            3 => set = matches!(field.value, Value::Number(1)),
            _ => {}
        }
    }
    named && set
}

#[cfg(test)]
pub(crate) mod tests;
