//! Copies of graphs that run on CUDA alone: `model.cuda.onnx` beside `model.onnx`, with attention, normalisation and
//! convolutions as single operations.
//!
//! A copy is an offer. One that is damaged, or that takes other inputs than the graph it stands in for, is left aside
//! with a sentence, and the graph itself is opened, as it is on every other provider.

use std::path::PathBuf;

use super::{Folder, Part};
use crate::error::EngineError;
use crate::onnx::InputOutline;

/// What a copy is called.
pub(super) const NAME: &str = "model.cuda.onnx";

/// Which files of a folder are opened.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// The folder, with copies in the place of graphs where they are taken.
    pub(crate) folder: Folder,
    plain: Folder,
    /// Roles whose copies are taken.
    pub(crate) fused: Vec<&'static str>,
    /// Roles whose copies are there but not taken, and why.
    pub(crate) refused: Vec<(&'static str, String)>,
}

impl Files {
    /// The graphs as they are.
    pub(crate) fn plain(folder: &Folder) -> Self {
        Self {
            folder: folder.clone(),
            plain: folder.clone(),
            fused: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Copies where there are sound ones.
    pub(crate) fn fused(folder: &Folder) -> Self {
        let mut files = Self::plain(folder);
        let mut copies = folder.clone();
        for part in copies.parts_mut() {
            match folder.copy_of(part) {
                Some(Ok(copy)) => {
                    files.fused.push(part.role);
                    *part = copy;
                }
                Some(Err(error)) => files.refused.push((part.role, error.to_string())),
                None => {}
            }
        }
        files.folder = copies;
        files
    }

    /// Takes the graph itself again in the place of its copy, or all of them; false if no copy was taken.
    ///
    /// - `role`: which; `None` if nobody knows.
    pub(crate) fn put_back(&mut self, role: Option<&'static str>, reason: &str) -> bool {
        let (gone, kept): (Vec<_>, Vec<_>) =
            (self.fused.iter()).partition(|fused| role.is_none_or(|role| role == **fused));
        self.fused = kept;
        for role in &gone {
            self.refused.push((role, reason.into()));
        }
        let mut plain = self.plain.clone();
        for (part, plain) in self.folder.parts_mut().into_iter().zip(plain.parts_mut()) {
            if gone.contains(&part.role) {
                *part = plain.clone();
            }
        }
        !gone.is_empty()
    }
}

impl Folder {
    /// Whether any graph has a copy for CUDA.
    pub(crate) fn has_fused(&self) -> bool {
        self.clone()
            .parts_mut()
            .iter()
            .any(|part| part.fused.is_some())
    }

    /// All graphs, always in the same order.
    fn parts_mut(&mut self) -> Vec<&mut Part> {
        let always = [
            &mut self.text_encoder,
            &mut self.unet,
            &mut self.vae_encoder,
            &mut self.vae_decoder,
        ];
        let sometimes = self.text_encoder_2.iter_mut();
        let parts = always.into_iter().chain(sometimes);
        parts.chain(&mut self.image_encoder).collect()
    }

    /// A graph's copy, looked through like every other graph; `None` if there is none.
    fn copy_of(&self, part: &Part) -> Option<Result<Part, EngineError>> {
        let copy = Part {
            path: part.fused.clone()?,
            fused: None,
            ..part.clone()
        };
        Some(
            self.root
                .prove(&copy)
                .and_then(|()| same_inputs(part, copy)),
        )
    }
}

impl Part {
    /// Whether it is a copy for CUDA.
    pub(crate) fn is_fused(&self) -> bool {
        self.path.ends_with(NAME)
    }

    /// Whether a file beside it can be one of its own: all but those of its copy, or of what it is the copy of.
    pub(crate) fn may_use(&self, file: &str) -> bool {
        file.starts_with(NAME) == self.is_fused() || !file.starts_with("model")
    }
}

fn same_inputs(part: &Part, copy: Part) -> Result<Part, EngineError> {
    let sorted = |part: &Part| -> Result<Vec<InputOutline>, EngineError> {
        let mut inputs = part.outline()?.inputs;
        inputs.sort();
        Ok(inputs)
    };
    if sorted(part)? == sorted(&copy)? {
        return Ok(copy);
    }
    let original = PathBuf::from(part.path.file_name().unwrap_or_default());
    Err(EngineError::ModelFileCorrupt {
        path: copy.path,
        reason: format!("it takes other inputs than {}", original.display()),
    })
}
