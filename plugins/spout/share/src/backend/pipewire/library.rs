//! PipeWire's library, loaded when it is first needed, and the C types of it that we touch.
#![allow(
    unsafe_code,
    reason = "finding functions in a library that is loaded at run time"
)]

use std::ffi::{c_char, c_int, c_void};
use std::sync::LazyLock;

/// The name of the library's present ABI, which is that of every PipeWire since 0.3.
const FILE: &str = "libpipewire-0.3.so.0";

/// Types that only PipeWire looks into.
#[repr(C)]
pub(super) struct ThreadLoop(c_void);
#[repr(C)]
pub(super) struct Loop(c_void);
#[repr(C)]
pub(super) struct Stream(c_void);
#[repr(C)]
pub(super) struct Properties(c_void);

/// `struct spa_dict_item`.
#[repr(C)]
pub(super) struct Item {
    pub(super) key: *const c_char,
    pub(super) value: *const c_char,
}

/// `struct spa_dict`.
#[repr(C)]
pub(super) struct Dict {
    pub(super) flags: u32,
    pub(super) len: u32,
    pub(super) items: *const Item,
}

/// `struct pw_buffer`; it may grow at its end.
#[repr(C)]
pub(super) struct Buffer {
    pub(super) buffer: *mut SpaBuffer,
    pub(super) user_data: *mut c_void,
    pub(super) size: u64,
}

/// `struct spa_buffer`.
#[repr(C)]
pub(super) struct SpaBuffer {
    pub(super) metas_len: u32,
    pub(super) blocks_len: u32,
    pub(super) metas: *mut Meta,
    pub(super) blocks: *mut Data,
}

/// `struct spa_meta`.
#[repr(C)]
pub(super) struct Meta {
    pub(super) kind: u32,
    pub(super) size: u32,
    pub(super) data: *mut c_void,
}

/// `struct spa_meta_header`.
#[repr(C)]
pub(super) struct Header {
    pub(super) flags: u32,
    pub(super) offset: u32,
    pub(super) pts: i64,
    pub(super) dts_offset: i64,
    pub(super) seq: u64,
}

/// `struct spa_data`.
#[repr(C)]
pub(super) struct Data {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) fd: i64,
    pub(super) map_offset: u32,
    pub(super) max_size: u32,
    pub(super) data: *mut c_void,
    pub(super) chunk: *mut Chunk,
}

/// `struct spa_chunk`.
#[repr(C)]
pub(super) struct Chunk {
    pub(super) offset: u32,
    pub(super) size: u32,
    pub(super) stride: i32,
    pub(super) flags: i32,
}

/// `struct spa_pod`: what its body is and how long.
#[repr(C)]
pub(super) struct Pod {
    pub(super) size: u32,
    pub(super) kind: u32,
}

/// `struct pw_stream_events`, version 0: the last three of version 2 are left out.
#[repr(C)]
pub(super) struct Events {
    pub(super) version: u32,
    pub(super) destroy: Option<unsafe extern "C" fn(*mut c_void)>,
    pub(super) state_changed:
        Option<unsafe extern "C" fn(*mut c_void, c_int, c_int, *const c_char)>,
    pub(super) control_info: Option<unsafe extern "C" fn(*mut c_void, u32, *const c_void)>,
    pub(super) io_changed: Option<unsafe extern "C" fn(*mut c_void, u32, *mut c_void, u32)>,
    pub(super) param_changed: Option<unsafe extern "C" fn(*mut c_void, u32, *const Pod)>,
    pub(super) add_buffer: Option<unsafe extern "C" fn(*mut c_void, *mut Buffer)>,
    pub(super) remove_buffer: Option<unsafe extern "C" fn(*mut c_void, *mut Buffer)>,
    pub(super) process: Option<unsafe extern "C" fn(*mut c_void)>,
    pub(super) drained: Option<unsafe extern "C" fn(*mut c_void)>,
}

/// Declares the functions we use, and how all of them are found.
macro_rules! functions {
    ($($name:ident = $symbol:literal: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions, named as in PipeWire's headers.
        #[derive(Debug)]
        pub(super) struct Library {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Library {
            fn find(library: &libloading::Library) -> Result<Self, libloading::Error> {
                // SAFETY: the types are those of PipeWire's headers, which its ABI name stands for; the library is
                // never unloaded.
                unsafe {
                    Ok(Self { $($name: *library.get($symbol)?,)* })
                }
            }
        }
    };
}

functions! {
    init = b"pw_init": fn(*mut c_int, *mut *mut *mut c_char);
    thread_loop_new = b"pw_thread_loop_new": fn(*const c_char, *const Dict) -> *mut ThreadLoop;
    thread_loop_get_loop = b"pw_thread_loop_get_loop": fn(*mut ThreadLoop) -> *mut Loop;
    thread_loop_start = b"pw_thread_loop_start": fn(*mut ThreadLoop) -> c_int;
    thread_loop_stop = b"pw_thread_loop_stop": fn(*mut ThreadLoop);
    thread_loop_lock = b"pw_thread_loop_lock": fn(*mut ThreadLoop);
    thread_loop_unlock = b"pw_thread_loop_unlock": fn(*mut ThreadLoop);
    thread_loop_destroy = b"pw_thread_loop_destroy": fn(*mut ThreadLoop);
    properties_new_dict = b"pw_properties_new_dict": fn(*const Dict) -> *mut Properties;
    stream_new_simple = b"pw_stream_new_simple":
        fn(*mut Loop, *const c_char, *mut Properties, *const Events, *mut c_void) -> *mut Stream;
    stream_connect = b"pw_stream_connect": fn(*mut Stream, c_int, u32, c_int, *mut *const Pod, u32) -> c_int;
    stream_update_params = b"pw_stream_update_params": fn(*mut Stream, *mut *const Pod, u32) -> c_int;
    stream_dequeue_buffer = b"pw_stream_dequeue_buffer": fn(*mut Stream) -> *mut Buffer;
    stream_queue_buffer = b"pw_stream_queue_buffer": fn(*mut Stream, *mut Buffer) -> c_int;
    stream_trigger_process = b"pw_stream_trigger_process": fn(*mut Stream) -> c_int;
    stream_destroy = b"pw_stream_destroy": fn(*mut Stream);
}

/// The library, once for the process; or why there is none.
pub(super) fn library() -> Result<&'static Library, String> {
    static LIBRARY: LazyLock<Result<Library, String>> = LazyLock::new(|| {
        // SAFETY: PipeWire's library does nothing when it is loaded but prepare its own data.
        let file = unsafe { libloading::Library::new(FILE) }
            .map_err(|error| format!("its library cannot be loaded: {error}"))?;
        let library = Library::find(&file)
            .map_err(|error| format!("its library is of another kind: {error}"))?;
        // Its functions are called as long as the process lives.
        std::mem::forget(file);
        // SAFETY: the library takes null for "no arguments".
        unsafe { (library.init)(std::ptr::null_mut(), std::ptr::null_mut()) };
        Ok(library)
    });
    LIBRARY.as_ref().map_err(Clone::clone)
}
