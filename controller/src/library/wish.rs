//! What a client asked to have loaded, and what that means.
//!
//! Decision: sizes are rounded down to the multiple of 16 a model works in, as a page may offer any number; a size
//! that is no size is refused.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::loras;
use super::models::{DIFFUSION_FACTORY, Home, Model};
use crate::processor::{Fit, Processor};
use crate::session::Parameters;

/// Sizes a model can work at, pixels.
const SIZES: std::ops::RangeInclusive<u64> = 16..=2048;
/// What sizes are a multiple of.
const GRID: u64 = 16;

/// One entry of a load: which model, under which key, how.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// The key, Scope's `node_id`.
    pub node_id: String,
    /// Scope's `pipeline_id`.
    pub pipeline_id: String,
    /// `load_params` as sent.
    pub load_params: Option<Map<String, Value>>,
}

impl Wish {
    fn is_same_model(&self, other: &Self) -> bool {
        self.pipeline_id == other.pipeline_id && self.load_params == other.load_params
    }

    /// The processor and the first parameters this wish stands for; `usual` is the size when it says none.
    pub(super) fn understand(
        &self,
        model: &Model,
        lora_dir: &Path,
        usual: (u32, u32),
    ) -> Result<(Processor, Parameters), String> {
        let mut params = self.load_params.clone().unwrap_or_default();
        params.retain(|_, value| !value.is_null());
        let width = side(&mut params, "width")?.unwrap_or(usual.0);
        let height = side(&mut params, "height")?.unwrap_or(usual.1);
        loras::check_mode(&mut params)?;
        let loras = loras::property(&mut params, lora_dir)?;
        if loras.is_some() && !model.home.takes_loras() {
            return Err(format!("`{}` takes no LoRA", model.id));
        }
        let mut processor = Processor {
            node_id: self.node_id.clone(),
            pipeline_id: self.pipeline_id.clone(),
            factory: None,
            properties: vec![],
            size: None,
            fit: fit(&mut params)?,
        };
        let folder = match &model.home {
            // Passthrough keeps the input's size, whatever was asked for.
            Home::Nothing => return Ok((processor, Parameters::new())),
            Home::BuiltIn => None,
            Home::Folder(folder) => Some(folder),
        };
        processor.factory = Some(DIFFUSION_FACTORY);
        processor
            .properties
            .extend(folder.map(|path| ("model-dir", path.display().to_string())));
        processor
            .properties
            .extend(loras.map(|loras| ("loras", loras)));
        processor.size = Some((width, height));
        processor
            .properties
            .extend([("width", width.to_string()), ("height", height.to_string())]);
        Ok((processor, live_parameters(params)))
    }
}

impl Home {
    /// Whether LoRA files can be merged into it: they are made for Stable Diffusion's layers.
    pub(super) fn takes_loras(&self) -> bool {
        matches!(self, Self::Folder(_))
    }

    /// Side of the square a model works at when nobody says, pixels.
    pub(super) fn default_size(&self) -> u32 {
        match self {
            Self::BuiltIn => 256,
            Self::Nothing | Self::Folder(_) => 512,
        }
    }
}

fn side(params: &mut Map<String, Value>, key: &str) -> Result<Option<u32>, String> {
    let Some(value) = params.remove(key) else {
        return Ok(None);
    };
    let pixels = value.as_u64().filter(|pixels| SIZES.contains(pixels));
    let pixels = pixels.and_then(|pixels| u32::try_from(pixels / GRID * GRID).ok());
    pixels.map(Some).ok_or_else(|| {
        let (low, high) = (SIZES.start(), SIZES.end());
        format!("`{key}` is {value}; send a whole number from {low} to {high}")
    })
}

/// How frames of another shape get the model's size.
fn fit(params: &mut Map<String, Value>) -> Result<Fit, String> {
    let Some(value) = params.remove("fit") else {
        return Ok(Fit::default());
    };
    value
        .as_str()
        .and_then(Fit::of)
        .ok_or_else(|| format!("`fit` is {value}; send \"crop\", \"letterbox\" or \"stretch\""))
}

/// What of `load_params` also is a live parameter, under the name it has there.
fn live_parameters(params: Map<String, Value>) -> Parameters {
    const LIVE: [(&str, &str); 26] = [
        ("base_seed", "seed"),
        ("seed", "seed"),
        ("denoising_steps", "denoising_step_list"),
        ("denoising_step_list", "denoising_step_list"),
        ("noise_scale", "noise_scale"),
        ("noise_controller", "noise_controller"),
        ("prompts", "prompts"),
        ("prompt_interpolation_method", "prompt_interpolation_method"),
        ("negative_prompt", "negative_prompt"),
        ("guidance_scale", "guidance_scale"),
        ("cfg_type", "cfg_type"),
        ("delta", "delta"),
        ("ref_images", "vace_ref_images"),
        ("vace_ref_images", "vace_ref_images"),
        ("vace_context_scale", "vace_context_scale"),
        ("colour_reference", "colour_reference"),
        ("colour_transfer", "colour_transfer"),
        ("do_add_noise", "do_add_noise"),
        ("seeds", "seeds"),
        ("t_index_list", "t_index_list"),
        ("num_inference_steps", "num_inference_steps"),
        ("latent_feedback", "latent_feedback"),
        ("motion", "motion"),
        ("similar_image_filter", "similar_image_filter"),
        (
            "similar_image_filter_threshold",
            "similar_image_filter_threshold",
        ),
        (
            "similar_image_filter_max_skip_frame",
            "similar_image_filter_max_skip_frame",
        ),
    ];
    let renamed = params.into_iter().filter_map(|(key, value)| {
        let (_, live) = LIVE.iter().find(|(load, _)| *load == key)?;
        Some(((*live).to_owned(), value))
    });
    renamed.collect()
}

