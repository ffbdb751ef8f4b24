//! Diffusion of live frames on ONNX graphs: StreamDiffusion's algorithm, without GStreamer.
//!
//! ```text
//!  Folder ──► Model (graphs, tokenizer, schedule; shared)
//!                │
//!  Patch ──► Parameters ──► Engine (one stream of frames)
//!                              │
//!  frame ─► −1…1 ─► latent ─► rows in flight ─► clean latent ─► −1…1 ─► picture
//!          frame.rs  encoder   stream.rs, unet                 decoder  frame.rs
//! ```
//!
//! Open a [`Folder`], load ONNX Runtime with [`OrtBackend::load`], load the [`Model`], make an
//! [`Engine`] for a picture size; then for every frame [`Engine::process`], and when that says
//! [`Outcome::Picture`], [`Engine::write_picture`]. Parameters change by [`Engine::apply`].
//!
//! There is no clock and no environment here, except in `backend/ort`, which also holds the only
//! unsafe code: it talks to a library that is loaded at run time.

#![warn(missing_docs, clippy::missing_errors_doc, clippy::missing_panics_doc)]

mod backend;
mod colour;
mod engine;
mod error;
mod folder;
mod frame;
#[cfg(test)]
mod golden;
mod guidance;
mod lora;
mod model;
mod motion;
mod noise;
mod onnx;
mod parameters;
mod prompt;
mod reference;
mod schedule;
mod similarity;
mod stream;
mod tokenizer;
mod watch;
mod weights;

pub use backend::ort::OrtBackend;
pub use backend::{Device, Latents, Opening, Provider, Shapes};
pub use colour::Colours;
pub use engine::{Batching, Engine, Outcome, Pace, Prompts, Spent};
pub use error::EngineError;
pub use folder::{Folder, Survey};
pub use frame::{FrameView, FrameViewMut, Layout};
pub use lora::Lora;
pub use model::{Facts, Family, Model};
pub use parameters::{
    CfgType, InputMode, Interpolation, Parameters, Patch, SimilarImageFilter, Transition,
    WeightedPrompt, WeightedSeed,
};
pub use reference::Reference;
pub use watch::{Interrupt, LoadInterrupt};
