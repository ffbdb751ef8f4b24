//! What an application learns from the bus and the read-only properties while a model loads and runs.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod ground;

use ground::{ELEMENT, init};
use gst::prelude::*;

/// The element messages of an element on its way to READY, which it reaches.
fn told(provider: &str) -> (gst::Element, Vec<gst::Structure>) {
    told_of("", provider)
}

fn told_of(dir: &str, provider: &str) -> (gst::Element, Vec<gst::Structure>) {
    init();
    let element = gst::ElementFactory::make(ELEMENT)
        .property("model-dir", Some(dir).filter(|dir| !dir.is_empty()))
        .property_from_str("execution-provider", provider)
        .build()
        .unwrap();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    element.set_state(gst::State::Ready).unwrap();
    let kind = [gst::MessageType::Element];
    let messages = std::iter::from_fn(|| bus.pop_filtered(&kind));
    let told = messages.filter_map(|message| message.structure().map(ToOwned::to_owned));
    let told = told.collect();
    element.set_bus(None::<&gst::Bus>);
    (element, told)
}

fn named<'m>(told: &'m [gst::Structure], name: &str) -> Vec<&'m gst::Structure> {
    told.iter()
        .filter(|message| message.name() == name)
        .collect()
}

#[test]
fn a_loaded_model_is_announced_once_with_its_provider() {
    let (element, told) = told("cpu");

    let ready = named(&told, "model-ready");
    assert_eq!(ready.len(), 1, "{told:?}");
    assert_eq!(ready[0].get::<&str>("provider"), Ok("cpu"));
    assert_eq!(ready[0].get::<&str>("name"), Ok("scope-tiny"));
    assert!(ready[0].get::<u64>("took-ms").is_ok());
    assert!(
        named(&told, "provider-fallback").is_empty(),
        "the CPU was asked for"
    );
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn auto_that_takes_the_cpu_says_so_and_why() {
    let (element, told) = told("auto");
    let info = element.property::<gst::Structure>("model-info");
    let provider = info.get::<String>("provider").unwrap();

    let fallbacks = named(&told, "provider-fallback");

    if provider == "cpu" {
        assert_eq!(fallbacks.len(), 1, "{told:?}");
        let reason = fallbacks[0].get::<String>("reason").unwrap();
        assert!(
            reason.contains("missing"),
            "it names what is missing: {reason}"
        );
        assert_eq!(info.get::<String>("provider-fallback"), Ok(reason));
    } else {
        assert!(fallbacks.is_empty(), "{told:?}");
    }
    element.set_state(gst::State::Null).unwrap();
}

#[test]
fn every_graph_tells_who_runs_how_much_of_it() {
    let (element, _) = told("cpu");
    let info = element.property::<gst::Structure>("model-info");

    let graphs = info.get::<gst::Structure>("graphs").unwrap();

    for graph in ["text-encoder", "unet", "vae-encoder", "vae-decoder"] {
        let said = graphs.get::<String>(graph).unwrap();
        let operations = said
            .strip_prefix("cpu ")
            .unwrap_or_else(|| panic!("{graph}: {said}"));
        assert!(operations.parse::<u32>().unwrap() > 0, "{graph}: {said}");
    }
    element.set_state(gst::State::Null).unwrap();
}

fn inspected(dir: &str) -> gst::Structure {
    init();
    let element = gst::ElementFactory::make(ELEMENT).build().unwrap();
    element.emit_by_name("inspect-model", &[&dir])
}

#[test]
fn what_the_files_tell_is_what_loading_shows() {
    let folders = [
        "golden/model-tiny",
        "golden/xl/model-tiny-xl",
        "exported/model",
    ];
    let folders = folders.map(|name| format!("{}/engine/tests/{name}", env!("CARGO_MANIFEST_DIR")));
    for dir in [""].into_iter().chain(folders.iter().map(String::as_str)) {
        let mut told = inspected(dir);
        let (element, _) = told_of(dir, "cpu");
        let info = element.property::<gst::Structure>("model-info");

        let bytes = told.get::<u64>("bytes").unwrap();
        assert!(bytes > 10_000, "{dir}: {bytes}");
        told.remove_field("bytes");
        for (name, value) in told.iter() {
            let loaded = info
                .value(name)
                .unwrap_or_else(|_| panic!("{dir}: no {name}"));
            assert_eq!(format!("{value:?}"), format!("{loaded:?}"), "{dir}: {name}");
        }
        assert_eq!(told.has_field("width"), info.has_field("width"), "{dir}");
        element.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn a_folder_that_cannot_be_used_is_told_with_the_reason() {
    let empty = tempfile::tempdir().unwrap();

    let told = inspected(empty.path().to_str().unwrap());

    assert_eq!(told.name(), "unusable-model");
    let reason = told.get::<String>("reason").unwrap();
    assert!(
        reason.contains("unet") && reason.contains("missing"),
        "{reason}"
    );
}
