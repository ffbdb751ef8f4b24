//! The house stays as drawn: arrows, purity, file sizes, one room for each third-party crate that defines one.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use scope_tests::house;

/// Every arrow between our crates, and no other.
const ARROWS: &[(&str, &str)] = &[
    ("gst-plugin-falwebrtc", "fal-client"),
    ("gst-plugin-falwebrtc", "foreign-text"),
    ("gst-plugin-falwebrtc", "webrtc-live"),
    ("gst-plugin-scopediffusion", "diffusion-engine"),
    ("gst-plugin-scopediffusion", "foreign-text"),
    ("scope-controller", "fal-client"),
    ("scope-controller", "gst-plugin-falwebrtc"),
    ("scope-controller", "gst-plugin-scopediffusion"),
    ("scope-controller", "gst-plugin-spout"),
    ("scope-controller", "webrtc-live"),
    ("webrtc-live", "foreign-text"),
    ("scope-tests", "fal-client"),
    ("gst-plugin-spout", "foreign-text"),
    ("gst-plugin-spout", "texture-share"),
    ("scope-tests", "gst-plugin-falwebrtc"),
    ("scope-tests", "gst-plugin-scopediffusion"),
    ("scope-tests", "gst-plugin-spout"),
    ("scope-tests", "texture-share"),
    ("scope-tests", "scope-controller"),
];

/// Crates without GStreamer, clock or environment, and the files in them that are windows to the world.
const PURE: &[(&str, &[&str])] = &[
    ("plugins/scopediffusion/engine/src", &["backend/ort"]),
    ("plugins/falwebrtc/fal/src", &["net/"]),
    (
        "plugins/falwebrtc/live/src",
        &[
            "channel", "codec", "error", "feed", "ice", "outlet", "reports", "rtp", "turn",
        ],
    ),
    (
        "plugins/spout/share/src",
        &["backend/pipewire", "backend/shm", "backend/spout"],
    ),
];

const NOT_IN_PURE_CODE: [&str; 8] = [
    "gst::",
    "gst_video",
    "tokio::",
    "Instant::now",
    "SystemTime::now",
    "std::env",
    "println!",
    "std::thread::sleep",
];

/// Third-party crates that define a room, and the room.
const ROOMS: &[(&str, &[&str])] = &[
    ("ort::", &["plugins/scopediffusion/engine/src/backend/ort"]),
    (
        "tokenizers::",
        &["plugins/scopediffusion/engine/src/tokenizer"],
    ),
    (
        "libloading::",
        &[
            "plugins/scopediffusion/engine/src/backend/ort",
            "plugins/spout/share/src/backend/pipewire/library",
            "plugins/spout/src/d3d11/library",
        ],
    ),
    (
        "rustix::",
        &[
            "plugins/spout/share/src/backend/shm",
            "controller/src/library/shelf",
        ],
    ),
    ("windows::", &["plugins/spout/share/src/backend/spout"]),
    (
        "axum::",
        &[
            "controller/src/api",
            "controller/src/app_socket",
            "controller/src/guard",
            "controller/src/page",
            "controller/src/server",
        ],
    ),
    ("reqwest::", &["plugins/falwebrtc/fal/src/net/"]),
    ("tokio_tungstenite::", &["plugins/falwebrtc/fal/src/net/"]),
    ("rustls::", &["plugins/falwebrtc/fal/src/net/"]),
    ("rmpv::", &["plugins/falwebrtc/fal/src/signalling/encoding"]),
    (
        "gst_webrtc::",
        &[
            "controller/src/media",
            "controller/src/session",
            "controller/tests",
            "controller/src/cli/bench",
            "plugins/falwebrtc/src",
        ],
    ),
];

const LONGEST_FILE: usize = 500;

#[test]
fn arrows_point_down_and_none_is_missing_from_the_plan() {
    let metadata = house::metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let ours: BTreeSet<&str> = packages
        .iter()
        .filter(|package| package["source"].is_null())
        .map(|package| package["name"].as_str().unwrap())
        .collect();
    let mut drawn = BTreeSet::new();
    for package in packages
        .iter()
        .filter(|package| package["source"].is_null())
    {
        for dependency in package["dependencies"].as_array().unwrap() {
            let name = dependency["name"].as_str().unwrap();
            if ours.contains(name) {
                drawn.insert((package["name"].as_str().unwrap(), name));
            }
        }
    }
    let planned: BTreeSet<_> = ARROWS.iter().copied().collect();
    assert_eq!(drawn, planned);
}

#[test]
fn pure_code_has_no_window_but_the_named_ones() {
    let mut broken = Vec::new();
    for &(folder, windows) in PURE {
        let folder = house::root().join(folder);
        for file in house::files(&folder, &[".rs"]) {
            let name = file
                .strip_prefix(&folder)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            if windows.iter().any(|window| name.starts_with(window)) {
                continue;
            }
            let text = code_of(&file);
            broken.extend(
                NOT_IN_PURE_CODE
                    .iter()
                    .filter(|word| text.contains(**word))
                    .map(|word| format!("{name}: {word}")),
            );
        }
    }
    assert!(
        broken.is_empty(),
        "pure code names the outside world: {broken:#?}"
    );
}

#[test]
fn a_crate_that_defines_a_room_stays_in_it() {
    let root = house::root();
    let mut strays = Vec::new();
    for file in house::files(&root, &[".rs"]) {
        let name = file
            .strip_prefix(&root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("tests/") || name.contains("/tests/") {
            continue;
        }
        let text = code_of(&file);
        for &(word, rooms) in ROOMS {
            if mentions(&text, word) && !rooms.iter().any(|room| name.starts_with(room)) {
                strays.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(strays.is_empty(), "outside their room: {strays:#?}");
}

#[test]
fn no_source_file_is_longer_than_two_sittings() {
    let long: Vec<_> = house::files(&house::root(), &[".rs", ".js", ".py", ".css", ".html"])
        .into_iter()
        .map(|file| (fs::read_to_string(&file).unwrap().lines().count(), file))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .collect();
    assert!(
        long.is_empty(),
        "split where a reader would look for the piece by name: {long:#?}"
    );
}

/// The text of a source file up to its unit tests, comments left out.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether `word` (a path like `ort::`) occurs as a path of its own, not as the end of a longer name.
fn mentions(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || before == '_' || before == ':')
    })
}
