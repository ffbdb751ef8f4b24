//! Which ONNX Runtime library to use.
//!
//! An explicit choice (argument, `SCOPE_ONNXRUNTIME`, `ORT_DYLIB_PATH`) is final: when it is wrong
//! that is an error, never a silent fall-through to another library. Otherwise the usual places are
//! tried, best first.

#![allow(
    unsafe_code,
    reason = "asks the dynamic loader where this plugin lies and what a library is"
)]

use std::env;
use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};

/// A library file that may be ONNX Runtime, and why it is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) from: &'static str,
}

/// Libraries to try, best first.
pub(super) fn candidates(explicit: Option<&Path>) -> Vec<Candidate> {
    let chosen = explicit
        .map(|path| (path.to_path_buf(), "given explicitly"))
        .or_else(|| variable("SCOPE_ONNXRUNTIME").map(|path| (path, "$SCOPE_ONNXRUNTIME")))
        .or_else(|| variable("ORT_DYLIB_PATH").map(|path| (path, "$ORT_DYLIB_PATH")));
    if let Some((path, from)) = chosen {
        let inside = libraries_in(&path);
        let files = if inside.is_empty() {
            vec![path]
        } else {
            inside
        };
        return files
            .into_iter()
            .map(|path| Candidate { path, from })
            .collect();
    }

    let mut found = Vec::new();
    // Where we told people to put it, an absent library is worth a line in the error.
    let mut expect = |dir: PathBuf, from| {
        let mut files = libraries_in(&dir);
        if files.is_empty() {
            files.push(dir.join("libonnxruntime.so"));
        }
        found.extend(files.into_iter().map(|path| Candidate { path, from }));
    };
    if let Some(dir) = own_dir() {
        expect(dir.join("onnxruntime"), "beside the plugin");
        expect(dir, "beside the plugin");
    }
    for flavour in ["cuda13", "cuda12", "cpu"] {
        if let Some(data) = data_dir() {
            let dir = data.join("scope-diffusion/onnxruntime").join(flavour);
            expect(dir, "user data folder");
        }
    }
    for dir in python_package_dirs() {
        let files = libraries_in(&dir.join("onnxruntime/capi"));
        let from = "Python package";
        found.extend(files.into_iter().map(|path| Candidate { path, from }));
    }
    found.push(Candidate {
        path: "libonnxruntime.so.1".into(),
        from: "system library path",
    });
    found
}

fn variable(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

fn data_dir() -> Option<PathBuf> {
    variable("XDG_DATA_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/share")))
}

/// `site-packages` and `dist-packages` of the active environments, then of the user and the system.
fn python_package_dirs() -> Vec<PathBuf> {
    let roots = ["VIRTUAL_ENV", "CONDA_PREFIX"]
        .into_iter()
        .filter_map(variable)
        .chain(variable("HOME").map(|home| home.join(".local")))
        .chain(["/usr/local".into(), "/usr".into()]);
    let mut dirs = Vec::new();
    for root in roots {
        let mut pythons = entries(&root.join("lib"), |name| name.starts_with("python3"));
        pythons.reverse();
        for python in pythons {
            dirs.extend(["site-packages", "dist-packages"].map(|packages| python.join(packages)));
        }
    }
    dirs
}

/// ONNX Runtime's files in `dir`, longest name (with the full version) first.
fn libraries_in(dir: &Path) -> Vec<PathBuf> {
    let mut files = entries(dir, |name| {
        name == "libonnxruntime.so"
            || name.starts_with("libonnxruntime.so.")
            || name == "libonnxruntime.dylib"
            || name == "onnxruntime.dll"
    });
    files.reverse();
    files
}

/// Entries of `dir` with a fitting name, sorted; none if the folder cannot be read.
fn entries(dir: &Path, fits: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let Ok(read) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = read
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(&fits))
        .map(|entry| entry.path())
        .collect();
    paths.sort();
    paths
}

