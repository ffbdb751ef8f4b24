//! The patched methods.

use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};

use windows::Win32::Foundation::{E_INVALIDARG, HANDLE, S_OK};
use windows::Win32::Graphics::Direct3D11::{
    D3D11_BOX, D3D11_CPU_ACCESS_READ, D3D11_MAP_READ, D3D11_MAPPED_SUBRESOURCE,
    D3D11_RESOURCE_MISC_SHARED, D3D11_RESOURCE_MISC_SHARED_KEYEDMUTEX, D3D11_TEXTURE2D_DESC,
    D3D11_USAGE_STAGING, ID3D11Device, ID3D11Device_Vtbl, ID3D11DeviceContext,
    ID3D11DeviceContext_Vtbl, ID3D11Texture2D,
};
use windows::Win32::Graphics::Dxgi::{IDXGIKeyedMutex, IDXGIResource, IDXGIResource_Vtbl};
use windows::Win32::System::Memory::{PAGE_PROTECTION_FLAGS, PAGE_READWRITE, VirtualProtect};
use windows::core::{GUID, HRESULT, IUnknown, IUnknown_Vtbl, Interface};

use crate::{keyed, mirror};

type CreateTexture = unsafe extern "system" fn(
    *mut c_void,
    *const D3D11_TEXTURE2D_DESC,
    *const c_void,
    *mut *mut c_void,
) -> HRESULT;
type Query = unsafe extern "system" fn(*mut c_void, *const GUID, *mut *mut c_void) -> HRESULT;
type Copy = unsafe extern "system" fn(*mut c_void, *mut c_void, *mut c_void);
type CopyRegion = unsafe extern "system" fn(
    *mut c_void,
    *mut c_void,
    u32,
    u32,
    u32,
    u32,
    *mut c_void,
    u32,
    *const D3D11_BOX,
);
type Update = unsafe extern "system" fn(
    *mut c_void,
    *mut c_void,
    u32,
    *const D3D11_BOX,
    *const c_void,
    u32,
    u32,
);

/// The methods as they were.
static CREATE_TEXTURE: AtomicUsize = AtomicUsize::new(0);
static OPEN_SHARED: AtomicUsize = AtomicUsize::new(0);
static COPY: AtomicUsize = AtomicUsize::new(0);
static COPY_REGION: AtomicUsize = AtomicUsize::new(0);
static UPDATE: AtomicUsize = AtomicUsize::new(0);
static SHARED_HANDLE: AtomicUsize = AtomicUsize::new(0);
static QUERY: AtomicUsize = AtomicUsize::new(0);

macro_rules! before {
    ($slot:ident as $kind:ty) => {
        unsafe { std::mem::transmute::<usize, $kind>($slot.load(Ordering::SeqCst)) }
    };
}

/// Patches the tables that `device`'s objects share with all of their kind.
pub(crate) fn patch_all(device: *mut c_void) -> Option<()> {
    let device = unsafe { ID3D11Device::from_raw_borrowed(&device) }?;
    let context = unsafe { device.GetImmediateContext() }.ok()?;
    unsafe {
        let table = *device.as_raw().cast::<*mut ID3D11Device_Vtbl>();
        patch(
            &raw mut (*table).CreateTexture2D,
            create_texture as *const () as usize,
            &CREATE_TEXTURE,
        );
        patch(
            &raw mut (*table).OpenSharedResource,
            open_shared as *const () as usize,
            &OPEN_SHARED,
        );
        let table = *context.as_raw().cast::<*mut ID3D11DeviceContext_Vtbl>();
        patch(
            &raw mut (*table).CopyResource,
            copy as *const () as usize,
            &COPY,
        );
        patch(
            &raw mut (*table).CopySubresourceRegion,
            copy_region as *const () as usize,
            &COPY_REGION,
        );
        patch(
            &raw mut (*table).UpdateSubresource,
            update as *const () as usize,
            &UPDATE,
        );
    }
    // A texture, to see the table of its other side.
    let desc = D3D11_TEXTURE2D_DESC {
        Width: 4,
        Height: 4,
        MipLevels: 1,
        ArraySize: 1,
        Format: windows::Win32::Graphics::Dxgi::Common::DXGI_FORMAT_B8G8R8A8_UNORM,
        SampleDesc: windows::Win32::Graphics::Dxgi::Common::DXGI_SAMPLE_DESC {
            Count: 1,
            Quality: 0,
        },
        BindFlags: 8,
        ..Default::default()
    };
    let mut texture: Option<ID3D11Texture2D> = None;
    unsafe { device.CreateTexture2D(&desc, None, Some(&mut texture)) }.ok()?;
    let texture = texture?;
    let resource = texture.cast::<IDXGIResource>().ok()?;
    unsafe {
        let table = *texture.as_raw().cast::<*mut IUnknown_Vtbl>();
        patch(
            &raw mut (*table).QueryInterface,
            query as *const () as usize,
            &QUERY,
        );
        let table = *resource.as_raw().cast::<*mut IDXGIResource_Vtbl>();
        patch(
            &raw mut (*table).GetSharedHandle,
            shared_handle as *const () as usize,
            &SHARED_HANDLE,
        );
    }
    Some(())
}

