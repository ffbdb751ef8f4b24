//! GStreamer's Direct3D 11 library, loaded when it is first needed, and the functions of it that we call.
//!
//! It is no part of GStreamer's stable interface and has no Rust bindings; some builds of GStreamer lack it. What is
//! called here has been in it since 1.22. Of its objects only what GStreamer says of them is known here.
#![allow(
    unsafe_code,
    reason = "finding functions in a library that is loaded at run time"
)]

use std::ffi::{c_int, c_uint, c_void};
use std::sync::LazyLock;

use gst::glib::ffi::gboolean;
use libloading::Library;

/// What Microsoft's compiler calls the file, and what mingw does.
const FILES: [&str; 2] = ["gstd3d11-1.0-0.dll", "libgstd3d11-1.0-0.dll"];

/// `GST_MAP_D3D11`: mapped by a texture, not by its bytes.
pub(super) const MAP_D3D11: u32 = gst::ffi::GST_MAP_FLAG_LAST << 1;

/// `D3D11_BIND_SHADER_RESOURCE` and `D3D11_BIND_RENDER_TARGET`: what elements that draw ask of a texture.
pub(super) const BIND: c_uint = 0x8 | 0x20;

/// A `GstD3D11Device`, which is a `GstObject`.
pub(super) type RawDevice = *mut gst::ffi::GstObject;

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions, by their own names without `gst_`.
        #[derive(Debug)]
        pub(super) struct Functions {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            /// Never unloaded: it has registered types.
            _library: Library,
        }

        impl Functions {
            fn find(library: Library) -> Option<Self> {
                // SAFETY: each has the signature that the library's headers give it.
                unsafe {
                    $(let $name = *library.get(concat!("gst_", stringify!($name), "\0")).ok()?;)*
                    Some(Self { $($name,)* _library: library })
                }
            }
        }
    };
}

functions! {
    is_d3d11_memory: fn(*mut gst::ffi::GstMemory) -> gboolean;
    d3d11_memory_get_resource_handle: fn(*mut gst::ffi::GstMemory) -> *mut c_void;
    d3d11_memory_get_subresource_index: fn(*mut gst::ffi::GstMemory) -> c_uint;
    d3d11_device_get_device_handle: fn(RawDevice) -> *mut c_void;
    d3d11_device_lock: fn(RawDevice);
    d3d11_device_unlock: fn(RawDevice);
    d3d11_ensure_element_data: fn(*mut gst::ffi::GstElement, c_int, *mut RawDevice) -> gboolean;
    d3d11_ensure_element_data_for_adapter_luid: fn(*mut gst::ffi::GstElement, i64, *mut RawDevice) -> gboolean;
    d3d11_handle_set_context: fn(*mut gst::ffi::GstElement, *mut gst::ffi::GstContext, c_int, *mut RawDevice) -> gboolean;
    d3d11_handle_set_context_for_adapter_luid: fn(*mut gst::ffi::GstElement, *mut gst::ffi::GstContext, i64, *mut RawDevice) -> gboolean;
    d3d11_handle_context_query: fn(*mut gst::ffi::GstElement, *mut gst::ffi::GstQuery, RawDevice) -> gboolean;
    d3d11_buffer_pool_new: fn(RawDevice) -> *mut gst::ffi::GstBufferPool;
    d3d11_allocation_params_new: fn(RawDevice, *const gst_video::ffi::GstVideoInfo, c_uint, c_uint, c_uint) -> *mut c_void;
    d3d11_allocation_params_free: fn(*mut c_void);
    buffer_pool_config_set_d3d11_allocation_params: fn(*mut gst::ffi::GstStructure, *mut c_void);
}

/// The library, if this GStreamer has one.
pub(super) fn functions() -> Option<&'static Functions> {
    static FUNCTIONS: LazyLock<Option<Functions>> = LazyLock::new(|| {
        FILES.iter().find_map(|file| {
            // SAFETY: GStreamer's own library, whose initialisation registers types only.
            let library = unsafe { Library::new(*file) }.ok()?;
            Functions::find(library)
        })
    });
    FUNCTIONS.as_ref()
}