/// The version a library calls itself, without letting `ort` commit to it.
///
/// # Errors
///
/// The dynamic loader's own words, or why the file is not ONNX Runtime.
pub(super) fn version_of(library: &Path) -> Result<String, String> {
    #[repr(C)]
    struct ApiBase {
        get_api: *const c_void,
        version: unsafe extern "C" fn() -> *const c_char,
    }
    // SAFETY: loading runs the library's initialisers; the file was chosen by the operator or lies
    // where ONNX Runtime is installed, and its initialisers have no preconditions.
    let loaded = unsafe { libloading::Library::new(library) }.map_err(|error| {
        std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string)
    })?;
    // SAFETY: the symbol of this name has had this signature since ONNX Runtime's first C API.
    let base =
        unsafe { loaded.get::<unsafe extern "C" fn() -> *const ApiBase>(b"OrtGetApiBase\0") }
            .map_err(|_| "it is not an ONNX Runtime library".to_string())?;
    // SAFETY: takes no argument; returns a pointer to static memory of the library.
    let base = unsafe { base().as_ref() }.ok_or("it has no API")?;
    // SAFETY: as above; the text is static and ends with a zero.
    let version = unsafe { CStr::from_ptr((base.version)()) };
    Ok(version.to_string_lossy().into_owned())
}

/// Maps the NVIDIA libraries that lie beside ONNX Runtime, so that its CUDA provider finds them
/// without `LD_LIBRARY_PATH`: the loader matches a mapped library by its name.
///
/// Order matters: later ones need earlier ones. Those that are absent or unusable are skipped; the
/// provider itself then names what it misses.
pub(super) fn map_nvidia_libraries(library: &Path) {
    let Some(dir) = library.parent() else { return };
    for stem in [
        "cudart",
        "nvrtc",
        "nvJitLink",
        "cublasLt",
        "cublas",
        "curand",
        "cufft",
    ] {
        for file in entries(dir, |name| name.starts_with(&format!("lib{stem}.so."))) {
            keep_mapped(&file);
        }
    }
    for file in entries(dir, |name| {
        name.starts_with("libcudnn") && name.ends_with(".so.9")
    }) {
        keep_mapped(&file);
    }
}

fn keep_mapped(file: &Path) {
    // SAFETY: NVIDIA's libraries have no preconditions for being loaded.
    if let Ok(loaded) = unsafe { libloading::Library::new(file) } {
        std::mem::forget(loaded);
    }
}

/// The folder of the shared object (or program) that this code was linked into.
#[cfg(unix)]
fn own_dir() -> Option<PathBuf> {
    #[repr(C)]
    struct DlInfo {
        file: *const c_char,
        base: *mut c_void,
        symbol: *const c_char,
        address: *mut c_void,
    }
    unsafe extern "C" {
        fn dladdr(address: *const c_void, info: *mut DlInfo) -> std::ffi::c_int;
    }
    let null = std::ptr::null_mut();
    let mut info = DlInfo {
        file: null,
        base: null.cast(),
        symbol: null,
        address: null.cast(),
    };
    // SAFETY: the address is a function of this object, `info` is ours and has libc's layout.
    let found = unsafe { dladdr(own_dir as *const c_void, &raw mut info) };
    if found == 0 || info.file.is_null() {
        return None;
    }
    // SAFETY: the loader keeps the name for as long as the object is mapped, and we are in it.
    let file = unsafe { CStr::from_ptr(info.file) }.to_str().ok()?;
    Some(Path::new(file).canonicalize().ok()?.parent()?.to_path_buf())
}

#[cfg(not(unix))]
fn own_dir() -> Option<PathBuf> {
    env::current_exe().ok()?.parent().map(Path::to_path_buf)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_explicit_file_is_the_only_candidate() {
        let only = candidates(Some(Path::new("/no/such/library.so")));

        assert_eq!(only.len(), 1);
        assert_eq!(only[0].path, Path::new("/no/such/library.so"));
    }

    #[test]
    fn a_folder_stands_for_the_libraries_in_it() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "libonnxruntime.so",
            "libonnxruntime.so.1.31.1",
            "libother.so",
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }

        let found = candidates(Some(dir.path()));

        let names: Vec<_> = found.iter().map(|c| c.path.file_name().unwrap()).collect();
        assert_eq!(names, ["libonnxruntime.so.1.31.1", "libonnxruntime.so"]);
    }

    #[test]
    fn a_file_that_is_no_library_is_named_as_such() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "not a library").unwrap();

        assert!(version_of(file.path()).is_err());
        assert!(
            version_of(Path::new("/no/such/library.so"))
                .unwrap_err()
                .contains("No such file")
        );
    }

    #[test]
    fn this_test_program_knows_its_own_folder() {
        assert!(own_dir().is_some_and(|dir| dir.is_absolute()));
    }
}
