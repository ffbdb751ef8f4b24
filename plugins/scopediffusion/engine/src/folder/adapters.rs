//! Adapters that a folder holds already, because their scales are inputs of its graphs.

use super::Folder;
use crate::error::EngineError;
use crate::lora::{self, Lora};

/// What the input for an adapter's scale is called, less the adapter's name.
const LORA_SCALE: &str = "lora_scale.";

impl Folder {
    /// Adapters whose scales are inputs of the folder's graphs, by name.
    ///
    /// # Errors
    ///
    /// As [`Folder::open`], if a graph's file has changed since.
    pub fn lora_inputs(&self) -> Result<Vec<String>, EngineError> {
        let graphs = [&self.unet, &self.text_encoder].into_iter();
        let mut names = Vec::new();
        for graph in graphs.chain(&self.text_encoder_2) {
            let inputs = graph.outline()?.inputs;
            let scales = inputs
                .iter()
                .filter_map(|input| input.name.strip_prefix(LORA_SCALE));
            names.extend(scales.map(str::to_owned));
        }
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Those of `loras` that have to be merged: the others are part of the graphs.
    ///
    /// # Errors
    ///
    /// [`EngineError::ModelUnsupported`] if a file is called like an adapter of the graphs but is not the one that they
    /// were exported with.
    pub fn merged(&self, loras: &[Lora]) -> Result<Vec<Lora>, EngineError> {
        if loras.is_empty() {
            return Ok(Vec::new());
        }
        let inputs = self.lora_inputs()?;
        let mut merged = Vec::new();
        for lora in loras {
            let name = lora.name();
            if !inputs.contains(&name) {
                merged.push(lora.clone());
                continue;
            }
            let recorded = self.record.loras.get(&name).and_then(|known| known.bytes);
            let found = std::fs::metadata(&lora.path).ok().map(|file| file.len());
            if let (Some(recorded), Some(found)) = (recorded, found)
                && recorded != found
            {
                return Err(EngineError::ModelUnsupported {
                    name: self.name().into(),
                    reason: format!(
                        "it was exported with another adapter called `{name}` than {}: rename the file, or export \
                         the model with it",
                        lora.path.display()
                    ),
                });
            }
        }
        Ok(merged)
    }
}

impl Lora {
    /// What its scale is called where it is an input: the file's name less its ending, in letters, digits, `_` and `-`.
    #[must_use]
    pub fn name(&self) -> String {
        lora::input_name(&self.path.to_string_lossy())
    }
}
