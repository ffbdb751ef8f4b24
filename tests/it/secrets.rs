//! Keys, tokens and passwords stay where they belong.

use std::fmt::Write;
use std::fs::{self, File};
use std::io;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use gst::prelude::*;
use scope_tests::{FalApp, house};
use serde_json::json;

const KEY: &str = "canary-id:canary-secret";
/// A hung pipeline ends some day.
const PATIENCE: Duration = Duration::from_secs(60);

/// The files of fal-client that take a secret out of its type, and what for. Everything else passes it on unopened.
const EXPOSING: [(&str, &str); 6] = [
    (
        "credentials.rs",
        "the Authorization header's value; hiding the key in texts",
    ),
    ("endpoint.rs", "the token in a socket's address"),
    ("net/http.rs", "the header itself, marked sensitive"),
    ("net/socket.rs", "the address to connect to"),
    ("secret.rs", "the way out"),
    (
        "signalling/ice.rs",
        "TURN passwords that a client asked for",
    ),
];

/// Ways to show something to someone.
const SHOWING: [&str; 9] = [
    "tracing::",
    "gst::trace",
    "gst::debug",
    "gst::info",
    "gst::warning",
    "gst::error",
    "gst::log",
    "println!",
    "panic!",
];

#[test]
fn secrets_of_fal_are_opened_in_few_places() {
    let folder = house::root().join("plugins/falwebrtc/fal/src");
    let mut opening: Vec<String> = Vec::new();
    for file in house::files(&folder, &[".rs"]) {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        if code.contains("expose(") {
            let name = file.strip_prefix(&folder).unwrap();
            opening.push(name.to_string_lossy().into_owned());
        }
    }
    let known: Vec<_> = EXPOSING.iter().map(|(file, _)| *file).collect();
    assert_eq!(
        opening, known,
        "a new place that opens a secret needs a reason in this list"
    );
}

#[test]
fn no_line_shows_what_it_opens() {
    let showing: Vec<_> = house::files(&house::root(), &[".rs"])
        .into_iter()
        .filter(|file| !file.ends_with("tests/it/secrets.rs"))
        .flat_map(|file| {
            let text = fs::read_to_string(&file).unwrap();
            let lines = text.lines().enumerate();
            let bad = lines.filter(|(_, line)| {
                line.contains(".expose()") && SHOWING.iter().any(|word| line.contains(word))
            });
            bad.map(|(number, _)| format!("{}:{}", file.display(), number + 1))
                .collect::<Vec<_>>()
        })
        .collect();
    assert!(showing.is_empty(), "{showing:#?}");
}

/// A pipeline of gst-launch with the key in its environment, talking for a while, with every log of every level on.
#[test]
fn key_and_token_of_a_pipeline_show_up_nowhere() -> Result<()> {
    let app = FalApp::start(Some(KEY))?;
    let turn =
        json!({"urls": "turn:127.0.0.1:9", "username": "u", "credential": "canary-password"});
    app.faults(&json!({"rest": {"ice_servers": [turn]}}))?;
    let folder = tempfile::tempdir()?;
    let address = format!("http://{}", app.address);
    let mut launch = Command::new("gst-launch-1.0")
        .args(["-m", "-v", "videotestsrc", "is-live=true", "!"])
        .args(["video/x-raw,width=64,height=64,framerate=10/1", "!"])
        .args(["falwebrtcbin", "app-id=owner/app", "path=ws"])
        .arg(format!("run-url={address}"))
        .arg(format!("rest-url={address}"))
        .args(["!", "fakesink"])
        .env("FAL_KEY", KEY)
        .env("GST_PLUGIN_PATH", house::artefacts())
        .env("GST_REGISTRY", folder.path().join("registry"))
        .env("GST_DEBUG", "*:5,falwebrtc*:9,webrtc*:9,nice*:9")
        .env("GST_DEBUG_NO_COLOR", "1")
        .env("GST_DEBUG_FILE", folder.path().join("log"))
        .env("GST_DEBUG_DUMP_DOT_DIR", folder.path())
        .env("RUST_LOG", "trace")
        .stdout(File::create(folder.path().join("stdout"))?)
        .stderr(File::create(folder.path().join("stderr"))?)
        .spawn()?;
    let back = app.wait("pictures come back", PATIENCE, |report| {
        report["frames_out"]
            .as_u64()
            .is_some_and(|frames| frames > 5)
    });
    let arguments = fs::read(format!("/proc/{}/cmdline", launch.id()))?;
    launch.kill()?;
    launch.wait()?;
    back?;

    fs::write(folder.path().join("arguments"), arguments)?;
    let files: Vec<_> = fs::read_dir(folder.path())?.collect::<io::Result<_>>()?;
    let dumped = |file: &&fs::DirEntry| file.path().extension().is_some_and(|end| end == "dot");
    assert!(
        files.iter().filter(dumped).count() > 0,
        "no pipeline was drawn"
    );
    for file in files {
        let text = fs::read(file.path())?;
        let text = String::from_utf8_lossy(&text);
        for secret in ["canary", "fal_jwt_token", "eyJ"] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{} has {secret}", file.path().display());
        }
    }
    let log = fs::read_to_string(folder.path().join("log"))?;
    assert!(
        log.contains("falwebrtcbin"),
        "the element's own words are heard"
    );
    Ok(())
}

#[test]
fn what_an_element_was_told_in_confidence_is_not_read_back() -> Result<()> {
    gst::init()?;
    gstfalwebrtc::plugin_register_static()?;
    let pipeline = gst::Pipeline::new();
    let element = gst::ElementFactory::make("falwebrtcbin")
        .property("api-key", KEY)
        .property(
            "turn-servers",
            gst::Array::new(["turn://user:canary-password@127.0.0.1:3478"]),
        )
        .build()?;
    pipeline.add(&element)?;

    let mut told = pipeline
        .debug_to_dot_data(gst::DebugGraphDetails::ALL)
        .to_string();
    for property in element.list_properties() {
        if property.flags().contains(gst::glib::ParamFlags::READABLE) {
            let value = element.property_value(property.name());
            write!(told, "{}={value:?} ", property.name())?;
        }
    }

    assert!(told.contains("run-url"));
    assert!(!told.contains("canary"), "{told}");
    Ok(())
}