/// Refuses a set in which a key names two models.
pub(super) fn check(wishes: &[Wish]) -> Result<(), String> {
    let mut seen = HashSet::new();
    match wishes.iter().find(|wish| !seen.insert(&wish.node_id)) {
        Some(wish) => Err(format!(
            "two pipelines have the node_id `{}`; give each its own",
            wish.node_id
        )),
        None => Ok(()),
    }
}

/// What is loaded and fits, by the position of its wish: under the same key first, then under another.
pub(super) fn reuse<T>(
    wishes: &[Wish],
    loaded: &mut Vec<T>,
    wish_of: impl Fn(&T) -> &Wish,
) -> HashMap<usize, T> {
    let mut kept = HashMap::new();
    for same_key in [true, false] {
        for (at, wish) in wishes.iter().enumerate() {
            let fits = |found: &Wish| {
                found.is_same_model(wish) && (!same_key || found.node_id == wish.node_id)
            };
            if kept.contains_key(&at) {
                continue;
            }
            if let Some(found) = loaded.iter().position(|loaded| fits(wish_of(loaded))) {
                kept.insert(at, loaded.swap_remove(found));
            }
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn wish(node_id: &str, pipeline_id: &str, params: &Value) -> Wish {
        let load_params = params.as_object().cloned();
        Wish {
            node_id: node_id.into(),
            pipeline_id: pipeline_id.into(),
            load_params,
        }
    }

    fn folder() -> Model {
        Model {
            id: "sd".into(),
            home: Home::Folder("/models/sd".into()),
        }
    }

    #[test]
    fn a_folder_is_handed_to_the_element_with_size_and_first_parameters() {
        let wish = wish(
            "n",
            "sd",
            &json!({ "width": 640, "height": 363, "base_seed": 7, "vae_type": "tae" }),
        );

        let (processor, parameters) = wish
            .understand(&folder(), Path::new("/models/lora"), (512, 512))
            .unwrap();

        assert_eq!(processor.factory, Some(DIFFUSION_FACTORY));
        let properties = [
            ("model-dir", "/models/sd"),
            ("width", "640"),
            ("height", "352"),
        ];
        assert_eq!(
            processor.properties,
            properties.map(|(name, value)| (name, value.to_owned()))
        );
        assert_eq!(processor.size, Some((640, 352)));
        assert_eq!(Value::Object(parameters), json!({ "seed": 7 }));
    }

    #[test]
    fn a_size_that_is_no_size_is_refused() {
        for size in [
            json!("big"),
            json!(-1),
            json!(0),
            json!(1e9),
            json!(512.5),
            json!([]),
        ] {
            let refusal = wish("n", "sd", &json!({ "width": size })).understand(
                &folder(),
                Path::new("/models/lora"),
                (512, 512),
            );
            assert!(refusal.unwrap_err().starts_with("`width` is"), "{size}");
        }
    }

    #[test]
    fn frames_of_another_shape_are_cropped_unless_asked_otherwise() {
        let understand = |params| {
            let wish = wish("n", "sd", &params);
            let understood = wish.understand(&folder(), Path::new("/models/lora"), (512, 512));
            understood.map(|(processor, _)| processor.fit)
        };

        assert_eq!(understand(json!({})), Ok(Fit::Crop));
        assert_eq!(
            understand(json!({ "fit": "letterbox" })),
            Ok(Fit::Letterbox)
        );
        let refusal = understand(json!({ "fit": "squeeze" })).unwrap_err();
        assert!(refusal.starts_with("`fit` is \"squeeze\""), "{refusal}");
    }

    #[test]
    fn a_loaded_model_is_found_again_under_another_key_but_only_once() {
        let mut loaded = vec![wish("a", "sd", &json!({ "width": 512 }))];
        let wishes = [
            wish("b", "sd", &json!({ "width": 512 })),
            wish("c", "sd", &json!({ "width": 512 })),
            wish("d", "sd", &json!({})),
        ];

        let kept = reuse(&wishes, &mut loaded, |wish| wish);

        assert_eq!(kept.keys().copied().collect::<Vec<_>>(), [0]);
    }

    #[test]
    fn the_same_key_is_preferred() {
        let mut loaded = vec![wish("a", "sd", &json!({})), wish("b", "sd", &json!({}))];

        let kept = reuse(
            &[wish("b", "sd", &json!({})), wish("x", "sd", &json!({}))],
            &mut loaded,
            |wish| wish,
        );

        assert_eq!(
            (kept[&0].node_id.as_str(), kept[&1].node_id.as_str()),
            ("b", "a")
        );
    }
}
