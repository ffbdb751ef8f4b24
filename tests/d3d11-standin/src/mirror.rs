//! The pixels of shared textures, in named mappings.

use std::collections::HashMap;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use windows::Win32::Foundation::{CloseHandle, HANDLE, INVALID_HANDLE_VALUE};
use windows::Win32::Graphics::Direct3D11::{D3D11_TEXTURE2D_DESC, ID3D11Texture2D};
use windows::Win32::System::Memory::{
    CreateFileMappingA, FILE_MAP_ALL_ACCESS, MEMORY_MAPPED_VIEW_ADDRESS, MapViewOfFile,
    OpenFileMappingA, PAGE_READWRITE, UnmapViewOfFile,
};
use windows::core::{GUID, IUnknown, IUnknown_Vtbl, Interface, Owned, PCSTR, implement, interface};

/// Bytes before the pixels.
const HEADER: usize = 64;

/// What lies before the pixels.
#[repr(C)]
pub(crate) struct Header {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) format: u32,
    pub(crate) pixel: u32,
    pub(crate) misc: u32,
    pub(crate) bind: u32,
    /// Counts up with every change.
    pub(crate) changes: AtomicU32,
    /// Whether an owner of its mutex died.
    pub(crate) spoilt: AtomicU32,
    /// Who may take the mutex next.
    pub(crate) key: AtomicU64,
}

/// One process's hold on the pixels of a shared texture.
pub(crate) struct Mirror {
    pub(crate) token: u32,
    mapping: HANDLE,
    view: MEMORY_MAPPED_VIEW_ADDRESS,
    /// The change that this process's texture shows.
    pub(crate) shown: AtomicU32,
    pub(crate) staging: Mutex<Option<ID3D11Texture2D>>,
    /// The mutex of a keyed texture: it lives as long as the texture does.
    pub(crate) mutex: OnceLock<Owned<HANDLE>>,
}

unsafe impl Send for Mirror {}
unsafe impl Sync for Mirror {}

impl Mirror {
    pub(crate) fn header(&self) -> &Header {
        unsafe { &*self.view.Value.cast::<Header>() }
    }

    pub(crate) fn pixels(&self) -> *mut u8 {
        unsafe { self.view.Value.cast::<u8>().add(HEADER) }
    }

    pub(crate) fn row(&self) -> usize {
        (self.header().width * self.header().pixel) as usize
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        unsafe {
            let _ = UnmapViewOfFile(self.view);
            let _ = CloseHandle(self.mapping);
        }
    }
}

static MIRRORS: LazyLock<Mutex<HashMap<usize, Arc<Mirror>>>> = LazyLock::new(Mutex::default);

/// The mirror of a texture, if it is shared.
pub(crate) fn of(texture: *mut c_void) -> Option<Arc<Mirror>> {
    MIRRORS.lock().unwrap().get(&texture.addr()).cloned()
}

/// Lies in the texture as private data: its end is the texture's end.
#[interface("5f3b2a10-0a52-4f3e-9d0c-222233334444")]
unsafe trait IGuard: IUnknown {}

#[implement(IGuard)]
struct Guard(usize);

impl IGuard_Impl for Guard_Impl {}

impl Drop for Guard {
    fn drop(&mut self) {
        let mirror = MIRRORS.lock().unwrap().remove(&self.0);
        drop(mirror);
    }
}

const GUARD: GUID = GUID::from_u128(0x8f3b2a10_0a52_4f3e_9d0c_111122223333);

fn name(token: u32) -> Vec<u8> {
    format!("SharedTextureStandIn_{token:08x}\0").into_bytes()
}

fn pixel_len(format: u32) -> u32 {
    match format {
        2 => 16,
        10 | 11 | 13 => 8,
        _ => 4,
    }
}

/// The mapping behind a number, if a texture of that number lives.
pub(crate) fn find(token: u32) -> Option<D3D11_TEXTURE2D_DESC> {
    use windows::Win32::Graphics::Direct3D11::D3D11_USAGE_DEFAULT;
    use windows::Win32::Graphics::Dxgi::Common::{DXGI_FORMAT, DXGI_SAMPLE_DESC};

    let mirror = view(token, None)?;
    let header = mirror.header();
    Some(D3D11_TEXTURE2D_DESC {
        Width: header.width,
        Height: header.height,
        MipLevels: 1,
        ArraySize: 1,
        Format: DXGI_FORMAT(header.format.cast_signed()),
        SampleDesc: DXGI_SAMPLE_DESC {
            Count: 1,
            Quality: 0,
        },
        Usage: D3D11_USAGE_DEFAULT,
        BindFlags: header.bind,
        CPUAccessFlags: 0,
        MiscFlags: header.misc,
    })
}

fn view(token: u32, len: Option<usize>) -> Option<Mirror> {
    let name = name(token);
    let name = PCSTR(name.as_ptr());
    let mapping = match len {
        Some(len) => unsafe {
            let len = u32::try_from(HEADER + len).ok()?;
            CreateFileMappingA(INVALID_HANDLE_VALUE, None, PAGE_READWRITE, 0, len, name)
        },
        None => unsafe { OpenFileMappingA(FILE_MAP_ALL_ACCESS.0, false, name) },
    };
    let mapping = mapping.ok()?;
    let view = unsafe { MapViewOfFile(mapping, FILE_MAP_ALL_ACCESS, 0, 0, 0) };
    (!view.Value.is_null()).then(|| Mirror {
        token,
        mapping,
        view,
        shown: AtomicU32::new(0),
        staging: Mutex::default(),
        mutex: OnceLock::new(),
    })
}

/// Gives a texture a mirror: a new one where `desc` says what it is like, else the one that is there.
pub(crate) fn attach(
    texture: *mut c_void,
    token: u32,
    desc: Option<&D3D11_TEXTURE2D_DESC>,
) -> Option<()> {
    let len = desc.map(|desc| {
        let pixel = pixel_len(desc.Format.0.cast_unsigned());
        (desc.Width * desc.Height * pixel) as usize
    });
    let mirror = view(token, len)?;
    if let Some(desc) = desc {
        let format = desc.Format.0.cast_unsigned();
        let header = mirror.view.Value.cast::<Header>();
        unsafe {
            header.write(Header {
                width: desc.Width,
                height: desc.Height,
                format,
                pixel: pixel_len(format),
                misc: desc.MiscFlags,
                bind: desc.BindFlags,
                changes: AtomicU32::new(1),
                spoilt: AtomicU32::new(0),
                key: AtomicU64::new(0),
            });
        }
    }
    MIRRORS
        .lock()
        .unwrap()
        .insert(texture.addr(), Arc::new(mirror));
    let guard: IGuard = Guard(texture.addr()).into();
    let guard: IUnknown = guard.cast().ok()?;
    let texture = unsafe { ID3D11Texture2D::from_raw_borrowed(&texture) }?;
    unsafe { texture.SetPrivateDataInterface(&GUARD, &guard) }.ok()
}

/// A number that no other texture of this or another process has; it looks like one of Windows'.
pub(crate) fn new_token() -> u32 {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    let process = std::process::id() & 0xfff;
    0x4000_0002 | process << 14 | (COUNT.fetch_add(1, Ordering::Relaxed) & 0x7ff) << 3
}
