//! Life without ONNX Runtime, and after installing it, in one process.
//!
//! A program of its own, because a process loads the library once and for all.

use std::path::Path;

use diffusion_engine::{EngineError, Folder, OrtBackend, Parameters, Patch};

#[test]
fn everything_up_to_the_runtime_works_without_it_and_a_later_attempt_succeeds() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/model-tiny");
    let folder = Folder::open(&model).expect("a folder opens without a runtime");
    let patch = Patch::from_json(r#"{"prompt": "night"}"#).expect("the patch is sound");
    Parameters::default()
        .apply(&patch)
        .expect("so are the parameters");

    let error = OrtBackend::load(Some(Path::new("/no/such/libonnxruntime.so"))).unwrap_err();
    assert!(
        matches!(error, EngineError::RuntimeMissing { .. }),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .contains("/no/such/libonnxruntime.so (given explicitly)"),
        "{error}"
    );
    assert!(
        error.remedy().contains("SCOPE_ONNXRUNTIME"),
        "{}",
        error.remedy()
    );

    let here = OrtBackend::load(Some(&model)).unwrap_err();
    assert!(
        here.to_string().contains("model-tiny"),
        "a folder without the library: {here}"
    );

    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    assert!(backend.version().starts_with("1."), "{}", backend.version());
    assert!(backend.path().is_absolute());
    let again = OrtBackend::load(Some(Path::new("/no/such/libonnxruntime.so")));
    assert!(again.is_ok(), "what is loaded stays loaded");
    assert_eq!(folder.name(), "model-tiny");
}
