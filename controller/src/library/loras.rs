//! LoRA files on disk, and those a load asks for.
//!
//! They lie in the folder `lora` of the models folder, or one folder below. A load may name none outside of it.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// What files end in.
const ENDING: &str = "safetensors";
/// Scales a load may ask for.
const SCALES: std::ops::RangeInclusive<f64> = -10.0..=10.0;
/// Most of them at once.
const MOST: usize = 32;
/// What a load may ask for, Scope's words: merged into the weights, or applied beside them.
pub(super) const MERGED: &str = "permanent_merge";
pub(super) const BESIDE: &str = "runtime_peft";

/// The body of `GET /api/v1/loras`: every file, by name.
pub fn listing(lora_dir: &Path) -> Value {
    let mut found = files(lora_dir, None);
    for folder in entries(lora_dir).filter(|path| path.is_dir()) {
        let name = folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        found.extend(files(&folder, name.as_deref()));
    }
    found.sort_by_key(|file| file["name"].as_str().unwrap_or_default().to_owned());
    json!({ "lora_files": found })
}

/// Removes the file of a name in [`listing`]; false when there is none. Blocks.
///
/// # Errors
///
/// Why the system keeps it.
pub fn remove(name: &str, lora_dir: &Path) -> std::io::Result<bool> {
    let listed = listing(lora_dir);
    let mut files = listed["lora_files"].as_array().into_iter().flatten();
    let Some(path) = files.find_map(|file| (file["name"] == name).then(|| file["path"].as_str()))
    else {
        return Ok(false);
    };
    fs::remove_file(path.unwrap_or_default()).map(|()| true)
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path()))
}

fn files(folder: &Path, name: Option<&str>) -> Vec<Value> {
    let is_lora = |path: &PathBuf| path.extension().is_some_and(|end| end == ENDING);
    entries(folder)
        .filter(is_lora)
        .filter_map(|path| {
            let bytes = fs::metadata(&path).ok()?.len();
            Some(json!({
                "name": path.file_stem()?.to_string_lossy(),
                "path": path.display().to_string(),
                "size_mb": (bytes as f64 / 1048.576).round() / 1000.0,
                "folder": name,
                "sha256": null,
                "provenance": null,
                "read_only": false,
            }))
        })
        .collect()
}

/// Takes `loras` out of a load's parameters and gives the element's property for them.
///
/// # Errors
///
/// A sentence: what is no list of files with scales, or which file is not there.
pub(super) fn property(
    params: &mut Map<String, Value>,
    lora_dir: &Path,
) -> Result<Option<String>, String> {
    let Some(wanted) = params.remove("loras") else {
        return Ok(None);
    };
    let shape = || format!("`loras` is {wanted}; send a list of {{\"path\", \"scale\"}}");
    let list = wanted
        .as_array()
        .filter(|list| list.len() <= MOST)
        .ok_or_else(shape)?;
    let mut files = Vec::new();
    for one in list {
        let path = one.get("path").and_then(Value::as_str).ok_or_else(shape)?;
        let scale = match one.get("scale") {
            None | Some(Value::Null) => 1.0,
            Some(scale) => {
                let scale = scale.as_f64().filter(|scale| SCALES.contains(scale));
                scale.ok_or_else(shape)?
            }
        };
        let mode = one.get("merge_mode").filter(|mode| !mode.is_null());
        if mode.is_some_and(|mode| !is_mode(mode)) {
            return Err(shape());
        }
        files.push(json!({ "path": confined(path, lora_dir)?, "scale": scale }));
    }
    Ok((!files.is_empty()).then(|| Value::Array(files).to_string()))
}

/// Takes `lora_merge_mode` out of a load's parameters.
///
/// It is a wish, and the model's files decide: an adapter that the model was exported with is beside its weights, any
/// other is merged into them. Scales can be changed live either way. [`told`] says which way was taken.
///
/// # Errors
///
/// A sentence, for a word that is neither.
pub(super) fn check_mode(params: &mut Map<String, Value>) -> Result<(), String> {
    // Scope has both names for it.
    for key in ["lora_merge_mode", "lora_merge_strategy"] {
        if let Some(value) = params.remove(key)
            && !is_mode(&value)
        {
            return Err(format!(
                "`{key}` is {value}; send \"{MERGED}\" or \"{BESIDE}\""
            ));
        }
    }
    Ok(())
}

fn is_mode(value: &Value) -> bool {
    [MERGED, BESIDE].iter().any(|mode| value == mode)
}

/// The adapters of a loaded model with their scales at load, and the way that each was taken, whatever was asked for.
///
/// - `property`: what [`property`] gave; `inputs`: names of the adapters that the model was exported with.
pub(super) fn told(property: &str, inputs: &[&str]) -> Value {
    let list: Vec<Value> = serde_json::from_str(property).unwrap_or_default();
    let told = list.iter().map(|one| {
        let path = one["path"].as_str().unwrap_or_default();
        let beside = inputs.contains(&input_name(path).as_str());
        let mode = if beside { BESIDE } else { MERGED };
        json!({ "path": path, "scale": one["scale"], "merge_mode": mode })
    });
    told.collect()
}

/// What the element calls the scale of a file's adapter where it is an input: its name less the ending, in the
/// alphabet that every exporter keeps.
fn input_name(path: &str) -> String {
    let stem = Path::new(path).file_stem().unwrap_or_default();
    let kept = |sign: char| match sign {
        _ if sign.is_ascii_alphanumeric() => sign,
        '_' | '-' => sign,
        _ => '_',
    };
    stem.to_string_lossy().chars().map(kept).collect()
}

