//! What the operator asked for: plain data, one field a property.

use std::path::PathBuf;

use diffusion_engine::{
    Batching, CfgType, Device, InputMode, Lora, Opening, Pace, Parameters, Provider, Shapes,
};
use gst::glib;
use serde_json::Value;

use crate::sights::Wanted;

/// How the element keeps time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstScopeDiffusionPacing")]
#[repr(i32)]
pub(crate) enum Pacing {
    #[default]
    #[enum_value(name = "Live when the pipeline is live, else strict", nick = "auto")]
    Auto = 0,
    #[enum_value(
        name = "Own thread, newest frame wins, drops are counted",
        nick = "live"
    )]
    Live = 1,
    #[enum_value(
        name = "One picture out for each picture in, nothing dropped",
        nick = "strict"
    )]
    Strict = 2,
}

/// Where inference runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstScopeDiffusionExecutionProvider")]
#[repr(i32)]
pub(crate) enum ExecutionProvider {
    #[default]
    #[enum_value(name = "CUDA when it works here, else CPU", nick = "auto")]
    Auto = 0,
    #[enum_value(name = "CPU", nick = "cpu")]
    Cpu = 1,
    #[enum_value(name = "CUDA", nick = "cuda")]
    Cuda = 2,
    #[enum_value(name = "TensorRT", nick = "tensorrt")]
    TensorRt = 3,
}

/// How several denoising steps are run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstScopeDiffusionBatching")]
#[repr(i32)]
pub(crate) enum BatchingChoice {
    #[default]
    #[enum_value(name = "Stream on a GPU, sequential on the CPU", nick = "auto")]
    Auto = 0,
    #[enum_value(
        name = "Stream batch: one call a frame, steps - 1 frames of delay",
        nick = "stream"
    )]
    Stream = 1,
    #[enum_value(
        name = "Sequential: a call for each step, no delay",
        nick = "sequential"
    )]
    Sequential = 2,
}

/// What pictures are made from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstScopeDiffusionInputMode")]
#[repr(i32)]
pub(crate) enum InputModeChoice {
    #[default]
    #[enum_value(name = "Video: redraw the incoming frame", nick = "video")]
    Video = 0,
    #[enum_value(name = "Text: the prompt alone, frames only keep time", nick = "text")]
    Text = 1,
}

/// Where the unconditional prediction of guidance comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstScopeDiffusionCfgType")]
#[repr(i32)]
pub(crate) enum CfgTypeChoice {
    #[enum_value(name = "No guidance", nick = "none")]
    None = 0,
    #[enum_value(
        name = "Classifier-free guidance: the network runs twice as many rows",
        nick = "full"
    )]
    Full = 1,
    #[default]
    #[enum_value(
        name = "Residual noise in place of the negative prompt: costs nothing",
        nick = "self"
    )]
    SelfNegative = 2,
    #[enum_value(
        name = "As self, but the first step asks about the negative prompt",
        nick = "initialize"
    )]
    Initialize = 3,
}

impl From<CfgType> for CfgTypeChoice {
    fn from(kind: CfgType) -> Self {
        match kind {
            CfgType::None => Self::None,
            CfgType::Full => Self::Full,
            CfgType::SelfNegative => Self::SelfNegative,
            CfgType::Initialize => Self::Initialize,
        }
    }
}

impl CfgTypeChoice {
    /// The word for it in `parameters`.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Full => "full",
            Self::SelfNegative => "self",
            Self::Initialize => "initialize",
        }
    }
}

impl From<InputMode> for InputModeChoice {
    fn from(mode: InputMode) -> Self {
        match mode {
            InputMode::Video => Self::Video,
            InputMode::Text => Self::Text,
        }
    }
}

