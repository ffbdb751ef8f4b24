//! What the runtime says, sorted into what can be done about it.

use super::super::{Device, Provider};
use crate::error::EngineError;
use crate::folder::Part;

/// Words that mean there was no memory, on the host or on a device.
///
/// Source: ONNX Runtime, bfc_arena.cc; CUDA, cuBLAS and cuDNN name their own.
const NO_MEMORY: &[&str] = &[
    "Failed to allocate memory",
    "bad_alloc",
    "out of memory",
    "ALLOC_FAILED",
    "OUT_OF_MEMORY",
];

/// Words of CUDA about everything else: the device takes no work of this process any more.
const NO_DEVICE: &[&str] = &[
    "CUDA failure",
    "CUDA error",
    "no CUDA-capable device",
    "CUDNN failure",
    "CUBLAS failure",
];

fn any(message: &str, words: &[&str]) -> bool {
    words.iter().any(|word| message.contains(word))
}

/// Sorts the failure of a run.
pub(super) fn of_run(role: &'static str, message: &str) -> EngineError {
    let (graph, reason) = (role.to_string(), message.to_string());
    if any(message, NO_MEMORY) {
        return EngineError::OutOfMemory { graph, reason };
    }
    if any(message, NO_DEVICE) {
        return EngineError::DeviceLost { graph, reason };
    }
    EngineError::InferenceFailed { graph, reason }
}

/// Sorts a refusal to open: the device, the file, or a model that this runtime cannot run.
pub(super) fn of_opening(part: &Part, device: Device, message: &str) -> EngineError {
    if any(message, NO_MEMORY) {
        return EngineError::OutOfMemory {
            graph: part.role().into(),
            reason: message.into(),
        };
    }
    if any(message, NO_DEVICE) {
        return EngineError::ProviderUnavailable {
            provider: name(device.provider),
            reason: message.into(),
        };
    }
    let outside = [
        "External data path does not exist",
        "external data",
        "External data",
    ];
    if let Some(path) = quoted(message).filter(|_| any(message, &outside)) {
        return EngineError::ModelFileMissing { path: path.into() };
    }
    let unknown = [
        "opset",
        "Opset",
        "not a registered function",
        "Failed to find kernel",
        "Could not find an implementation",
        "NOT_IMPLEMENTED",
    ];
    if any(message, &unknown) {
        return EngineError::ModelUnsupported {
            name: part.role().into(),
            reason: message.into(),
        };
    }
    EngineError::ModelFileCorrupt {
        path: part.path().to_path_buf(),
        reason: message.into(),
    }
}

/// The name of the library that a provider lacks, where the runtime gives it.
pub(super) fn missing_library(message: &str) -> String {
    let library = message
        .split_once("with error: ")
        .and_then(|(_, detail)| detail.split_once(": cannot open shared object file"))
        .map(|(library, _)| library);
    match library {
        Some("libcuda.so.1") => "there is no NVIDIA driver (libcuda.so.1 is missing)".into(),
        Some(library) => format!("the library {library} is missing"),
        None => message.into(),
    }
}

/// What it means that no work can be queued on a device, before anything of a model is there.
///
/// Source: the CUDA runtime's `cudaError_t`.
pub(super) fn unusable(message: &str, device: u32) -> String {
    let meanings = [
        (
            35,
            "there is no NVIDIA driver, or it is older than the CUDA libraries need (CUDA 13: 580)"
                .into(),
        ),
        (
            100,
            "there is no NVIDIA GPU, or CUDA_VISIBLE_DEVICES hides it".into(),
        ),
        (101, format!("there is no GPU number {device}")),
    ];
    let meant = |(code, _): &(u32, String)| message.contains(&format!("CUDA error {code} "));
    let meaning = meanings.into_iter().find(meant);
    meaning.map_or(message.to_string(), |(_, meaning)| {
        format!("{meaning} ({message})")
    })
}

/// What people write to choose a provider.
pub(super) fn name(provider: Provider) -> &'static str {
    match provider {
        Provider::Auto | Provider::Cpu => "cpu",
        Provider::Cuda => "cuda",
        Provider::TensorRt => "tensorrt",
    }
}

fn quoted(message: &str) -> Option<&str> {
    message.split('"').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_of_a_provider_is_named() {
        let said = "Failed to load library /a/libonnxruntime_providers_cuda.so with error: \
                    libcublasLt.so.13: cannot open shared object file: No such file or directory";

        assert_eq!(
            missing_library(said),
            "the library libcublasLt.so.13 is missing"
        );
    }

    #[test]
    fn a_device_that_takes_no_work_is_explained_where_the_reason_is_known() {
        let explained = |code| unusable(&format!("CUDA error {code} in cudaSetDevice"), 3);

        assert!(explained(35).contains("driver"), "{}", explained(35));
        assert!(explained(101).starts_with("there is no GPU number 3"));
        assert_eq!(explained(999), "CUDA error 999 in cudaSetDevice");
    }

    #[test]
    fn too_little_memory_is_told_from_a_lost_device_and_from_a_bad_graph() {
        let kind = |said: &str| of_run("unet", said);

        for said in [
            "BFCArena::AllocateRawInternal Failed to allocate memory for requested buffer of size 9",
            "std::bad_alloc",
            "CUDA failure 2: out of memory ; GPU=0",
            "CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED ; GPU=0",
        ] {
            assert!(
                matches!(kind(said), EngineError::OutOfMemory { .. }),
                "{said}"
            );
        }
        for said in [
            "CUDA failure 719: unspecified launch failure ; GPU=0",
            "CUDA error 214 in cudaStreamSynchronize",
        ] {
            assert!(
                matches!(kind(said), EngineError::DeviceLost { .. }),
                "{said}"
            );
        }
        let said = "Got invalid dimensions for input: sample";
        assert!(matches!(kind(said), EngineError::InferenceFailed { .. }));
    }
}
