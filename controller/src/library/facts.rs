//! What a model is and can do, in the words of REST: from its files, and from the element once it is loaded.
//!
//! The element is asked in both cases, so nothing here knows about graphs. A look at a folder's files is kept for as
//! long as they stay the same: clients ask often, and a vocabulary is long.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde_json::{Map, Value, json};

use super::keeper::Keepers;
use super::models::Home;

/// Fields by their names; `null` is what is not known.
pub type Facts = Map<String, Value>;

/// What is known of every model, and in the end what shows when it is loaded. Further fields may follow.
const FIELDS: [&str; 20] = [
    "name",
    "family",
    "prediction_type",
    "text_encoders",
    "turbo",
    "guidance_embedded",
    "tiny_autoencoder",
    "reference_images",
    "lora_inputs",
    "video_steps",
    "text_steps",
    "width",
    "height",
    "size_mb",
    "size_multiple",
    "max_dimension",
    "stream_batch",
    "provider",
    "provider_fallback",
    "graphs",
];

/// Files in how many folders below a model's own tell whether it has changed.
const DEPTH: usize = 2;
/// Looks that are kept.
const KEPT: usize = 256;

/// All that is known of a model, with `null` for the rest.
///
/// - `told`: by its files; `shown`: by loading it, if it is loaded.
pub(super) fn joined(told: &Facts, shown: Option<&Facts>) -> Value {
    let mut facts: Facts = FIELDS
        .map(|field| (field.to_owned(), Value::Null))
        .into_iter()
        .collect();
    for (name, value) in told.iter().chain(shown.into_iter().flatten()) {
        facts.insert(name.clone(), value.clone());
    }
    // Lengths are told in MiB everywhere.
    if let Some(bytes) = facts.remove("bytes").and_then(|bytes| bytes.as_f64()) {
        let mebibytes = bytes / f64::from(1 << 20);
        facts.insert("size_mb".into(), json!((mebibytes * 10.0).round() / 10.0));
    }
    Value::Object(facts)
}

/// The picture size that a model works at when nobody says, width and height in pixels.
pub(super) fn usual_size(home: &Home, told: &Facts) -> (u32, u32) {
    let side = |name: &str| {
        let side = told.get(name).and_then(Value::as_u64);
        side.and_then(|side| u32::try_from(side).ok())
    };
    let usual = home.default_size();
    side("width").zip(side("height")).unwrap_or((usual, usual))
}

/// What the files told, or why the folder cannot be used.
type Told = Result<Facts, String>;

/// Looks at models' files, and remembers what it saw.
#[derive(Debug)]
pub struct Surveyor {
    keepers: Arc<dyn Keepers>,
    seen: Mutex<HashMap<PathBuf, (u64, Told)>>,
}

impl Surveyor {
    /// Looks by way of `keepers`.
    pub fn new(keepers: Arc<dyn Keepers>) -> Self {
        Self {
            keepers,
            seen: Mutex::default(),
        }
    }

    /// What the files tell, or why the folder cannot be used. Blocks.
    pub(super) fn look(&self, home: &Home) -> Result<Facts, String> {
        let folder = match home {
            Home::Nothing => return Ok(Facts::new()),
            Home::BuiltIn => Path::new(""),
            Home::Folder(folder) => folder,
        };
        let now = fingerprint(folder);
        if let Some((then, told)) = self.seen.lock().unwrap().get(folder)
            && *then == now
        {
            return told.clone();
        }
        let told = self.keepers.inspect(folder).map_err(|err| err.to_string());
        if let Err(reason) = &told {
            tracing::warn!(folder = %folder.display(), reason, "a model folder cannot be used");
        }
        let mut seen = self.seen.lock().unwrap();
        if seen.len() >= KEPT {
            seen.clear();
        }
        seen.insert(folder.into(), (now, told.clone()));
        told
    }
}