/// Everything that is settled before the element runs. Live controls are in [`Parameters`].
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    /// A diffusers-style folder of ONNX graphs; `None` is the built-in model. Read going NULL → READY.
    pub(crate) model_dir: Option<PathBuf>,
    /// Another folder whose autoencoder takes the place of the model's own. Read going NULL → READY.
    pub(crate) vae_dir: Option<PathBuf>,
    /// Adapters merged into the weights. Read going NULL → READY; their scales may change while running.
    pub(crate) loras: Vec<Lora>,
    /// Read going NULL → READY.
    pub(crate) execution_provider: ExecutionProvider,
    /// Which GPU. Read going NULL → READY.
    pub(crate) device: u32,
    /// Where to keep what takes long to prepare; `None` keeps nothing. Read going NULL → READY.
    pub(crate) model_cache_dir: Option<PathBuf>,
    /// Where ONNX Runtime's library is; `None` searches. Read by the first element of the process that loads it.
    pub(crate) onnxruntime_lib: Option<PathBuf>,
    /// Read when the stream starts.
    pub(crate) pacing: Pacing,
    /// Read when caps arrive.
    pub(crate) batching: BatchingChoice,
    /// Frames that go through the network together, 1 to 8. Read when caps arrive.
    pub(crate) frame_buffer: u32,
    /// Whether a frame is set going before the picture of the one before it is taken. Read when caps arrive.
    pub(crate) pipelining: bool,
    /// Width the model works at, pixels; 0 is the width of the caps. Read when caps arrive.
    pub(crate) width: u32,
    /// Height the model works at, pixels; 0 is the height of the caps. Read when caps arrive.
    pub(crate) height: u32,
    /// Pictures beside the frames. May change while running.
    pub(crate) sights: Wanted,
    /// The live controls as they stand, all patches applied.
    pub(crate) parameters: Parameters,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            model_dir: None,
            vae_dir: None,
            loras: Vec::new(),
            execution_provider: ExecutionProvider::default(),
            device: 0,
            model_cache_dir: None,
            onnxruntime_lib: None,
            pacing: Pacing::default(),
            batching: BatchingChoice::default(),
            frame_buffer: 1,
            pipelining: false,
            width: 0,
            height: 0,
            sights: Wanted::default(),
            parameters: Parameters::default(),
        }
    }
}

/// Reads a list of adapters: JSON, `[{"path": "style.safetensors", "scale": 0.8}]`, or a bare path.
///
/// # Errors
///
/// A sentence saying what is wrong.
pub(crate) fn loras(text: &str) -> Result<Vec<Lora>, String> {
    let text = text.trim();
    if !text.starts_with('[') {
        let alone = |path: &str| Lora {
            path: path.into(),
            scale: 1.0,
        };
        return Ok(Some(text)
            .filter(|text| !text.is_empty())
            .map(alone)
            .into_iter()
            .collect());
    }
    let expected = "`loras` must be a list of {path, scale} with a scale from -10 to 10";
    let items: Vec<Value> =
        serde_json::from_str(text).map_err(|error| format!("{expected}: {error}"))?;
    let read = |item: &Value| {
        let path = item["path"].as_str().filter(|path| !path.is_empty())?;
        let scale = match &item["scale"] {
            Value::Null => 1.0,
            scale => scale.as_f64().filter(|scale| scale.abs() <= 10.0)?,
        };
        Some(Lora {
            path: path.into(),
            scale: scale as f32,
        })
    };
    let read = |item| read(item).ok_or_else(|| format!("{expected}, not {item}"));
    items.iter().map(read).collect()
}

/// A list of adapters as JSON, as [`loras`] reads it.
pub(crate) fn loras_json(loras: &[Lora]) -> Option<String> {
    let items = loras.iter().map(
        |lora| serde_json::json!({ "path": lora.path.to_string_lossy(), "scale": lora.scale }),
    );
    let items: Vec<_> = items.collect();
    (!items.is_empty()).then(|| Value::Array(items).to_string())
}

impl Settings {
    /// Changes the scales of adapters, named by path or by file name. True if weights have to be merged anew.
    ///
    /// - `inputs`: names of adapters that are inputs of the loaded model and need no merging.
    ///
    /// # Errors
    ///
    /// A sentence naming the adapter that is not there; nothing has changed then.
    pub(crate) fn scale_loras(
        &mut self,
        scales: &[(String, f32)],
        inputs: &[String],
    ) -> Result<bool, String> {
        let mut loras = self.loras.clone();
        for (path, scale) in scales {
            let called = |lora: &&mut Lora| {
                lora.path.as_os_str() == path.as_str()
                    || lora
                        .path
                        .file_name()
                        .is_some_and(|name| name == path.as_str())
            };
            let asked = Lora {
                path: path.into(),
                scale: *scale,
            };
            let lora = loras.iter_mut().find(called);
            if lora.is_none() && inputs.contains(&asked.name()) {
                continue;
            }
            let lora = lora.ok_or_else(|| {
                format!("`{path}` is none of the adapters in `loras`; load the model with it")
            })?;
            lora.scale = *scale;
        }
        let merged = |loras: &[Lora]| {
            let merged = loras.iter().filter(|lora| !inputs.contains(&lora.name()));
            merged.cloned().collect::<Vec<_>>()
        };
        let changed = merged(&loras) != merged(&self.loras);
        self.loras = loras;
        Ok(changed)
    }

