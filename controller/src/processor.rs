//! What a loaded pipeline means to a session: which element fills the processor slot, with which properties.
//!
//! Made by [`crate::library`] when a pipeline is loaded, carried out by [`crate::media`]. The controller knows
//! processors by factory name and property only, so a new one needs no code here.

/// One processor of a session's chain, ready to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Processor {
    /// Key of the loaded instance, Scope's `node_id`.
    pub node_id: String,
    /// Scope's `pipeline_id`: `scope-tiny`, `passthrough`, or a model folder's name.
    pub pipeline_id: String,
    /// Element factory, for example `scopediffusion`; `None` passes frames through untouched.
    pub factory: Option<&'static str>,
    /// Properties to set before the element starts, as GStreamer would parse them from text.
    pub properties: Vec<(&'static str, String)>,
    /// Frame size the processor works at, pixels; `None` follows the input.
    pub size: Option<(u32, u32)>,
}
