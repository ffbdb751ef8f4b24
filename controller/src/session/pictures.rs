//! Pictures that parameters name: from a client's words to files of this machine.
//!
//! Only the local processors get what comes out: a cloud has files of its own.

use serde_json::Value;

use super::Parameters;
use crate::library::assets::Assets;

/// A list of pictures, and a single one.
const SEVERAL: &str = "vace_ref_images";
const ONE: &str = "colour_reference";

/// The patch with files in place of the names that clients have for pictures.
///
/// # Errors
///
/// A sentence naming what is no picture here.
pub(super) fn resolved(assets: Option<&Assets>, patch: &Parameters) -> Result<Parameters, String> {
    let mut patch = patch.clone();
    let find = |name: &mut Value| -> Result<(), String> {
        // What is no text, or the empty one that takes a picture away, is the processor's affair.
        let Some(asked) = name.as_str().filter(|asked| !asked.is_empty()) else {
            return Ok(());
        };
        let assets = assets.ok_or("this session has no pictures")?;
        let file = assets.picture(asked).map_err(|error| {
            format!("there is no picture `{asked}`: {error}; see GET /api/v1/assets")
        })?;
        *name = file.to_string_lossy().into();
        Ok(())
    };
    let several = patch.get_mut(SEVERAL).and_then(Value::as_array_mut);
    several.into_iter().flatten().try_for_each(find)?;
    patch.get_mut(ONE).into_iter().try_for_each(find)?;
    Ok(patch)
}

/// As [`resolved`]; a name that is none is left out and told to `refuse`, so that the rest still counts.
pub(super) fn resolved_or_without(
    assets: Option<&Assets>,
    patch: &Parameters,
    refuse: impl FnOnce(String),
) -> Parameters {
    resolved(assets, patch).unwrap_or_else(|reason| {
        refuse(reason);
        let mut rest = patch.clone();
        rest.retain(|key, _| ![SEVERAL, ONE].contains(&key.as_str()));
        rest
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assets() -> (tempfile::TempDir, Assets) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("assets")).unwrap();
        for file in [
            "assets/a.png",
            "assets/b.png",
            "assets/film.mp4",
            "secret.png",
        ] {
            std::fs::write(folder.path().join(file), "").unwrap();
        }
        let assets = Assets::new(folder.path().join("assets"), 100);
        (folder, assets)
    }

    fn patch(value: &Value) -> Parameters {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn names_become_files_and_everything_else_stays() {
        let (folder, assets) = assets();
        let file = |name: &str| folder.path().join("assets").join(name);
        let asked = patch(
            &json!({ "vace_ref_images": ["a.png", file("b.png")], "colour_reference": "b.png", "seed": 1 }),
        );

        let resolved = resolved(Some(&assets), &asked).unwrap();

        assert_eq!(
            Value::Object(resolved),
            json!({ "vace_ref_images": [file("a.png"), file("b.png")], "colour_reference": file("b.png"), "seed": 1 })
        );
        let nothing = patch(&json!({ "vace_ref_images": [], "colour_reference": "" }));
        assert_eq!(super::resolved(None, &nothing), Ok(nothing));
    }

    #[test]
    fn a_name_that_is_none_is_refused_or_left_out() {
        let (folder, assets) = assets();
        let outside = [
            folder.path().join("secret.png"),
            folder.path().join("assets/../secret.png"),
        ];
        let mut wrong = vec![
            json!("c.png"),
            json!("film.mp4"),
            json!("../secret.png"),
            json!("/etc/passwd"),
        ];
        wrong.extend(outside.map(|path| json!(path)));
        for wrong in wrong {
            let asked = patch(&json!({ "vace_ref_images": ["a.png", wrong], "seed": 1 }));
            let mut refused = None;

            let refusal = resolved(Some(&assets), &asked).unwrap_err();
            assert!(refusal.contains("there is no picture"), "{refusal}");
            let refuse = |reason| refused = Some(reason);
            let rest = resolved_or_without(Some(&assets), &asked, refuse);

            assert_eq!(Value::Object(rest), json!({ "seed": 1 }));
            assert_eq!(refused, Some(refusal));
            assert!(resolved(None, &asked).is_err());
        }
    }
}