unsafe fn patch<T>(slot: *mut T, new: usize, before: &AtomicUsize) {
    let slot = slot.cast::<usize>();
    unsafe {
        if *slot == new {
            return;
        }
        before.store(*slot, Ordering::SeqCst);
        let mut protection = PAGE_PROTECTION_FLAGS(0);
        if VirtualProtect(slot.cast(), 8, PAGE_READWRITE, &mut protection).is_ok() {
            *slot = new;
            let _ = VirtualProtect(slot.cast(), 8, protection, &mut PAGE_PROTECTION_FLAGS(0));
        }
    }
}

unsafe extern "system" fn create_texture(
    device: *mut c_void,
    desc: *const D3D11_TEXTURE2D_DESC,
    data: *const c_void,
    out: *mut *mut c_void,
) -> HRESULT {
    let create = before!(CREATE_TEXTURE as CreateTexture);
    let outcome = unsafe { create(device, desc, data, out) };
    let desc = unsafe { &*desc };
    let shared = D3D11_RESOURCE_MISC_SHARED.0 | D3D11_RESOURCE_MISC_SHARED_KEYEDMUTEX.0;
    let shared = desc.MiscFlags & shared.cast_unsigned() != 0;
    if outcome.is_ok() && shared && !out.is_null() {
        mirror::attach(unsafe { *out }, mirror::new_token(), Some(desc));
    }
    outcome
}

unsafe extern "system" fn open_shared(
    device: *mut c_void,
    handle: HANDLE,
    wanted: *const GUID,
    out: *mut *mut c_void,
) -> HRESULT {
    let token = (handle.0.addr() & 0xffff_ffff) as u32;
    let Some(desc) = mirror::find(token) else {
        return E_INVALIDARG;
    };
    let create = before!(CREATE_TEXTURE as CreateTexture);
    let mut texture = std::ptr::null_mut();
    let outcome = unsafe { create(device, &desc, std::ptr::null(), &mut texture) };
    if outcome.is_err() {
        return outcome;
    }
    mirror::attach(texture, token, None);
    unsafe { IUnknown::from_raw(texture).query(wanted, out) }
}

unsafe extern "system" fn shared_handle(resource: *mut c_void, out: *mut HANDLE) -> HRESULT {
    let resource = unsafe { IDXGIResource::from_raw_borrowed(&resource) };
    let texture = resource.and_then(|resource| resource.cast::<ID3D11Texture2D>().ok());
    match texture.and_then(|texture| mirror::of(texture.as_raw())) {
        Some(mirror) => {
            let number = mirror.token.cast_signed() as isize;
            unsafe { *out = HANDLE(std::ptr::without_provenance_mut(number.cast_unsigned())) };
            S_OK
        }
        None => E_INVALIDARG,
    }
}

