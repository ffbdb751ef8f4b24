//! The device that an element shares with the others of its pipeline.
#![allow(
    unsafe_code,
    reason = "GStreamer's Direct3D 11 library has no safe interface"
)]

use std::ffi::c_int;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex};

use gst::glib::translate::{FromGlibPtrFull, ToGlibPtr};
use gst::prelude::*;
use texture_share::{Adapter, DeviceLock, GpuDevice};

use super::library::{RawDevice, functions};

/// What the library takes for any adapter.
const ANY: c_int = -1;

/// A `GstD3D11Device`.
#[derive(Debug, Clone)]
pub(crate) struct Device(pub(super) gst::Object);

impl Device {
    pub(super) fn raw(&self) -> RawDevice {
        self.0.as_ptr()
    }

    /// The device as the heart knows it.
    pub(crate) fn gpu(&self) -> Option<GpuDevice> {
        let functions = functions()?;
        // SAFETY: a living device; its handle lives as long as it does, and the heart takes a reference of its own.
        // All who use the context lock the device.
        unsafe {
            let handle = (functions.d3d11_device_get_device_handle)(self.raw());
            GpuDevice::from_raw(handle, Arc::new(Lock(self.clone())))
        }
    }

    /// A pool of textures to offer upstream, and the size of its buffers.
    pub(crate) fn proposal(&self, caps: &gst::Caps) -> Option<(gst::BufferPool, u32)> {
        let pool = self.pool()?;
        let info = gst_video::VideoInfo::from_caps(caps).ok()?;
        let mut config = pool.config();
        config.set_params(Some(caps), u32::try_from(info.size()).ok()?, 0, 0);
        config.add_option(gst_video::BUFFER_POOL_OPTION_VIDEO_META.as_str());
        pool.set_config(config).ok()?;
        // The pool knows by now how a texture's rows are padded.
        let (_, size, ..) = pool.config().params()?;
        Some((pool, size))
    }

    /// A pool of this device's textures, to be configured.
    pub(super) fn pool(&self) -> Option<gst::BufferPool> {
        let functions = functions()?;
        // SAFETY: a living device; the new pool is ours.
        let pool = unsafe { (functions.d3d11_buffer_pool_new)(self.raw()) };
        // SAFETY: as above; it is no floating reference since it is made by `gst_object_ref_sink`.
        (!pool.is_null()).then(|| unsafe { gst::BufferPool::from_glib_full(pool) })
    }
}

/// Keeps others off the device's context, by the library's own lock.
#[derive(Debug)]
struct Lock(Device);

impl DeviceLock for Lock {
    fn lock(&self) {
        if let Some(functions) = functions() {
            // SAFETY: a living device.
            unsafe { (functions.d3d11_device_lock)(self.0.raw()) };
        }
    }

    fn unlock(&self) {
        if let Some(functions) = functions() {
            // SAFETY: a living device, locked by this thread.
            unsafe { (functions.d3d11_device_unlock)(self.0.raw()) };
        }
    }
}

/// An element's hold on the device. The library writes it, both while it looks for a device and when it is given one
/// meanwhile; so it is a plain pointer, with a reference in it.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    device: AtomicPtr<gst::ffi::GstObject>,
    /// Held by who reads it and by who may replace it.
    order: Mutex<()>,
}

impl Shared {
    fn present(&self) -> Option<Device> {
        let _held = self.order.lock().unwrap();
        let device = self.device.load(Ordering::Acquire);
        // SAFETY: it is replaced only by who holds `order`, so the reference in it is alive while another is taken.
        (!device.is_null()).then(|| Device(unsafe { gst::glib::translate::from_glib_none(device) }))
    }

    /// The pipeline's device on this adapter, or a new one that is then the pipeline's.
    pub(crate) fn ensure(&self, element: &gst::Element, adapter: Adapter) -> Option<Device> {
        let functions = functions()?;
        let element: *mut gst::ffi::GstElement = element.to_glib_none().0;
        let slot = self.device.as_ptr();
        // SAFETY: the element is alive, and so is the slot. The library writes it only while it is empty, and
        // `take_context` may be called within. Without `order`, because that one takes it.
        unsafe {
            match adapter {
                Adapter::Luid(luid) => {
                    (functions.d3d11_ensure_element_data_for_adapter_luid)(element, luid, slot)
                }
                other => (functions.d3d11_ensure_element_data)(element, index(other), slot),
            }
        };
        self.present()
    }

    /// The pipeline offers its device.
    pub(crate) fn take_context(
        &self,
        element: &gst::Element,
        context: &gst::Context,
        adapter: Adapter,
    ) {
        let Some(functions) = functions() else {
            return;
        };
        let element: *mut gst::ffi::GstElement = element.to_glib_none().0;
        let context: *mut gst::ffi::GstContext = context.to_glib_none().0;
        let _held = self.order.lock().unwrap();
        let slot = self.device.as_ptr();
        // SAFETY: element, context and slot are alive; who reads the slot waits for `order`.
        unsafe {
            match adapter {
                Adapter::Luid(luid) => (functions.d3d11_handle_set_context_for_adapter_luid)(
                    element, context, luid, slot,
                ),
                other => (functions.d3d11_handle_set_context)(element, context, index(other), slot),
            }
        };
    }

    /// Answers a neighbour that asks for the device; false if that is not what it asks.
    pub(crate) fn answer(&self, element: &gst::Element, query: &mut gst::QueryRef) -> bool {
        let (Some(functions), Some(device)) = (functions(), self.present()) else {
            return false;
        };
        // SAFETY: all three are alive, and the query is ours to write.
        let answered = unsafe {
            (functions.d3d11_handle_context_query)(
                element.to_glib_none().0,
                query.as_mut_ptr(),
                device.raw(),
            )
        };
        answered != gst::glib::ffi::GFALSE
    }

    /// Lets go of the device.
    pub(crate) fn forget(&self) {
        let _held = self.order.lock().unwrap();
        let device = self.device.swap(null_mut(), Ordering::AcqRel);
        if !device.is_null() {
            // SAFETY: the reference that was in the slot, which is empty now.
            drop(unsafe { gst::Object::from_glib_full(device) });
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.forget();
    }
}

fn index(adapter: Adapter) -> c_int {
    match adapter {
        Adapter::Index(index) => c_int::try_from(index).unwrap_or(ANY),
        Adapter::Auto | Adapter::Luid(_) => ANY,
    }
}