/// The file of this path or name, when it lies where LoRAs lie.
fn confined(wanted: &str, lora_dir: &Path) -> Result<String, String> {
    let outside = || {
        format!(
            "there is no LoRA `{wanted}` in {}; see GET /api/v1/loras",
            lora_dir.display()
        )
    };
    let home = lora_dir.canonicalize().map_err(|_| outside())?;
    // An absolute path stays what it is; a name is looked for in the folder.
    let file = home.join(wanted).canonicalize().map_err(|_| outside())?;
    let inside = file.starts_with(&home) && file.extension().is_some_and(|end| end == ENDING);
    inside
        .then(|| file.display().to_string())
        .ok_or_else(outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let loras = root.path().join("lora");
        fs::create_dir_all(loras.join("styles")).unwrap();
        fs::write(loras.join("ink.safetensors"), vec![0; 2_097_152]).unwrap();
        fs::write(loras.join("styles/oil.safetensors"), "x").unwrap();
        fs::write(loras.join("notes.txt"), "x").unwrap();
        fs::write(root.path().join("secret.safetensors"), "x").unwrap();
        (root, loras)
    }

    fn asked(loras: &Value, folder: &Path) -> Result<Option<String>, String> {
        let mut params = Map::from_iter([("loras".to_owned(), loras.clone())]);
        property(&mut params, folder)
    }

    #[test]
    fn files_are_listed_with_their_folder() {
        let (_root, loras) = folder();

        let listing = listing(&loras);

        let files = listing["lora_files"].as_array().unwrap();
        let seen: Vec<_> = files
            .iter()
            .map(|file| (&file["name"], &file["folder"]))
            .collect();
        assert_eq!(
            seen,
            [
                (&json!("ink"), &Value::Null),
                (&json!("oil"), &json!("styles"))
            ]
        );
        assert_eq!(files[0]["size_mb"], json!(2.0));
    }

    #[test]
    fn a_missing_folder_is_an_empty_list() {
        assert_eq!(listing(Path::new("/nowhere")), json!({ "lora_files": [] }));
    }

    #[test]
    fn a_load_names_files_by_path_or_by_name() {
        let (_root, loras) = folder();
        let path = loras.canonicalize().unwrap().join("ink.safetensors");

        let both = json!([{"path": path, "scale": 0.5}, {"path": "styles/oil.safetensors"}]);
        let property = asked(&both, &loras).unwrap().unwrap();

        let read: Value = serde_json::from_str(&property).unwrap();
        assert_eq!(
            (&read[0]["scale"], &read[1]["scale"]),
            (&json!(0.5), &json!(1.0))
        );
        assert!(
            read[1]["path"]
                .as_str()
                .unwrap()
                .ends_with("lora/styles/oil.safetensors")
        );
        assert_eq!(asked(&json!([]), &loras), Ok(None));
    }

    #[test]
    fn nothing_outside_the_folder_is_opened() {
        let (root, loras) = folder();
        let secret = root.path().join("secret.safetensors");
        for wanted in [
            json!("../secret.safetensors"),
            json!(secret),
            json!("notes.txt"),
            json!("none.safetensors"),
        ] {
            let refusal = asked(&json!([{"path": wanted}]), &loras).unwrap_err();
            assert!(refusal.contains("there is no LoRA"), "{refusal}");
        }
    }

    #[test]
    fn what_is_no_list_of_files_is_refused() {
        let (_root, loras) = folder();
        for wrong in [
            json!("ink"),
            json!([7]),
            json!([{"scale": 1.0}]),
            json!([{"path": "ink.safetensors", "scale": 11.0}]),
            json!([{"path": "ink.safetensors", "scale": "much"}]),
        ] {
            assert!(
                asked(&wrong, &loras).unwrap_err().starts_with("`loras` is"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_merge_mode_is_one_of_two_words_and_the_model_decides() {
        let (_root, loras) = folder();
        let checked = |key: &str, value: Value| {
            let mut params = Map::from_iter([(key.to_owned(), value)]);
            let checked = check_mode(&mut params);
            assert!(params.is_empty(), "it is no live parameter");
            checked
        };
        assert_eq!(checked("lora_merge_mode", json!("runtime_peft")), Ok(()));
        assert_eq!(
            checked("lora_merge_strategy", json!("permanent_merge")),
            Ok(())
        );
        let refusal = checked("lora_merge_mode", json!("fast")).unwrap_err();
        assert_eq!(
            refusal,
            "`lora_merge_mode` is \"fast\"; send \"permanent_merge\" or \"runtime_peft\""
        );
        let one = |mode: &str| json!([{"path": "ink.safetensors", "merge_mode": mode}]);
        assert!(asked(&one("runtime_peft"), &loras).is_ok());
        assert!(asked(&one("sometimes"), &loras).is_err());

        let list = r#"[{"path": "/l/ink v2.safetensors", "scale": 0.5}, {"path": "/l/oil.safetensors", "scale": 1.0}]"#;
        assert_eq!(
            told(list, &["ink_v2"]),
            json!([
                {"path": "/l/ink v2.safetensors", "scale": 0.5, "merge_mode": "runtime_peft"},
                {"path": "/l/oil.safetensors", "scale": 1.0, "merge_mode": "permanent_merge"},
            ])
        );
    }
}
