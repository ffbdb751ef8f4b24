//! Whether a file can be a whole ONNX file, found out without reading its weights.
//!
//! An ONNX file is one protobuf message; walking its outermost fields touches a few hundred bytes
//! and shows every file that was cut short, whatever its size.
//!
//! Source: onnx/onnx, onnx.proto, `ModelProto` (field 7 is the graph); protobuf encoding guide.

use std::io::{Read, Seek, SeekFrom};

/// `ModelProto` has fields up to 25; more than this many outermost fields is another format.
const HIGHEST_FIELD: u64 = 100;

/// Outermost fields a real file may have (it has some ten, and one for each local function).
const MOST_FIELDS: usize = 100_000;

/// Says in one sentence why the file cannot be ONNX.
pub(super) fn prove<F: Read + Seek>(file: &mut F, length: u64) -> Result<(), String> {
    if length == 0 {
        return Err("it is empty".into());
    }
    let mut head = [0; 64];
    let read = file.read(&mut head).map_err(|error| error.to_string())?;
    let start = &head[..read];
    if start.starts_with(b"version https://git-lfs") {
        return Err("it is a git-lfs pointer, not the file itself (run `git lfs pull`)".into());
    }
    if start.trim_ascii_start().starts_with(b"<") {
        return Err("it is a web page, not an ONNX file".into());
    }
    file.seek(SeekFrom::Start(0))
        .map_err(|error| error.to_string())?;
    let (mut at, mut has_graph, mut fields) = (0, false, 0);
    while at < length {
        let first = at == 0;
        fields += 1;
        if fields > MOST_FIELDS {
            return Err("it is not an ONNX file".into());
        }
        let end = skip_field(file, &mut at, &mut has_graph);
        match end {
            Some(()) if at <= length => {}
            _ if first => return Err("it is not an ONNX file".into()),
            Some(()) => return Err(format!("it is cut short: {length} of {at} bytes are there")),
            None => return Err("it is cut short or not an ONNX file".into()),
        }
        file.seek(SeekFrom::Start(at))
            .map_err(|error| error.to_string())?;
    }
    if has_graph {
        Ok(())
    } else {
        Err("there is no graph in it".into())
    }
}

/// Moves `at` behind the field that starts there; `None` if nothing sensible starts there.
fn skip_field<F: Read>(file: &mut F, at: &mut u64, has_graph: &mut bool) -> Option<()> {
    let tag = varint(file, at)?;
    let field = tag >> 3;
    if field == 0 || field > HIGHEST_FIELD {
        return None;
    }
    let length = match tag & 7 {
        0 => varint(file, at).map(|_| 0)?,
        1 => 8,
        2 => varint(file, at)?,
        5 => 4,
        _ => return None,
    };
    *has_graph |= field == 7 && tag & 7 == 2;
    *at = at.checked_add(length)?;
    Some(())
}

fn varint<F: Read>(file: &mut F, at: &mut u64) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        file.read_exact(&mut byte).ok()?;
        *at += 1;
        value |= u64::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn verdict(bytes: &[u8]) -> Result<(), String> {
        prove(&mut Cursor::new(bytes), bytes.len() as u64)
    }

    /// Version 8, and a graph of five bytes.
    const WHOLE: [u8; 9] = [0x08, 8, 0x3a, 5, 1, 2, 3, 4, 5];

    #[test]
    fn a_whole_file_passes() {
        assert_eq!(verdict(&WHOLE), Ok(()));
    }

    #[test]
    fn a_file_cut_anywhere_is_refused() {
        for length in 0..WHOLE.len() {
            assert!(verdict(&WHOLE[..length]).is_err(), "{length} bytes");
        }
        assert_eq!(
            verdict(&WHOLE[..7]).unwrap_err(),
            "it is cut short: 7 of 9 bytes are there"
        );
    }

    #[test]
    fn usual_impostors_are_named() {
        assert!(
            verdict(b"version https://git-lfs.github.com/spec/v1")
                .unwrap_err()
                .contains("lfs")
        );
        assert!(
            verdict(b"\n<!DOCTYPE html>")
                .unwrap_err()
                .contains("web page")
        );
        assert!(
            verdict(b"PK\x03\x04zip")
                .unwrap_err()
                .contains("not an ONNX")
        );
        assert!(verdict(b"").unwrap_err().contains("empty"));
    }
}
