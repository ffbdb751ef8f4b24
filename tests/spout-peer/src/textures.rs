//! Direct3D 11 as far as Spout needs it.

use windows::Win32::Foundation::{HANDLE, HMODULE, S_OK};
use windows::Win32::Graphics::Direct3D::D3D_DRIVER_TYPE_HARDWARE;
use windows::Win32::Graphics::Direct3D11::{
    D3D11_CPU_ACCESS_READ, D3D11_CREATE_DEVICE_BGRA_SUPPORT, D3D11_MAP_READ,
    D3D11_MAPPED_SUBRESOURCE, D3D11_SDK_VERSION, D3D11_TEXTURE2D_DESC, D3D11_USAGE_STAGING,
    D3D11CreateDevice, ID3D11Device, ID3D11DeviceContext, ID3D11Texture2D,
};
use windows::Win32::Graphics::Dxgi::Common::{DXGI_FORMAT, DXGI_SAMPLE_DESC};
use windows::Win32::Graphics::Dxgi::{IDXGIKeyedMutex, IDXGIResource};
use windows::core::Interface;

/// Flags of a texture that is shared, and of one that has a mutex of its own.
const SHARED: u32 = 0x2;
const KEYED: u32 = 0x100;

pub(crate) struct Device {
    device: ID3D11Device,
    context: ID3D11DeviceContext,
}

pub(crate) struct Texture {
    texture: ID3D11Texture2D,
    pub(crate) desc: D3D11_TEXTURE2D_DESC,
}

impl Device {
    pub(crate) fn new() -> Self {
        let (mut device, mut context) = (None, None);
        unsafe {
            D3D11CreateDevice(
                None,
                D3D_DRIVER_TYPE_HARDWARE,
                HMODULE::default(),
                D3D11_CREATE_DEVICE_BGRA_SUPPORT,
                None,
                D3D11_SDK_VERSION,
                Some(&mut device),
                None,
                Some(&mut context),
            )
        }
        .unwrap();
        Self {
            device: device.unwrap(),
            context: context.unwrap(),
        }
    }

    fn make(&self, desc: &D3D11_TEXTURE2D_DESC) -> ID3D11Texture2D {
        let mut texture = None;
        unsafe { self.device.CreateTexture2D(desc, None, Some(&mut texture)) }.unwrap();
        texture.unwrap()
    }

    /// A shared texture and the number it is opened by.
    pub(crate) fn share(&self, width: u32, height: u32, code: i32, keyed: bool) -> (Texture, u32) {
        let desc = D3D11_TEXTURE2D_DESC {
            Width: width,
            Height: height,
            MipLevels: 1,
            ArraySize: 1,
            Format: DXGI_FORMAT(code),
            SampleDesc: DXGI_SAMPLE_DESC {
                Count: 1,
                Quality: 0,
            },
            // To be a render target and to be looked at.
            BindFlags: 0x20 | 0x8,
            MiscFlags: if keyed { KEYED } else { SHARED },
            ..Default::default()
        };
        let texture = self.make(&desc);
        let resource = texture.cast::<IDXGIResource>().unwrap();
        let handle = unsafe { resource.GetSharedHandle() }.unwrap();
        (Texture { texture, desc }, handle.0.addr() as u32)
    }

    pub(crate) fn open(&self, number: u32) -> Option<Texture> {
        let wide = i64::from(number.cast_signed()) as usize;
        let mut texture: Option<ID3D11Texture2D> = None;
        let handle = HANDLE(std::ptr::without_provenance_mut(wide));
        unsafe { self.device.OpenSharedResource(handle, &mut texture) }.ok()?;
        let texture = texture?;
        let mut desc = D3D11_TEXTURE2D_DESC::default();
        unsafe { texture.GetDesc(&mut desc) };
        Some(Texture { texture, desc })
    }

    pub(crate) fn write(&self, texture: &Texture, bytes: &[u8]) {
        let row = texture.desc.Width * texture.pixel();
        assert_eq!(bytes.len(), (row * texture.desc.Height) as usize);
        let bytes = bytes.as_ptr().cast();
        unsafe {
            self.context
                .UpdateSubresource(&texture.texture, 0, None, bytes, row, 0);
            self.context.Flush();
        }
    }

    /// The picture, row by row without padding; `turn` is taken for as long as the copy takes.
    pub(crate) fn read(
        &self,
        texture: &Texture,
        turn: impl FnOnce(&dyn Fn()) -> bool,
    ) -> Option<Vec<u8>> {
        let staging = self.make(&D3D11_TEXTURE2D_DESC {
            Usage: D3D11_USAGE_STAGING,
            BindFlags: 0,
            MiscFlags: 0,
            CPUAccessFlags: D3D11_CPU_ACCESS_READ.0.cast_unsigned(),
            ..texture.desc
        });
        let copied = turn(&|| unsafe {
            self.context.CopyResource(&staging, &texture.texture);
            self.context.Flush();
        });
        if !copied {
            return None;
        }
        let mut mapped = D3D11_MAPPED_SUBRESOURCE::default();
        let (rows, row) = (texture.desc.Height, texture.desc.Width * texture.pixel());
        unsafe {
            self.context
                .Map(&staging, 0, D3D11_MAP_READ, 0, Some(&mut mapped))
        }
        .unwrap();
        let bytes = (0..rows).flat_map(|index| {
            let from = mapped.pData.cast::<u8>().cast_const();
            let at = (index * mapped.RowPitch) as usize;
            unsafe { std::slice::from_raw_parts(from.add(at), row as usize) }.to_vec()
        });
        let bytes = bytes.collect();
        unsafe { self.context.Unmap(&staging, 0) };
        Some(bytes)
    }
}

impl Texture {
    fn pixel(&self) -> u32 {
        match self.desc.Format.0 {
            2 => 16,
            10 | 11 | 13 => 8,
            _ => 4,
        }
    }

    /// The mutex in the texture, if it has one.
    pub(crate) fn keyed(&self) -> Option<IDXGIKeyedMutex> {
        let keyed = self.desc.MiscFlags & KEYED != 0;
        keyed.then(|| self.texture.cast().unwrap())
    }
}

/// Runs `work` in a turn by the texture's own mutex; false if there was none within 67 ms.
pub(crate) fn keyed_turn(mutex: &IDXGIKeyedMutex, work: impl FnOnce()) -> bool {
    let taken = take(mutex);
    if taken {
        work();
        unsafe { mutex.ReleaseSync(0) }.unwrap();
    }
    taken
}

/// Takes the texture's own mutex. A wait in vain is a success to Windows, of another number.
pub(crate) fn take(mutex: &IDXGIKeyedMutex) -> bool {
    unsafe { (Interface::vtable(mutex).AcquireSync)(mutex.as_raw(), 0, 67) == S_OK }
}
