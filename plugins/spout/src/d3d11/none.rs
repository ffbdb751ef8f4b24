//! Pictures in a graphics card's memory, where this system shares none: the same words as on Windows, and no such thing.

use std::sync::Arc;

use texture_share::{Adapter, GpuDevice, GpuTexture, TexturePool};

/// A device; there is none.
#[derive(Debug, Clone)]
pub(crate) enum Device {}

impl Device {
    pub(crate) fn gpu(&self) -> Option<GpuDevice> {
        match *self {}
    }

    pub(crate) fn proposal(&self, _caps: &gst::Caps) -> Option<(gst::BufferPool, u32)> {
        match *self {}
    }
}

/// An element's hold on no device.
#[derive(Debug, Default)]
pub(crate) struct Shared;

impl Shared {
    pub(crate) fn ensure(&self, _element: &gst::Element, _adapter: Adapter) -> Option<Device> {
        None
    }

    pub(crate) fn take_context(
        &self,
        _element: &gst::Element,
        _context: &gst::Context,
        _adapter: Adapter,
    ) {
    }

    pub(crate) fn answer(&self, _element: &gst::Element, _query: &mut gst::QueryRef) -> bool {
        false
    }

    pub(crate) fn forget(&self) {}
}

/// A pool; there is none.
#[derive(Debug)]
pub(crate) enum Pool {}

impl Pool {
    pub(crate) fn new(
        _device: &Device,
        _info: &gst_video::VideoInfo,
        _caps: &gst::Caps,
    ) -> Option<Arc<Self>> {
        None
    }

    pub(crate) fn buffers(&self) -> &gst::BufferPool {
        match *self {}
    }

    pub(crate) fn take(&self) -> Option<gst::Buffer> {
        match *self {}
    }
}

impl TexturePool for Pool {
    fn device(&self) -> GpuDevice {
        match *self {}
    }

    fn next(&self) -> Option<GpuTexture> {
        match *self {}
    }
}

/// A buffer's texture; there is none.
#[derive(Debug)]
pub(crate) enum Mapped {}

impl Mapped {
    pub(crate) fn texture(&self) -> Option<GpuTexture> {
        match *self {}
    }
}

pub(crate) fn texture(_buffer: &gst::Buffer) -> Option<Mapped> {
    None
}

pub(crate) fn is_available() -> bool {
    false
}
