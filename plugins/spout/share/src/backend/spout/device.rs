//! Direct3D 11: devices, shared textures, and pixels in and out of them.
#![allow(unsafe_code, reason = "every call of Direct3D is by pointers")]

use windows::Win32::Foundation::{HANDLE, HMODULE};
use windows::Win32::Graphics::Direct3D::{
    D3D_DRIVER_TYPE, D3D_DRIVER_TYPE_HARDWARE, D3D_DRIVER_TYPE_UNKNOWN, D3D_DRIVER_TYPE_WARP,
    D3D_FEATURE_LEVEL_10_0, D3D_FEATURE_LEVEL_10_1, D3D_FEATURE_LEVEL_11_0, D3D_FEATURE_LEVEL_11_1,
};
use windows::Win32::Graphics::Direct3D11::{
    D3D11_BIND_RENDER_TARGET, D3D11_BIND_SHADER_RESOURCE, D3D11_CPU_ACCESS_READ,
    D3D11_CREATE_DEVICE_BGRA_SUPPORT, D3D11_MAP_READ, D3D11_MAPPED_SUBRESOURCE,
    D3D11_RESOURCE_MISC_SHARED, D3D11_RESOURCE_MISC_SHARED_KEYEDMUTEX, D3D11_SDK_VERSION,
    D3D11_TEXTURE2D_DESC, D3D11_USAGE_DEFAULT, D3D11_USAGE_STAGING, D3D11CreateDevice,
    ID3D11Device, ID3D11DeviceContext, ID3D11Texture2D,
};
use windows::Win32::Graphics::Dxgi::Common::{DXGI_FORMAT, DXGI_SAMPLE_DESC};
use windows::Win32::Graphics::Dxgi::{
    CreateDXGIFactory1, IDXGIAdapter, IDXGIFactory1, IDXGIKeyedMutex, IDXGIResource,
};
use windows::core::{Error, Interface, Result};

use super::kernel::PATIENCE;

/// A device and its context; used by one thread at a time.
#[derive(Debug, Clone)]
pub(super) struct Device {
    device: ID3D11Device,
    context: ID3D11DeviceContext,
}

fn missing() -> Error {
    Error::from_hresult(windows::Win32::Foundation::E_POINTER)
}

impl Device {
    /// The system's own choice, else the software renderer.
    pub(super) fn any() -> Result<Self> {
        Self::of(None, D3D_DRIVER_TYPE_HARDWARE).or_else(|_| Self::of(None, D3D_DRIVER_TYPE_WARP))
    }

    /// One on each adapter.
    pub(super) fn each() -> impl Iterator<Item = Self> {
        // SAFETY: makes a COM object, no pointer goes in.
        let factory = unsafe { CreateDXGIFactory1::<IDXGIFactory1>() }.ok();
        (0..16)
            .map_while(move |index| {
                // SAFETY: the factory is alive.
                unsafe { factory.as_ref()?.EnumAdapters1(index) }.ok()
            })
            .filter_map(|adapter| {
                Self::of(Some(&adapter.cast().ok()?), D3D_DRIVER_TYPE_UNKNOWN).ok()
            })
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
        })
    }

    fn texture(&self, desc: &D3D11_TEXTURE2D_DESC) -> Result<ID3D11Texture2D> {
        let mut texture = None;
        // SAFETY: the description and the result outlive the call.
        unsafe { self.device.CreateTexture2D(desc, None, Some(&mut texture)) }?;
        texture.ok_or_else(missing)
    }

    /// A texture that other programs can open, and the number they open it by.
    pub(super) fn shared(&self, width: u32, height: u32, format: u32) -> Result<(Texture, u32)> {
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
            MiscFlags: flags(D3D11_RESOURCE_MISC_SHARED.0),
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
        // SAFETY: both are of this device and of one size and format.
        unsafe { self.context.CopyResource(&to.texture, &from.texture) };
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
    texture: ID3D11Texture2D,
}

/// A turn at a texture that has a mutex of its own.
#[derive(Debug)]
pub(super) struct Keyed(IDXGIKeyedMutex);

impl Texture {
    fn desc(&self) -> D3D11_TEXTURE2D_DESC {
        let mut desc = D3D11_TEXTURE2D_DESC::default();
        // SAFETY: the texture is alive and the result outlives the call.
        unsafe { self.texture.GetDesc(&mut desc) };
        desc
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

    /// A turn by the texture's own mutex; `None` if there was none in time.
    pub(super) fn keyed_turn(&self) -> Option<Keyed> {
        let mutex = self.texture.cast::<IDXGIKeyedMutex>().ok()?;
        let patience = u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX);
        // SAFETY: the mutex is alive. An owner that died is no error we could mend: it is ours then.
        unsafe { mutex.AcquireSync(0, patience) }.ok()?;
        Some(Keyed(mutex))
    }
}

impl Drop for Keyed {
    fn drop(&mut self) {
        // SAFETY: acquired with the same key.
        let _ = unsafe { self.0.ReleaseSync(0) };
    }
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
