//! Keys, tokens and passwords stay where they belong.

use std::fs;

use scope_tests::house;

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
