//! What programs, and wine's own `dxgi.dll`, call by name: forwarded to the system's library.

use std::ffi::c_void;
use std::sync::{LazyLock, Once};

use windows::Win32::Foundation::{E_FAIL, HMODULE};
use windows::Win32::Graphics::Direct3D::{D3D_DRIVER_TYPE, D3D_FEATURE_LEVEL};
use windows::Win32::System::LibraryLoader::{GetProcAddress, LoadLibraryA};
use windows::core::{HRESULT, PCSTR, s};

use crate::methods;

/// The system's library, by its full path: by its name it would be this one.
static SYSTEM: LazyLock<usize> = LazyLock::new(|| {
    let library = unsafe { LoadLibraryA(s!("C:\\windows\\system32\\d3d11.dll")) };
    library.map_or(0, |library| library.0.addr())
});

/// A function of which only the name is known.
type Found = unsafe extern "system" fn() -> isize;

fn function(name: PCSTR) -> Option<Found> {
    let library = HMODULE(std::ptr::with_exposed_provenance_mut(*SYSTEM));
    unsafe { GetProcAddress(library, name) }
}

macro_rules! forward {
    ($(fn $name:ident($($argument:ident: $kind:ty),*), device: $device:expr;)*) => {$(
        #[unsafe(no_mangle)]
        #[allow(
            non_snake_case,
            unreachable_pub,
            clippy::too_many_arguments,
            reason = "Microsoft's names and signatures, for other modules of the process"
        )]
        pub unsafe extern "system" fn $name($($argument: $kind),*) -> HRESULT {
            type Function = unsafe extern "system" fn($($kind),*) -> HRESULT;
            let Some(function) = function(PCSTR(concat!(stringify!($name), "\0").as_ptr())) else {
                return E_FAIL;
            };
            let function = unsafe { std::mem::transmute::<Found, Function>(function) };
            let outcome = unsafe { function($($argument),*) };
            let device: Option<*mut *mut c_void> = $device;
            if let Some(device) = device.filter(|device| outcome.is_ok() && !device.is_null()) {
                static ONCE: Once = Once::new();
                ONCE.call_once(|| {
                    let _ = methods::patch_all(unsafe { *device });
                });
            }
            outcome
        }
    )*};
}

forward! {
    fn D3D11CreateDevice(
        adapter: *mut c_void, driver: D3D_DRIVER_TYPE, software: HMODULE, flags: u32,
        levels: *const D3D_FEATURE_LEVEL, count: u32, version: u32,
        device: *mut *mut c_void, level: *mut D3D_FEATURE_LEVEL, context: *mut *mut c_void
    ), device: Some(device);
    fn D3D11CreateDeviceAndSwapChain(
        adapter: *mut c_void, driver: D3D_DRIVER_TYPE, software: HMODULE, flags: u32,
        levels: *const D3D_FEATURE_LEVEL, count: u32, version: u32, chain: *const c_void,
        swap: *mut *mut c_void, device: *mut *mut c_void, level: *mut D3D_FEATURE_LEVEL,
        context: *mut *mut c_void
    ), device: Some(device);
    fn D3D11CoreCreateDevice(
        factory: *mut c_void, adapter: *mut c_void, flags: u32, levels: *const D3D_FEATURE_LEVEL,
        count: u32, device: *mut *mut c_void
    ), device: None;
    fn D3D11CoreRegisterLayers(layers: *const c_void, count: u32), device: None;
}
