//! What a GPU is called, and who builds engines for it: they are good for no other.

#![allow(
    unsafe_code,
    reason = "talks to NVIDIA's libraries, which are loaded at run time"
)]

use std::ffi::{CStr, c_char, c_int, c_uint};

const DRIVER: &str = if cfg!(windows) {
    "nvcuda.dll"
} else {
    "libcuda.so.1"
};
const TENSORRT: &str = if cfg!(windows) {
    "nvinfer_10.dll"
} else {
    "libnvinfer.so.10"
};

/// Longest name of a GPU that is read, with the zero at its end, bytes.
const LONGEST: usize = 256;

/// What an engine depends on besides the graph: GPU, driver and TensorRT, as far as they say. TensorRT itself names
/// engines after the GPU's compute capability only, which whole families share.
pub(super) fn makers(index: u32) -> String {
    let unknown = || "unknown".to_owned();
    let (name, driver) = gpu(index).unwrap_or_else(|| (unknown(), unknown()));
    let tensorrt = tensorrt().map_or_else(unknown, |version| version.to_string());
    format!("{name} driver {driver} TensorRT {tensorrt}")
}

fn gpu(index: u32) -> Option<(String, String)> {
    // SAFETY: the driver's library has no preconditions for being loaded.
    let library = unsafe { libloading::Library::new(DRIVER) }.ok()?;
    type Init = unsafe extern "C" fn(c_uint) -> c_int;
    type Version = unsafe extern "C" fn(*mut c_int) -> c_int;
    type Get = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
    type Name = unsafe extern "C" fn(*mut c_char, c_int, c_int) -> c_int;
    let index = c_int::try_from(index).ok()?;
    let (mut device, mut version, mut name) = (0, 0, [0; LONGEST]);
    // SAFETY: the driver has had functions of these names and signatures since version 2.2; each writes to a place of
    // ours, of the length that it is told, and none is called after the library is gone.
    let told = unsafe {
        let init = library.get::<Init>(b"cuInit\0").ok()?;
        let get_version = library.get::<Version>(b"cuDriverGetVersion\0").ok()?;
        let get = library.get::<Get>(b"cuDeviceGet\0").ok()?;
        let get_name = library.get::<Name>(b"cuDeviceGetName\0").ok()?;
        init(0) == 0
            && get_version(&raw mut version) == 0
            && get(&raw mut device, index) == 0
            && get_name(name.as_mut_ptr(), LONGEST as c_int - 1, device) == 0
    };
    // The context that the runtime has on the device goes on using it.
    std::mem::forget(library);
    if !told {
        return None;
    }
    // SAFETY: the last byte was left zero.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) };
    Some((name.to_string_lossy().into_owned(), version.to_string()))
}

fn tensorrt() -> Option<c_int> {
    // SAFETY: TensorRT's library has no preconditions for being loaded; the provider loads it anyway.
    let library = unsafe { libloading::Library::new(TENSORRT) }.ok()?;
    // SAFETY: the function takes nothing and gives a number, in every version of TensorRT.
    let version = unsafe {
        let get = library.get::<unsafe extern "C" fn() -> c_int>(b"getInferLibVersion\0");
        get.ok().map(|get| get())
    };
    std::mem::forget(library);
    version
}

#[cfg(test)]
mod tests {
    #[test]
    fn whatever_is_there_makers_are_named_or_unknown() {
        let makers = super::makers(0);

        assert!(
            makers.contains(" driver ") && makers.contains(" TensorRT "),
            "{makers}"
        );
        let (name, rest) = makers.split_once(" driver ").unwrap();
        assert!(!name.is_empty() && !rest.starts_with(' '), "{makers}");
    }
}