/// Changes when a file comes, goes, or is written to.
fn fingerprint(folder: &Path) -> u64 {
    let mut files = Vec::new();
    if !folder.as_os_str().is_empty() {
        collect(folder, DEPTH, &mut files);
    }
    files.sort();
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    hasher.finish()
}

fn collect(
    folder: &Path,
    depth: usize,
    files: &mut Vec<(PathBuf, u64, Option<std::time::SystemTime>)>,
) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        // Of what a link leads to: weights are often links into a cache.
        let Ok(metadata) = fs::metadata(entry.path()) else {
            continue;
        };
        if metadata.is_dir() && depth > 0 {
            collect(&entry.path(), depth - 1, files);
        } else if metadata.is_file() {
            files.push((entry.path(), metadata.len(), metadata.modified().ok()));
        }
    }
}

/// The fields of an element's answer: `kebab-case` becomes `snake_case`, lists and structures keep their shape.
pub(super) fn of(structure: &gst::StructureRef) -> Facts {
    let field = |(name, value): (&gst::glib::GStr, &gst::glib::SendValue)| {
        (name.replace('-', "_"), value_of(value))
    };
    structure.iter().map(field).collect()
}

fn value_of(value: &gst::glib::Value) -> Value {
    if let Ok(list) = value.get::<gst::Array>() {
        return list.iter().map(|item| value_of(item)).collect();
    }
    if let Ok(structure) = value.get::<gst::Structure>() {
        return Value::Object(of(&structure));
    }
    let text = value.get::<String>().map(Value::from);
    text.or_else(|_| value.get::<bool>().map(Value::from))
        .or_else(|_| value.get::<u32>().map(Value::from))
        .or_else(|_| value.get::<i32>().map(Value::from))
        .or_else(|_| value.get::<u64>().map(Value::from))
        .or_else(|_| value.get::<f64>().map(Value::from))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_elements_answer_keeps_its_shape() {
        gst::init().unwrap();
        let graphs = gst::Structure::builder("graphs")
            .field("vae-decoder", "cpu 3")
            .build();
        let told = gst::Structure::builder("model")
            .field("name", "tiny")
            .field("turbo", true)
            .field("lora-inputs", gst::Array::new(["ink", "oil"]))
            .field("video-steps", gst::Array::new([360, 100]))
            .field("bytes", 3_u64 << 20)
            .field("graphs", graphs)
            .build();

        let facts = joined(&of(&told), None);

        assert_eq!(facts["lora_inputs"], json!(["ink", "oil"]));
        assert_eq!(facts["video_steps"], json!([360, 100]));
        assert_eq!(facts["graphs"], json!({ "vae_decoder": "cpu 3" }));
        assert_eq!(
            (&facts["size_mb"], &facts["turbo"]),
            (&json!(3.0), &json!(true))
        );
        assert!(facts["provider"].is_null() && facts.get("bytes").is_none());
    }

    #[test]
    fn what_loading_shows_joins_what_the_files_tell() {
        let facts = |value: Value| value.as_object().unwrap().clone();
        let told = facts(json!({ "name": "sd", "bytes": 1 << 20 }));
        let shown = facts(json!({ "name": "sd", "provider": "cpu" }));

        let both = joined(&told, Some(&shown));

        assert_eq!(
            (&both["provider"], &both["size_mb"]),
            (&json!("cpu"), &json!(1.0))
        );
    }

    #[test]
    fn a_folder_is_looked_at_again_when_a_file_has_changed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("unet");
        fs::create_dir(&file).unwrap();
        let empty = fingerprint(folder.path());
        fs::write(file.join("model.onnx"), "a").unwrap();
        let short = fingerprint(folder.path());
        fs::write(file.join("model.onnx"), "ab").unwrap();

        assert!(empty != short && short != fingerprint(folder.path()));
        assert_eq!(fingerprint(folder.path()), fingerprint(folder.path()));
    }
}
