//! The public surface of the elements cannot change unnoticed.

use std::process::Command;

use scope_tests::{house, inspect};

const ELEMENTS: &[&str] = &[
    "falwebrtcbin",
    "scopediffusion",
    "scopediffusionsrc",
    "spoutsink",
    "spoutsrc",
];

#[test]
fn every_element_shows_what_its_snapshot_says() {
    gst::init().unwrap();
    gstscopediffusion::plugin_register_static().unwrap();
    gstspout::plugin_register_static().unwrap();
    gstfalwebrtc::plugin_register_static().unwrap();

    for &element in ELEMENTS {
        insta::assert_snapshot!(element, inspect::element(element));
    }
}

#[test]
fn the_readme_names_every_element() {
    let readme = std::fs::read_to_string(house::root().join("README.md")).unwrap();

    for &element in ELEMENTS {
        assert!(
            readme.contains(&format!("| `{element}` |")),
            "README.md's element table lacks {element}"
        );
    }
}

/// The plugin file itself, as a user's gst-inspect meets it: loadable, with nothing of ONNX Runtime in reach.
#[test]
fn gst_inspect_reads_the_plugin_file_without_onnx_runtime() {
    let scratch = tempfile::tempdir().unwrap();

    for &element in ELEMENTS {
        let out = Command::new("gst-inspect-1.0")
            .arg(element)
            .env("GST_PLUGIN_PATH", house::artefacts())
            .env("GST_REGISTRY", scratch.path().join("registry"))
            .env("HOME", scratch.path())
            .env("XDG_DATA_HOME", scratch.path())
            .env_remove("ORT_DYLIB_PATH")
            .env_remove("SCOPE_ONNXRUNTIME")
            .output()
            .unwrap();

        let text = String::from_utf8_lossy(&out.stdout);
        assert!(
            out.status.success(),
            "{text}{}",
            String::from_utf8_lossy(&out.stderr)
        );
        assert!(text.contains("Element Properties"), "{text}");
        insta::assert_snapshot!(format!("{element}-signals"), inspect::signals(&text));
    }
}
