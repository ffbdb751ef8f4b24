//! Repairs the one fault that keeps most exported networks from the stream batch.
//!
//! Exporters give the denoising network its timestep without an axis and add one inside
//! (`Unsqueeze`). Without that node the timestep may have one value for each row; everything behind
//! it treats rows one by one already.

use super::inner;
use super::wire::{Field, Value, fields, put_bytes, text};

/// The same model with an axis on its timestep, or `None` if it is not built in the usual way.
///
/// - `model`: the whole file.
/// - `timestep`, `sample`: names of the two inputs; the new axis is called as `sample`'s first.
pub(crate) fn give_timestep_an_axis(model: &[u8], timestep: &str, sample: &str) -> Option<Vec<u8>> {
    let mut repaired = Vec::with_capacity(model.len() + 64);
    let mut done = false;
    for field in fields(model) {
        let field = field?;
        match (field.number, field.value) {
            (7, Value::Bytes(graph)) => {
                put_bytes(&mut repaired, 7, &in_graph(graph, timestep, sample)?);
                done = true;
            }
            _ => repaired.extend_from_slice(field.raw),
        }
    }
    done.then_some(repaired)
}

fn in_graph(graph: &[u8], timestep: &str, sample: &str) -> Option<Vec<u8>> {
    let all: Vec<Field<'_>> = fields(graph).collect::<Option<_>>()?;
    let users = all.iter().filter(|field| {
        matches!(field, Field { number: 1, value: Value::Bytes(node), .. }
            if texts(node, 1).any(|input| input == timestep))
    });
    let [user] = users.collect::<Vec<_>>()[..] else {
        return None;
    };
    let Value::Bytes(node) = user.value else {
        return None;
    };
    let operator = texts(node, 4).next()?;
    if !matches!(operator, "Unsqueeze" | "Reshape") {
        return None;
    }
    let unused = texts(node, 2).next()?.to_owned();
    let batch = all.iter().find_map(|field| batch_name(field, sample));

    let mut edited = Vec::with_capacity(graph.len() + 64);
    for field in &all {
        match (field.number, field.value) {
            _ if std::ptr::eq(field, user) => {}
            (1, Value::Bytes(node)) if texts(node, 1).any(|input| input == unused) => {
                put_bytes(&mut edited, 1, &renamed(node, &unused, timestep)?);
            }
            (11, Value::Bytes(input)) if texts(input, 1).next() == Some(timestep) => {
                let batch = batch.as_deref().unwrap_or("batch");
                put_bytes(&mut edited, 11, &with_axis(input, batch)?);
            }
            // What was noted about the value that is no longer there.
            (13, Value::Bytes(note)) if texts(note, 1).next() == Some(unused.as_str()) => {}
            _ => edited.extend_from_slice(field.raw),
        }
    }
    Some(edited)
}

/// The texts in all fields of one number.
fn texts(message: &[u8], number: u64) -> impl Iterator<Item = &str> {
    let wanted = move |field: &Field<'_>| field.number == number;
    let all = fields(message).flatten().filter(wanted);
    all.filter_map(|field| text(field.value))
}

/// A node that takes `to` where it took `from`.
fn renamed(node: &[u8], from: &str, to: &str) -> Option<Vec<u8>> {
    let mut edited = Vec::with_capacity(node.len());
    for field in fields(node) {
        let field = field?;
        if field.number == 1 && text(field.value) == Some(from) {
            put_bytes(&mut edited, 1, to.as_bytes());
        } else {
            edited.extend_from_slice(field.raw);
        }
    }
    Some(edited)
}

/// Replaces the message in field `number` by what `edit` makes of it; adds one if there is none.
fn within(message: &[u8], number: u64, edit: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let (mut edited, mut found) = (Vec::with_capacity(message.len() + 16), false);
    for field in fields(message) {
        let field = field?;
        match field.value {
            Value::Bytes(inner) if field.number == number => {
                put_bytes(&mut edited, number, &edit(inner)?);
                found = true;
            }
            _ => edited.extend_from_slice(field.raw),
        }
    }
    if !found {
        put_bytes(&mut edited, number, &edit(&[])?);
    }
    Some(edited)
}

/// `ValueInfoProto.type.tensor_type.shape` with one more axis.
fn with_axis(input: &[u8], batch: &str) -> Option<Vec<u8>> {
    within(input, 2, |kind| {
        within(kind, 1, |tensor| {
            within(tensor, 2, |shape| {
                let (mut shape, mut axis) = (shape.to_vec(), Vec::new());
                put_bytes(&mut axis, 2, batch.as_bytes());
                put_bytes(&mut shape, 1, &axis);
                Some(shape)
            })
        })
    })
}

/// The name of the first axis of input `sample`.
fn batch_name(field: &Field<'_>, sample: &str) -> Option<String> {
    let Value::Bytes(input) = field.value else {
        return None;
    };
    if field.number != 11 || texts(input, 1).next() != Some(sample) {
        return None;
    }
    let axis = inner(inner(inner(inner(input, 2)?, 1)?, 2)?, 1)?;
    texts(axis, 2).next().map(str::to_owned)
}
