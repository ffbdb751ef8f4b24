//! Textures in buffers.
#![allow(
    unsafe_code,
    reason = "GStreamer's Direct3D 11 library has no safe interface"
)]

use std::fmt;
use std::mem::MaybeUninit;
use std::sync::{Arc, Mutex};

use gst::glib::translate::ToGlibPtr;
use gst::prelude::*;
use texture_share::{GpuDevice, GpuTexture, TexturePool};

use super::device::Device;
use super::library::{BIND, MAP_D3D11, functions};

/// Ready textures that nobody uses yet; more are made when they are needed.
const READY: u32 = 2;

/// A buffer whose texture is in use, until dropped: the library brings it up to date when that begins, and knows when
/// it ends that the bytes it may have elsewhere are old.
pub(crate) struct Mapped {
    buffer: gst::Buffer,
    map: gst::ffi::GstMapInfo,
}

// SAFETY: the map is used by its one owner only, and the memory it belongs to is held by the buffer.
unsafe impl Send for Mapped {}

impl fmt::Debug for Mapped {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.debug_tuple("Mapped").field(&self.buffer).finish()
    }
}

impl Mapped {
    /// `None` for a buffer of ordinary memory, or of more than one texture.
    fn new(buffer: gst::Buffer, flags: u32) -> Option<Self> {
        let functions = functions()?;
        if buffer.n_memory() != 1 {
            return None;
        }
        let mut map = MaybeUninit::uninit();
        // SAFETY: the memory belongs to the buffer, which is held as long as the map; a map that succeeds is filled.
        unsafe {
            let memory = gst::ffi::gst_buffer_peek_memory(buffer.as_mut_ptr(), 0);
            let is_texture = (functions.is_d3d11_memory)(memory) != gst::glib::ffi::GFALSE;
            let flags = flags | MAP_D3D11;
            (is_texture && gst::ffi::gst_memory_map(memory, map.as_mut_ptr(), flags) != 0).then(
                || Self {
                    buffer,
                    map: map.assume_init(),
                },
            )
        }
    }

    /// The texture, as the heart knows it.
    pub(crate) fn texture(&self) -> Option<GpuTexture> {
        let functions = functions()?;
        // SAFETY: the mapped memory is a Direct3D 11 one; the heart takes a reference of its own.
        unsafe {
            let memory = self.map.memory;
            let handle = (functions.d3d11_memory_get_resource_handle)(memory);
            let index = (functions.d3d11_memory_get_subresource_index)(memory);
            GpuTexture::from_raw(handle, index)
        }
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and unmapped nowhere else.
        unsafe { gst::ffi::gst_memory_unmap(self.map.memory, &mut self.map) };
    }
}

/// The texture of a buffer that came from upstream, to be read.
pub(crate) fn texture(buffer: &gst::Buffer) -> Option<Mapped> {
    Mapped::new(buffer.clone(), gst::ffi::GST_MAP_READ)
}

/// Textures for received pictures, in buffers for downstream.
#[derive(Debug)]
pub(crate) struct Pool {
    device: GpuDevice,
    buffers: gst::BufferPool,
    /// The buffer that is being drawn on.
    next: Mutex<Option<Mapped>>,
}

impl Pool {
    /// A pool on `device`; `None` where it cannot have such textures.
    pub(crate) fn new(
        device: &Device,
        info: &gst_video::VideoInfo,
        caps: &gst::Caps,
    ) -> Option<Arc<Self>> {
        let functions = functions()?;
        let buffers = device.pool()?;
        let mut config = buffers.config();
        config.set_params(Some(caps), u32::try_from(info.size()).ok()?, READY, 0);
        config.add_option(gst_video::BUFFER_POOL_OPTION_VIDEO_META.as_str());
        // SAFETY: device, description and configuration are alive; the library copies the parameters, which are ours.
        unsafe {
            let parameters = (functions.d3d11_allocation_params_new)(
                device.raw(),
                info.to_glib_none().0,
                0,
                BIND,
                0,
            );
            if parameters.is_null() {
                return None;
            }
            let raw = config.as_mut_ptr();
            (functions.buffer_pool_config_set_d3d11_allocation_params)(raw, parameters);
            (functions.d3d11_allocation_params_free)(parameters);
        }
        buffers.set_config(config).ok()?;
        buffers.set_active(true).ok()?;
        Some(Arc::new(Self {
            device: device.gpu()?,
            buffers,
            next: Mutex::default(),
        }))
    }

    /// The buffers themselves, for pictures that are drawn otherwise.
    pub(crate) fn buffers(&self) -> &gst::BufferPool {
        &self.buffers
    }

    /// The buffer that was drawn on.
    pub(crate) fn take(&self) -> Option<gst::Buffer> {
        let mapped = self.next.lock().unwrap().take()?;
        let buffer = mapped.buffer.clone();
        drop(mapped);
        Some(buffer)
    }
}

impl TexturePool for Pool {
    fn device(&self) -> GpuDevice {
        self.device.clone()
    }

    fn next(&self) -> Option<GpuTexture> {
        let mut next = self.next.lock().unwrap();
        if next.is_none() {
            let buffer = self.buffers.acquire_buffer(None).ok()?;
            *next = Mapped::new(buffer, gst::ffi::GST_MAP_WRITE);
        }
        next.as_ref()?.texture()
    }
}
