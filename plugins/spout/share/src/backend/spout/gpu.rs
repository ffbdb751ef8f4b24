//! Devices and textures of the program's own, so that its pictures are shared and received without leaving the
//! graphics card.
#![allow(unsafe_code, reason = "Direct3D's objects are handed over by pointers")]

use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;

use windows::Win32::Graphics::Direct3D11::{ID3D11Device, ID3D11Resource, ID3D11Texture2D};
use windows::core::Interface;

use super::device::Device;

/// Keeps other threads off a device's context: Direct3D 11 lets one thread use it at a time.
pub trait DeviceLock: Send + Sync + fmt::Debug {
    /// Waits until nobody else uses it. Nested in the turn at a shared texture, never around it.
    fn lock(&self);

    /// Lets others use it; called by the thread that locked it.
    fn unlock(&self);
}

/// A device of the program's own.
#[derive(Debug, Clone)]
pub struct GpuDevice(pub(super) Device);

impl GpuDevice {
    /// Takes a reference to a device; `None` if there is none.
    ///
    /// # Safety
    ///
    /// `device` is null or an `ID3D11Device` that is alive, and `lock` keeps every other user off its context.
    pub unsafe fn from_raw(device: *mut c_void, lock: Arc<dyn DeviceLock>) -> Option<Self> {
        // SAFETY: as the caller says.
        let device = unsafe { ID3D11Device::from_raw_borrowed(&device) }?.clone();
        // SAFETY: the device is alive.
        let context = unsafe { device.GetImmediateContext() }.ok()?;
        Some(Self(Device {
            device,
            context,
            lock: Some(lock),
        }))
    }
}

/// A picture in a texture of the program's own.
#[derive(Debug, Clone)]
pub struct GpuTexture {
    pub(super) texture: ID3D11Texture2D,
    /// Which of the texture's pictures.
    pub(super) index: u32,
}

impl GpuTexture {
    /// Takes a reference to a texture, of which picture `index` is meant; `None` if it is no flat one, or none at all.
    ///
    /// # Safety
    ///
    /// `resource` is null or an `ID3D11Resource` that is alive.
    pub unsafe fn from_raw(resource: *mut c_void, index: u32) -> Option<Self> {
        // SAFETY: as the caller says.
        let resource = unsafe { ID3D11Resource::from_raw_borrowed(&resource) }?;
        let texture = resource.cast::<ID3D11Texture2D>().ok()?;
        Some(Self { texture, index })
    }
}
