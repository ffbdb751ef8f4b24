//! The processor contract of `plugins/README.md`, the same checks on every element that fills the slot.

use gst::prelude::*;

const PROCESSORS: [&str; 3] = ["falwebrtcbin", "scopediffusion", "scopediffusionsrc"];

fn each(check: impl Fn(&gst::Element)) {
    gst::init().unwrap();
    gstscopediffusion::plugin_register_static().unwrap();
    gstfalwebrtc::plugin_register_static().unwrap();
    for processor in PROCESSORS {
        check(&gst::ElementFactory::make(processor).build().unwrap());
    }
}

fn parameters(processor: &gst::Element) -> serde_json::Value {
    serde_json::from_str(&processor.property::<String>("parameters")).unwrap()
}

fn apply(processor: &gst::Element, patch: &str) -> Option<String> {
    processor.emit_by_name("apply-parameters", &[&patch])
}

#[test]
fn initial_parameters_read_back() {
    each(|processor| {
        processor.set_property(
            "parameters",
            r#"{"prompts":[{"text":"night","weight":1.0}],"noise_scale":0.25}"#,
        );

        let read = parameters(processor);

        assert_eq!(read["prompts"][0]["text"], "night");
        assert_eq!(read["noise_scale"], 0.25);
    });
}

#[test]
fn a_patch_changes_what_it_names_and_nothing_else() {
    each(|processor| {
        processor.set_property("parameters", r#"{"prompt":"night","noise_scale":0.25}"#);
        let mut expected = parameters(processor);
        expected["noise_scale"] = 0.5.into();

        assert_eq!(apply(processor, r#"{"noise_scale":0.5}"#), None);

        assert_eq!(parameters(processor), expected);
    });
}

#[test]
fn a_bad_patch_is_refused_in_words_and_changes_nothing() {
    each(|processor| {
        let before = parameters(processor);

        let refused = apply(processor, r#"{"noise_scale":0.5,"paused":"perhaps"}"#);

        assert!(refused.is_some_and(|sentence| sentence.contains("paused")));
        assert_eq!(parameters(processor), before);
    });
}

#[test]
fn keys_of_other_processors_are_tolerated() {
    each(|processor| {
        assert_eq!(
            apply(
                processor,
                r#"{"vace_context_scale":1.0,"some_future_key":[1,2]}"#
            ),
            None
        );
    });
}

#[test]
fn what_was_read_can_be_written_back() {
    each(|processor| {
        let read = processor.property::<String>("parameters");

        assert_eq!(apply(processor, &read), None, "{read}");
    });
}

#[test]
fn stats_have_the_counters_everyone_reads() {
    each(|processor| {
        let stats = processor.property::<gst::Structure>("stats");

        for counter in ["frames-in", "frames-out", "frames-dropped"] {
            assert_eq!(stats.get::<u64>(counter), Ok(0), "{counter}");
        }
    });
}

#[test]
fn a_processor_that_cannot_go_on_says_so_before_its_error() {
    each(|processor| {
        let factory = processor.factory().unwrap().name();
        // A source of its own has nothing in front of it.
        let sizes = "video/x-raw,format=RGB,width=70,height=50";
        let text = match factory.ends_with("src") {
            true => format!("{factory} name=processor ! {sizes} ! fakesink"),
            false => {
                format!("videotestsrc ! {sizes} ! {factory} name=processor ! fakesink")
            }
        };
        let pipeline = gst::parse::launch(&text).unwrap();
        let bus = pipeline.bus().unwrap();
        // The refusal may come while the state changes or after it; either way it is on the bus.
        let _ = pipeline.set_state(gst::State::Playing);

        let mut reason = None;
        let error = loop {
            let message = bus
                .timed_pop_filtered(
                    gst::ClockTime::from_seconds(20),
                    &[gst::MessageType::Element, gst::MessageType::Error],
                )
                .expect("an error");
            match message.view() {
                gst::MessageView::Error(error) => break error.error().message().to_owned(),
                gst::MessageView::Element(element) => {
                    let structure = element
                        .structure()
                        .filter(|structure| structure.name() == "processor-stopped");
                    reason = structure
                        .map(|structure| structure.get::<String>("reason").unwrap())
                        .or(reason);
                }
                _ => unreachable!(),
            }
        };
        pipeline.set_state(gst::State::Null).unwrap();

        assert_eq!(reason, Some(error));
    });
}
