//! Direct3D 11: devices, shared textures, and pixels in and out of them.
#![allow(unsafe_code, reason = "every call of Direct3D is by pointers")]

use std::sync::Arc;

use windows::Win32::Foundation::{HANDLE, HMODULE};
use windows::Win32::Graphics::Direct3D::{
    D3D_DRIVER_TYPE, D3D_DRIVER_TYPE_HARDWARE, D3D_DRIVER_TYPE_UNKNOWN, D3D_DRIVER_TYPE_WARP,
    D3D_FEATURE_LEVEL_10_0, D3D_FEATURE_LEVEL_10_1, D3D_FEATURE_LEVEL_11_0, D3D_FEATURE_LEVEL_11_1,
};
use windows::Win32::Graphics::Direct3D11::{
    D3D11_BIND_RENDER_TARGET, D3D11_BIND_SHADER_RESOURCE, D3D11_BOX, D3D11_CPU_ACCESS_READ,
    D3D11_CREATE_DEVICE_BGRA_SUPPORT, D3D11_MAP_READ, D3D11_MAPPED_SUBRESOURCE,
    D3D11_RESOURCE_MISC_SHARED, D3D11_RESOURCE_MISC_SHARED_KEYEDMUTEX, D3D11_SDK_VERSION,
    D3D11_TEXTURE2D_DESC, D3D11_USAGE_DEFAULT, D3D11_USAGE_STAGING, D3D11CreateDevice,
    ID3D11Device, ID3D11DeviceContext, ID3D11Texture2D,
};
use windows::Win32::Graphics::Dxgi::Common::{DXGI_FORMAT, DXGI_SAMPLE_DESC};
use windows::Win32::Graphics::Dxgi::{
    CreateDXGIFactory1, IDXGIAdapter, IDXGIAdapter1, IDXGIFactory1, IDXGIResource,
};
use windows::core::{Error, IUnknown, Interface, Result};

use super::gpu::{DeviceLock, GpuTexture};
use crate::Adapter;

/// A device and its context; used by one thread at a time.
#[derive(Debug, Clone)]
pub(super) struct Device {
    pub(super) device: ID3D11Device,
    pub(super) context: ID3D11DeviceContext,
    /// Keeps others off the context, where it is not ours alone.
    pub(super) lock: Option<Arc<dyn DeviceLock>>,
}

/// A device in use by this thread.
struct Locked<'a>(&'a Device);

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        if let Some(lock) = &self.0.lock {
            lock.unlock();
        }
    }
}

pub(super) fn missing() -> Error {
    Error::from_hresult(windows::Win32::Foundation::E_POINTER)
}

/// The adapters of this machine, in the system's order.
pub(super) fn adapters() -> impl Iterator<Item = IDXGIAdapter1> {
    // SAFETY: makes a COM object, no pointer goes in.
    let factory = unsafe { CreateDXGIFactory1::<IDXGIFactory1>() }.ok();
    (0..crate::adapter::MOST).map_while(move |index| {
        // SAFETY: the factory is alive.
        unsafe { factory.as_ref()?.EnumAdapters1(index) }.ok()
    })
}

/// An adapter's own number, and its name.
pub(super) fn identity(adapter: &IDXGIAdapter1) -> Option<(i64, String)> {
    // SAFETY: the adapter is alive.
    let desc = unsafe { adapter.GetDesc1() }.ok()?;
    let luid = i64::from(desc.AdapterLuid.HighPart) << 32 | i64::from(desc.AdapterLuid.LowPart);
    let end = desc.Description.iter().position(|unit| *unit == 0);
    let name = &desc.Description[..end.unwrap_or(desc.Description.len())];
    Some((luid, String::from_utf16_lossy(name)))
}

impl Device {
    /// One on the adapter asked for; by the system's own choice, else the software renderer.
    pub(super) fn on(adapter: Adapter) -> Result<Self> {
        let found = match adapter {
            Adapter::Auto => {
                return Self::of(None, D3D_DRIVER_TYPE_HARDWARE)
                    .or_else(|_| Self::of(None, D3D_DRIVER_TYPE_WARP));
            }
            Adapter::Index(index) => adapters().nth(index as usize),
            Adapter::Luid(luid) => {
                adapters().find(|adapter| identity(adapter).is_some_and(|(own, _)| own == luid))
            }
        };
        Self::of_adapter(&found.ok_or_else(missing)?)
    }

    /// One on each adapter.
    pub(super) fn each() -> impl Iterator<Item = Self> {
        adapters().filter_map(|adapter| Self::of_adapter(&adapter).ok())
    }

    fn of_adapter(adapter: &IDXGIAdapter1) -> Result<Self> {
        Self::of(Some(&adapter.cast()?), D3D_DRIVER_TYPE_UNKNOWN)
    }