    /// The same with the scales of adapters among the parameters, for those that are inputs of the model.
    pub(crate) fn with_scales(mut self) -> Self {
        for lora in &self.loras {
            self.parameters.set_lora_scale(&lora.name(), lora.scale);
        }
        self
    }

    pub(crate) fn source(&self) -> crate::models::Source {
        crate::models::Source {
            dir: self.model_dir.clone(),
            vae_dir: self.vae_dir.clone(),
            loras: self.loras.clone(),
            opening: Opening {
                device: self.device(),
                cache_dir: self.model_cache_dir.clone(),
                shapes: self.shapes(),
                ..Opening::default()
            },
        }
    }

    pub(crate) fn device(&self) -> Device {
        let provider = match self.execution_provider {
            ExecutionProvider::Auto => Provider::Auto,
            ExecutionProvider::Cpu => Provider::Cpu,
            ExecutionProvider::Cuda => Provider::Cuda,
            ExecutionProvider::TensorRt => Provider::TensorRt,
        };
        Device {
            provider,
            index: self.device,
        }
    }

    /// What the stream will ask for, where engines are built for it; other models can be shared by streams of any shape.
    fn shapes(&self) -> Option<Shapes> {
        let built = self.execution_provider == ExecutionProvider::TensorRt;
        let known = self.width > 0 && self.height > 0;
        let size = known.then_some((self.width, self.height));
        built.then(|| Shapes::new(size, self.pace(), &self.parameters))
    }

    pub(crate) fn pace(&self) -> Pace {
        Pace {
            batching: match self.batching {
                BatchingChoice::Auto => Batching::Auto,
                BatchingChoice::Stream => Batching::Stream,
                BatchingChoice::Sequential => Batching::Sequential,
            },
            frame_buffer: self.frame_buffer,
            pipelining: self.pipelining,
        }
    }

    /// The size the model works at for input of `width` × `height`, pixels.
    pub(crate) fn model_size(&self, width: u32, height: u32) -> (u32, u32) {
        let or = |asked: u32, given: u32| if asked == 0 { given } else { asked };
        (or(self.width, width), or(self.height, height))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_told_where_engines_are_built_for_them_and_nowhere_else() {
        let mut settings = Settings {
            width: 768,
            height: 512,
            frame_buffer: 2,
            ..Settings::default()
        };
        assert_eq!(settings.source().opening.shapes, None);

        settings.execution_provider = ExecutionProvider::TensorRt;
        let shapes = settings.source().opening.shapes.unwrap();
        assert_eq!((shapes.size, shapes.most_rows), (Some((768, 512)), 16));
        settings.height = 0;
        assert_eq!(settings.source().opening.shapes.unwrap().size, None);
    }

    #[test]
    fn adapters_are_a_list_or_a_bare_path() {
        let read = |text: &str| loras(text).unwrap();

        assert_eq!(read(""), []);
        assert_eq!(
            read("style.safetensors"),
            read(r#"[{"path": "style.safetensors"}]"#)
        );
        let list = r#"[{"path":"a","scale":0.5},{"path":"b","scale":-1.0}]"#;
        assert_eq!(loras_json(&read(list)).as_deref(), Some(list));
        for wrong in [
            "[1]",
            r#"[{"scale": 1}]"#,
            r#"[{"path": "a", "scale": 99}]"#,
            "[{",
        ] {
            assert!(
                loras(wrong).unwrap_err().contains("list of {path, scale}"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn scales_are_changed_by_path_or_file_name_and_all_or_none() {
        let mut settings = Settings {
            loras: loras(r#"[{"path": "/l/a.safetensors"}, {"path": "/l/b.safetensors"}]"#)
                .unwrap(),
            ..Settings::default()
        };
        let mut scale = |path: &str, scale| {
            settings.scale_loras(&[(path.into(), scale)], &["b".into(), "baked".into()])
        };

        assert_eq!(scale("/l/a.safetensors", 0.5), Ok(true));
        assert_eq!(
            scale("b.safetensors", 0.5),
            Ok(false),
            "an input of the model"
        );
        assert_eq!(
            scale("baked", 0.5),
            Ok(false),
            "an input that nobody named before"
        );
        assert!(
            scale("c.safetensors", 1.0)
                .unwrap_err()
                .contains("`c.safetensors`")
        );
        assert_eq!(settings.loras[0].scale, 0.5);
    }
}
