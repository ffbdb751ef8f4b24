//! Whether the weights that a graph speaks of are there, whole, and inside its folder.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use super::{Outline, Place, TensorOutline};

/// Operators that ONNX Runtime brings along; any other domain needs a library of its own.
const KNOWN_DOMAINS: [&str; 6] = [
    "",
    "ai.onnx",
    "ai.onnx.ml",
    "com.microsoft",
    "com.microsoft.nchwc",
    "com.ms.internal.nhwc",
];

/// What is wrong with a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The file, or one beside it, is damaged or dangerous.
    Corrupt(String),
    /// A file beside it is missing.
    Missing(PathBuf),
    /// It is sound, but nobody here can run it.
    Unsupported(String),
}

/// Checks an outline against the files in `dir`, the folder that the graph lies in.
pub(crate) fn check(outline: &Outline, dir: &Path) -> Result<(), Fault> {
    let foreign = outline
        .nodes
        .iter()
        .find(|node| !KNOWN_DOMAINS.contains(&node.domain.as_str()));
    if let Some(node) = foreign {
        return Err(Fault::Unsupported(format!(
            "its operator `{}` comes from `{}`, a library of custom operators, and none is ever \
             loaded",
            node.operator, node.domain
        )));
    }
    let mut lengths = HashMap::new();
    let mut outside: Vec<(&str, u64, u64, &str)> = Vec::new();
    for tensor in &outline.tensors {
        let size = byte_size(tensor)?;
        match &tensor.place {
            Place::Spelled => {}
            Place::Inside { length, .. } => {
                if let Some(size) = size.filter(|size| size != length) {
                    return Err(cut_short(tensor, *length, size));
                }
            }
            Place::Outside {
                location,
                offset,
                length,
            } => {
                let path = confined(dir, location)?;
                let there = match lengths.get(location.as_str()) {
                    Some(there) => *there,
                    None => {
                        let there = length_of(&path)?;
                        lengths.insert(location.as_str(), there);
                        there
                    }
                };
                let length = length.or(size).unwrap_or(0);
                if let Some(size) = size.filter(|size| *size != length) {
                    return Err(cut_short(tensor, length, size));
                }
                let end = offset.checked_add(length).filter(|end| *end <= there);
                let Some(end) = end else {
                    return Err(Fault::Corrupt(format!(
                        "weight `{}` lies at byte {offset} of `{location}`, {length} bytes long, \
                         but the file has {there} bytes: it is cut short",
                        tensor.name
                    )));
                };
                outside.push((location, *offset, end, &tensor.name));
            }
        }
    }
    overlaps(outside)
}

/// Weights may share all their bytes, and nothing less.
fn overlaps(mut outside: Vec<(&str, u64, u64, &str)>) -> Result<(), Fault> {
    outside.retain(|(_, start, end, _)| start < end);
    outside.sort_unstable();
    for pair in outside.windows(2) {
        let [(file, start, end, name), (other, next, close, twin)] = pair else {
            continue;
        };
        if file == other && next < end && (start, end) != (next, close) {
            return Err(Fault::Corrupt(format!(
                "weights `{name}` and `{twin}` overlap in `{file}`"
            )));
        }
    }
    Ok(())
}

/// The file that a graph names as `location`, which must lie below the graph's own folder.
///
/// Only the name is looked at: download caches link files from one folder to another, and those
/// links are the owner's.
fn confined(dir: &Path, location: &str) -> Result<PathBuf, Fault> {
    let relative = Path::new(location);
    let plain = |component| matches!(component, Component::Normal(_) | Component::CurDir);
    if location.is_empty() || !relative.components().all(plain) {
        return Err(Fault::Corrupt(format!(
            "it wants weights from `{location}`, outside its own folder"
        )));
    }
    Ok(dir.join(relative))
}

fn length_of(path: &Path) -> Result<u64, Fault> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => Ok(found.len()),
        Ok(_) => Err(Fault::Corrupt(format!(
            "`{}` is not a file",
            path.display()
        ))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Fault::Missing(path.to_path_buf()))
        }
        Err(error) => Err(Fault::Corrupt(format!("`{}`: {error}", path.display()))),
    }
}

/// Bytes that a weight of this shape takes, where its type is known.
pub(crate) fn byte_size(tensor: &TensorOutline) -> Result<Option<u64>, Fault> {
    let width = match tensor.kind {
        2 | 3 | 9 => 1,
        4 | 5 | 10 | 16 => 2,
        1 | 6 | 12 => 4,
        7 | 11 | 13 => 8,
        _ => return Ok(None),
    };
    let size = tensor
        .shape
        .iter()
        .try_fold(width, |size: u64, side| size.checked_mul(*side))
        .filter(|size| i64::try_from(*size).is_ok());
    size.map(Some).ok_or_else(|| {
        Fault::Corrupt(format!(
            "weight `{}` claims the impossible shape {:?}",
            tensor.name, tensor.shape
        ))
    })
}

fn cut_short(tensor: &TensorOutline, there: u64, size: u64) -> Fault {
    Fault::Corrupt(format!(
        "weight `{}` of shape {:?} has {there} bytes instead of {size}",
        tensor.name, tensor.shape
    ))
}