    fn of(adapter: Option<&IDXGIAdapter>, driver: D3D_DRIVER_TYPE) -> Result<Self> {
        let levels = [
            D3D_FEATURE_LEVEL_11_1,
            D3D_FEATURE_LEVEL_11_0,
            D3D_FEATURE_LEVEL_10_1,
            D3D_FEATURE_LEVEL_10_0,
        ];
        let (mut device, mut context) = (None, None);
        // SAFETY: all that is passed outlives the call; both results are owned.
        unsafe {
            D3D11CreateDevice(
                adapter,
                driver,
                HMODULE::default(),
                D3D11_CREATE_DEVICE_BGRA_SUPPORT,
                Some(&levels),
                D3D11_SDK_VERSION,
                Some(&mut device),
                None,
                Some(&mut context),
            )
        }?;
        Ok(Self {
            device: device.ok_or_else(missing)?,
            context: context.ok_or_else(missing)?,
            lock: None,
        })
    }

    fn locked(&self) -> Locked<'_> {
        if let Some(lock) = &self.lock {
            lock.lock();
        }
        Locked(self)
    }

    /// Whether a texture lies on this device.
    fn has(&self, texture: &ID3D11Texture2D) -> bool {
        // SAFETY: the texture is alive.
        let of = unsafe { texture.GetDevice() };
        let identity = |device: &ID3D11Device| device.cast::<IUnknown>().ok();
        of.is_ok_and(|of| identity(&of).is_some() && identity(&of) == identity(&self.device))
    }

    fn texture(&self, desc: &D3D11_TEXTURE2D_DESC) -> Result<ID3D11Texture2D> {
        let mut texture = None;
        // SAFETY: the description and the result outlive the call.
        unsafe { self.device.CreateTexture2D(desc, None, Some(&mut texture)) }?;
        texture.ok_or_else(missing)
    }

    /// A texture that other programs can open, and the number they open it by. `keyed` gives it a mutex of its own.
    pub(super) fn shared(
        &self,
        width: u32,
        height: u32,
        format: u32,
        keyed: bool,
    ) -> Result<(Texture, u32)> {
        let shared = match keyed {
            true => D3D11_RESOURCE_MISC_SHARED_KEYEDMUTEX,
            false => D3D11_RESOURCE_MISC_SHARED,
        };
        let texture = self.texture(&D3D11_TEXTURE2D_DESC {
            Width: width,
            Height: height,
            MipLevels: 1,
            ArraySize: 1,
            Format: dxgi(format),
            SampleDesc: DXGI_SAMPLE_DESC {
                Count: 1,
                Quality: 0,
            },
            Usage: D3D11_USAGE_DEFAULT,
            BindFlags: flags(D3D11_BIND_RENDER_TARGET.0 | D3D11_BIND_SHADER_RESOURCE.0),
            CPUAccessFlags: 0,
            MiscFlags: flags(shared.0),
        })?;
        // SAFETY: the resource is alive. The handle is a number that is not closed.
        let handle = unsafe { texture.cast::<IDXGIResource>()?.GetSharedHandle() }?;
        let number = (handle.0.addr() & 0xffff_ffff) as u32;
        Ok((Texture { texture }, number))
    }

    /// Opens a texture of another program; fails on another adapter than its own.
    pub(super) fn open(&self, handle: i64) -> Result<Texture> {
        let handle = HANDLE(std::ptr::without_provenance_mut(handle as usize));
        let mut texture = None;
        // SAFETY: a handle that means nothing is refused; the result outlives the call.
        unsafe { self.device.OpenSharedResource(handle, &mut texture) }?;
        Ok(Texture {
            texture: texture.ok_or_else(missing)?,
        })
    }

    /// Draws rows from memory.
    pub(super) fn write(&self, texture: &Texture, bytes: &[u8], stride: usize) -> Result<()> {
        let desc = texture.desc();
        let pitch = u32::try_from(stride).map_err(|_| missing())?;
        let rows = desc.Height as usize;
        if bytes.len()
            < stride * rows.saturating_sub(1) + desc.Width as usize * pixel_len(desc.Format)
        {
            return Err(missing());
        }
        let _locked = self.locked();
        // SAFETY: the texture is of this device; the rows it reads lie within `bytes`, as just checked.
        unsafe {
            self.context.UpdateSubresource(
                &texture.texture,
                0,
                None,
                bytes.as_ptr().cast(),
                pitch,
                0,
            )
        };
        self.flush();
        Ok(())
    }

    /// Memory that a texture like this can be copied to and read from.
    pub(super) fn staging(&self, like: &Texture) -> Result<Texture> {
        let desc = D3D11_TEXTURE2D_DESC {
            MipLevels: 1,
            ArraySize: 1,
            Usage: D3D11_USAGE_STAGING,
            BindFlags: 0,
            CPUAccessFlags: flags(D3D11_CPU_ACCESS_READ.0),
            MiscFlags: 0,
            ..like.desc()
        };
        Ok(Texture {
            texture: self.texture(&desc)?,
        })
    }

    pub(super) fn copy(&self, from: &Texture, to: &Texture) {
        let _locked = self.locked();
        // SAFETY: both are of this device and of one size and format.
        unsafe { self.context.CopyResource(&to.texture, &from.texture) };
        self.flush();
    }

    /// Whether pictures can be copied between a shared texture and one of the program's: both on this device, of
    /// pixels written alike, and the other one at least as large.
    pub(super) fn can_copy(&self, shared: &Texture, other: &GpuTexture) -> bool {
        let (desc, theirs) = (shared.desc(), desc_of(&other.texture));
        let size = theirs.Width >= desc.Width && theirs.Height >= desc.Height;
        let plain = theirs.SampleDesc.Count == 1;
        size && plain && alike(desc.Format, theirs.Format) && self.has(&other.texture)
    }

    /// Copies a picture of the program's into a shared texture.
    pub(super) fn give(&self, from: &GpuTexture, to: &Texture) {
        self.copy_part(from, (&to.texture, 0), &to.desc());
    }

    /// Copies the picture of a shared texture into one of the program's.
    pub(super) fn take(&self, from: &Texture, to: &GpuTexture) {
        let whole = GpuTexture {
            texture: from.texture.clone(),
            index: 0,
        };
        self.copy_part(&whole, (&to.texture, to.index), &from.desc());
    }

    /// Copies as much as `size` has. A pool's textures may be larger than their pictures.
    fn copy_part(
        &self,
        from: &GpuTexture,
        (to, index): (&ID3D11Texture2D, u32),
        size: &D3D11_TEXTURE2D_DESC,
    ) {
        let part = D3D11_BOX {
            left: 0,
            top: 0,
            front: 0,
            right: size.Width,
            bottom: size.Height,
            back: 1,
        };
        let _locked = self.locked();
        // SAFETY: both are of this device, of formats alike, and have this part, see `can_copy`; an index that a
        // texture does not have copies nothing.
        unsafe {
            self.context.CopySubresourceRegion(
                to,
                index,
                0,
                0,
                0,
                &from.texture,
                from.index,
                Some(&raw const part),
            );
        }
        self.flush();
    }

    fn flush(&self) {
        // SAFETY: the context is alive.
        unsafe { self.context.Flush() };
    }

    /// Hands each row of a staging texture to `row`, which gets its number and `len` bytes.
    pub(super) fn read(
        &self,
        staging: &Texture,
        len: usize,
        mut row: impl FnMut(usize, &[u8]),
    ) -> Result<()> {
        let rows = staging.desc().Height as usize;
        let mut mapped = D3D11_MAPPED_SUBRESOURCE::default();
        let _locked = self.locked();
        // SAFETY: the texture is a staging one of this device; the result outlives the call.
        unsafe {
            self.context
                .Map(&staging.texture, 0, D3D11_MAP_READ, 0, Some(&mut mapped))
        }?;
        let pitch = mapped.RowPitch as usize;
        for index in 0..rows {
            let start = mapped.pData.cast::<u8>().cast_const();
            // SAFETY: mapped until `Unmap`; a row has `RowPitch` bytes, of which `len.min(pitch)` are read.
            row(index, unsafe {
                std::slice::from_raw_parts(start.add(index * pitch), len.min(pitch))
            });
        }
        // SAFETY: mapped above.
        unsafe { self.context.Unmap(&staging.texture, 0) };
        Ok(())
    }
}

