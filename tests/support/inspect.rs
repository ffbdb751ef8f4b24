//! An element as `gst-inspect-1.0` shows it, less what changes with the machine or the GStreamer version.
//!
//! Signals cannot be listed from safe Rust: those are read off `gst-inspect-1.0` itself.

use std::fmt::Write as _;

use gst::glib;
use gst::prelude::*;

/// The public surface of one element but its signals: class, pads, properties.
pub fn element(factory: &str) -> String {
    let factory =
        gst::ElementFactory::find(factory).unwrap_or_else(|| panic!("no element `{factory}`"));
    let mut text = String::new();
    for key in ["long-name", "klass", "description"] {
        writeln!(text, "{key}: {}", factory.metadata(key).unwrap_or_default()).unwrap();
    }
    writeln!(text, "rank: {:?}", factory.rank()).unwrap();
    for template in factory.static_pad_templates() {
        writeln!(
            text,
            "\npad {} ({:?}, {:?})",
            template.name_template(),
            template.direction(),
            template.presence()
        )
        .unwrap();
        for structure in template.caps().iter() {
            writeln!(text, "  {structure}").unwrap();
        }
    }
    let element = factory.create().build().unwrap();
    let own: Vec<_> = element
        .list_properties()
        .iter()
        .filter(|spec| spec.owner_type() == element.type_())
        .map(property)
        .collect();
    writeln!(text, "\nproperties:\n{}", own.join("\n")).unwrap();
    text
}

/// The signals and actions in a text that `gst-inspect-1.0` printed; what its versions write differently is evened out:
/// blank lines, indentation, and the space in front of a pointer's star.
pub fn signals(printed: &str) -> String {
    let from = printed.lines().skip_while(|line| {
        !(line.starts_with("Element Signals") || line.starts_with("Element Actions"))
    });
    let words = from.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    words
        .filter(|line| !line.is_empty())
        .map(|line| line.replace(" *", "*"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn property(spec: &glib::ParamSpec) -> String {
    let changeable = [
        (
            gst::PARAM_FLAG_MUTABLE_PLAYING,
            "changeable in NULL, READY, PAUSED or PLAYING",
        ),
        (
            gst::PARAM_FLAG_MUTABLE_PAUSED,
            "changeable in NULL, READY or PAUSED",
        ),
        (gst::PARAM_FLAG_MUTABLE_READY, "changeable in NULL or READY"),
    ];
    let flags = spec.flags();
    let mut said = Vec::new();
    if !flags.contains(glib::ParamFlags::READABLE) {
        said.push("write only");
    }
    if !flags.contains(glib::ParamFlags::WRITABLE) {
        said.push("read only");
    }
    if flags.contains(gst::PARAM_FLAG_CONTROLLABLE) {
        said.push("controllable");
    }
    said.extend(
        changeable
            .iter()
            .find(|(flag, _)| flags.contains(*flag))
            .map(|(_, text)| *text),
    );
    format!(
        "  {}: {}\n    {}\n    {}, default {}{}",
        spec.name(),
        spec.blurb().unwrap_or("NO BLURB"),
        said.join(", "),
        spec.value_type().name(),
        default(spec),
        range(spec),
    )
}

fn default(spec: &glib::ParamSpec) -> String {
    // Serialising an absent structure is a critical warning in GStreamer.
    if spec.value_type() == gst::Structure::static_type() {
        return "none".into();
    }
    let text = spec.default_value().serialize();
    text.map_or_else(|_| "none".into(), |text| text.to_string())
}

fn range(spec: &glib::ParamSpec) -> String {
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecFloat>() {
        format!(", {} to {}", spec.minimum(), spec.maximum())
    } else if let Some(spec) = spec.downcast_ref::<glib::ParamSpecInt>() {
        format!(", {} to {}", spec.minimum(), spec.maximum())
    } else if let Some(spec) = spec.downcast_ref::<glib::ParamSpecUInt>() {
        format!(", {} to {}", spec.minimum(), spec.maximum())
    } else if let Some(spec) = spec.downcast_ref::<glib::ParamSpecUInt64>() {
        format!(", {} to {}", spec.minimum(), spec.maximum())
    } else if let Some(class) = glib::EnumClass::with_type(spec.value_type()) {
        let values: Vec<_> = class.values().iter().map(|value| value.nick()).collect();
        format!(", one of {}", values.join(" "))
    } else {
        String::new()
    }
}