unsafe extern "system" fn query(
    texture: *mut c_void,
    wanted: *const GUID,
    out: *mut *mut c_void,
) -> HRESULT {
    if unsafe { *wanted } == IDXGIKeyedMutex::IID
        && let Some(mirror) = mirror::of(texture)
        && mirror.header().misc & D3D11_RESOURCE_MISC_SHARED_KEYEDMUTEX.0.cast_unsigned() != 0
    {
        return match keyed::of(mirror) {
            Ok(mutex) => {
                unsafe { *out = mutex.into_raw() };
                S_OK
            }
            Err(error) => error.code(),
        };
    }
    let before = before!(QUERY as Query);
    unsafe { before(texture, wanted, out) }
}

/// Before a texture is read: what others have drawn since.
fn pull(context: *mut c_void, resource: *mut c_void) {
    let Some(mirror) = mirror::of(resource) else {
        return;
    };
    let changes = mirror.header().changes.load(Ordering::SeqCst);
    if mirror.shown.swap(changes, Ordering::SeqCst) != changes {
        let update = before!(UPDATE as Update);
        let (pixels, row) = (mirror.pixels().cast_const().cast(), mirror.row() as u32);
        unsafe { update(context, resource, 0, std::ptr::null(), pixels, row, 0) };
    }
}

/// After a texture was written: the others shall see it.
fn push(context: *mut c_void, resource: *mut c_void) -> Option<()> {
    let mirror = mirror::of(resource)?;
    let own = unsafe { ID3D11DeviceContext::from_raw_borrowed(&context) }?;
    let mut staging = mirror.staging.lock().ok()?;
    if staging.is_none() {
        let texture = unsafe { ID3D11Texture2D::from_raw_borrowed(&resource) }?;
        let mut desc = D3D11_TEXTURE2D_DESC::default();
        unsafe { texture.GetDesc(&mut desc) };
        desc.Usage = D3D11_USAGE_STAGING;
        desc.BindFlags = 0;
        desc.MiscFlags = 0;
        desc.CPUAccessFlags = D3D11_CPU_ACCESS_READ.0.cast_unsigned();
        let device = unsafe { own.GetDevice() }.ok()?;
        unsafe { device.CreateTexture2D(&desc, None, Some(&mut *staging)) }.ok()?;
    }
    let staging = staging.as_ref()?;
    let copy = before!(COPY as Copy);
    unsafe { copy(context, staging.as_raw(), resource) };
    let mut mapped = D3D11_MAPPED_SUBRESOURCE::default();
    unsafe { own.Map(staging, 0, D3D11_MAP_READ, 0, Some(&mut mapped)) }.ok()?;
    for row in 0..mirror.header().height as usize {
        unsafe {
            let from = mapped
                .pData
                .cast::<u8>()
                .add(row * mapped.RowPitch as usize);
            let to = mirror.pixels().add(row * mirror.row());
            std::ptr::copy_nonoverlapping(from, to, mirror.row());
        }
    }
    unsafe { own.Unmap(staging, 0) };
    let changes = mirror.header().changes.fetch_add(1, Ordering::SeqCst) + 1;
    mirror.shown.store(changes, Ordering::SeqCst);
    Some(())
}

unsafe extern "system" fn copy(context: *mut c_void, to: *mut c_void, from: *mut c_void) {
    pull(context, from);
    let copy = before!(COPY as Copy);
    unsafe { copy(context, to, from) };
    push(context, to);
}

unsafe extern "system" fn copy_region(
    context: *mut c_void,
    to: *mut c_void,
    index: u32,
    x: u32,
    y: u32,
    z: u32,
    from: *mut c_void,
    from_index: u32,
    region: *const D3D11_BOX,
) {
    pull(context, from);
    pull(context, to);
    let copy = before!(COPY_REGION as CopyRegion);
    unsafe { copy(context, to, index, x, y, z, from, from_index, region) };
    push(context, to);
}

unsafe extern "system" fn update(
    context: *mut c_void,
    to: *mut c_void,
    index: u32,
    region: *const D3D11_BOX,
    data: *const c_void,
    row: u32,
    depth: u32,
) {
    let update = before!(UPDATE as Update);
    unsafe { update(context, to, index, region, data, row, depth) };
    push(context, to);
}