/// A texture of some device.
#[derive(Debug)]
pub(super) struct Texture {
    pub(super) texture: ID3D11Texture2D,
}

impl Texture {
    fn desc(&self) -> D3D11_TEXTURE2D_DESC {
        desc_of(&self.texture)
    }

    /// Width, height, and the number of the pixel format: the truth, whatever the sender's record says.
    pub(super) fn geometry(&self) -> (u32, u32, u32) {
        let desc = self.desc();
        (desc.Width, desc.Height, desc.Format.0.cast_unsigned())
    }

    /// Whether turns are taken by the texture's own mutex.
    pub(super) fn is_keyed(&self) -> bool {
        self.desc().MiscFlags & flags(D3D11_RESOURCE_MISC_SHARED_KEYEDMUTEX.0) != 0
    }
}

fn desc_of(texture: &ID3D11Texture2D) -> D3D11_TEXTURE2D_DESC {
    let mut desc = D3D11_TEXTURE2D_DESC::default();
    // SAFETY: the texture is alive and the result outlives the call.
    unsafe { texture.GetDesc(&mut desc) };
    desc
}

/// Whether the bytes of one format are those of the other. sRGB is a way to look at the same bytes.
fn alike(one: DXGI_FORMAT, other: DXGI_FORMAT) -> bool {
    let plain = |format: DXGI_FORMAT| match format.0 {
        29 => 28,
        91 => 87,
        code => code,
    };
    plain(one) == plain(other)
}

fn flags(flags: i32) -> u32 {
    flags.cast_unsigned()
}

fn dxgi(format: u32) -> DXGI_FORMAT {
    DXGI_FORMAT(format.cast_signed())
}

fn pixel_len(format: DXGI_FORMAT) -> usize {
    let known = crate::PixelFormat::from_dxgi(format.0.cast_unsigned());
    known.map_or(16, |format| format.bytes() as usize)
}
