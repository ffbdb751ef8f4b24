//! What every test of the elements stands on.

#![allow(
    dead_code,
    clippy::unwrap_used,
    reason = "each test binary uses its part of it, and a failing helper fails its test"
)]

use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};

use gst::prelude::*;

/// Longer than anything here takes on a busy machine.
pub(crate) const GENEROUS: gst::ClockTime = gst::ClockTime::from_seconds(20);

/// Registers the plugin from the linked library, so that no installed one is in the way.
pub(crate) fn init() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        gst::init().unwrap();
        gstspout::plugin_register_static().unwrap();
    });
}

/// A sender name that no other test has.
pub(crate) fn name() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("test {} {count}", std::process::id())
}

pub(crate) fn caps(format: &str, width: i32, height: i32) -> gst::Caps {
    init();
    gst::Caps::builder("video/x-raw")
        .field("format", format)
        .field("width", width)
        .field("height", height)
        .field("framerate", gst::Fraction::new(30, 1))
        .build()
}

/// A pipeline that is stopped when dropped.
pub(crate) struct Running {
    pub(crate) pipeline: gst::Pipeline,
}

impl Running {
    pub(crate) fn launch(text: &str) -> Self {
        init();
        let pipeline = gst::parse::launch(text)
            .unwrap()
            .downcast::<gst::Pipeline>()
            .unwrap();
        Self { pipeline }
    }

    pub(crate) fn play(self) -> Self {
        self.pipeline.set_state(gst::State::Playing).unwrap();
        self
    }

    pub(crate) fn element(&self, name: &str) -> gst::Element {
        self.pipeline.by_name(name).unwrap()
    }

    pub(crate) fn stats(&self, name: &str, field: &str) -> u64 {
        let stats = self
            .element(name)
            .property::<Option<gst::Structure>>("stats");
        stats.map_or(0, |stats| stats.get(field).unwrap())
    }

    /// The next element message of this name; an error on the bus fails the test.
    #[track_caller]
    pub(crate) fn message(&self, name: &str) -> gst::Structure {
        let bus = self.pipeline.bus().unwrap();
        let kinds = [gst::MessageType::Element, gst::MessageType::Error];
        loop {
            let message = bus.timed_pop_filtered(GENEROUS, &kinds);
            let message = message.unwrap_or_else(|| panic!("no `{name}` came"));
            match message.view() {
                gst::MessageView::Error(error) => panic!("{}", error.error()),
                gst::MessageView::Element(element) => {
                    if let Some(structure) = element.structure().filter(|s| s.name() == name) {
                        return structure.to_owned();
                    }
                }
                _ => {}
            }
        }
    }

    /// The text of the error that ends it.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        let bus = self.pipeline.bus().unwrap();
        let message = bus
            .timed_pop_filtered(GENEROUS, &[gst::MessageType::Error])
            .expect("no error came");
        match message.view() {
            gst::MessageView::Error(error) => error.error().to_string(),
            _ => unreachable!("only errors were asked for"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

/// Frames in by hand, to a `spoutsink`.
pub(crate) struct Sending {
    pub(crate) running: Running,
    source: gst_app::AppSrc,
    count: u64,
}

impl Sending {
    pub(crate) fn new(sender: &str, caps: &gst::Caps) -> Self {
        let text = format!(
            "appsrc name=source is-live=true format=time do-timestamp=true ! spoutsink name=sink sync=false sender-name=\"{sender}\""
        );
        let running = Running::launch(&text);
        let source = running
            .element("source")
            .downcast::<gst_app::AppSrc>()
            .unwrap();
        source.set_caps(Some(caps));
        let running = running.play();
        Self {
            running,
            source,
            count: 0,
        }
    }

    pub(crate) fn caps(&self, caps: &gst::Caps) {
        self.source.set_caps(Some(caps));
    }

    /// Sends a frame and waits until the sink has shown it.
    pub(crate) fn send(&mut self, bytes: Vec<u8>) {
        self.source
            .push_buffer(gst::Buffer::from_mut_slice(bytes))
            .unwrap();
        self.count += 1;
        let begun = std::time::Instant::now();
        while self.running.stats("sink", "frames-sent")
            + self.running.stats("sink", "frames-dropped")
            < self.count
        {
            assert!(begun.elapsed().as_secs() < 20, "the frame was not shown");
            std::thread::yield_now();
        }
    }
}

/// Frames out by hand, from a `spoutsrc`.
pub(crate) struct Receiving {
    pub(crate) running: Running,
    sink: gst_app::AppSink,
}

impl Receiving {
    pub(crate) fn new(sender: &str, properties: &str) -> Self {
        let text = format!(
            "spoutsrc name=source sender-name=\"{sender}\" {properties} ! appsink name=sink sync=false max-buffers=2 enable-last-sample=false"
        );
        let running = Running::launch(&text);
        let sink = running
            .element("sink")
            .downcast::<gst_app::AppSink>()
            .unwrap();
        let running = running.play();
        Self { running, sink }
    }

    #[track_caller]
    pub(crate) fn sample(&self) -> gst::Sample {
        self.sink.try_pull_sample(GENEROUS).expect("no frame came")
    }

    pub(crate) fn try_sample(&self, wait: u64) -> Option<gst::Sample> {
        self.sink
            .try_pull_sample(gst::ClockTime::from_mseconds(wait))
    }

    /// The bytes of the next frame.
    #[track_caller]
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let sample = self.sample();
        sample.buffer().unwrap().map_readable().unwrap().to_vec()
    }
}
