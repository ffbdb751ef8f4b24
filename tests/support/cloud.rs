//! A pipeline with `falwebrtcbin` in the middle, its far end, and eyes on what comes out.

use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use gst::prelude::*;
use serde_json::Value;

use crate::FalApp;

/// The key that every test uses, and that must be seen nowhere.
pub const KEY: &str = "canary-id:canary-secret-5d1f0c";
/// Nothing here takes longer, whatever else the machine does.
pub const PATIENCE: Duration = Duration::from_secs(40);

/// One picture as it came out.
#[derive(Debug, Clone)]
pub struct Seen {
    /// Its timestamp.
    pub pts: Option<gst::ClockTime>,
    /// Mean of all bytes of its first plane.
    pub brightness: f64,
    /// Of the picture.
    pub size: (u32, u32),
    /// When it came.
    pub at: Instant,
}

/// The running whole.
#[derive(Debug)]
pub struct Cloud {
    /// The far end.
    pub app: FalApp,
    /// `falwebrtcbin` of it.
    pub bin: gst::Element,
    /// Everything.
    pub pipeline: Stopping,
    seen: Receiver<Seen>,
}

impl Cloud {
    /// A live grey source of brightness 60 into the app's endpoint `path`, with more properties as in a launch text.
    ///
    /// # Errors
    ///
    /// The app does not start, or the text does not parse.
    pub fn new(path: &str, properties: &str) -> Result<Self> {
        let source = "videotestsrc is-live=true pattern=solid-color foreground-color=0xff3c3c3c \
             ! video/x-raw,format=I420,width=320,height=240,framerate=30/1";
        Self::with_source(source, path, properties)
    }

    /// As [`Cloud::new`], from another source.
    ///
    /// # Errors
    ///
    /// The app does not start, or the text does not parse.
    pub fn with_source(source: &str, path: &str, properties: &str) -> Result<Self> {
        let app = FalApp::start(Some(KEY))?;
        let text = format!(
            "{source} ! falwebrtcbin name=cloud app-id=owner/app path={path} run-url=ws://{address} \
             rest-url=http://{address} wma-url=http://{address} {properties} ! appsink name=out sync=false max-buffers=0",
            address = app.address
        );
        let pipeline = gst::parse::launch(&text)?
            .downcast::<gst::Pipeline>()
            .map_err(|_| anyhow!("no pipeline"))?;
        let bin = pipeline.by_name("cloud").context("no element")?;
        bin.set_property("api-key", KEY);
        bin.set_property("stun-server", None::<&str>);
        let (tell, seen) = mpsc::channel();
        let sink = pipeline
            .by_name("out")
            .and_downcast::<gst_app::AppSink>()
            .context("no sink")?;
        let look = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let Some(look) = look(&sample) {
                // A test that has seen enough does not listen.
                tell.send(look).ok();
            }
            Ok(gst::FlowSuccess::Ok)
        };
        sink.set_callbacks(
            gst_app::AppSinkCallbacks::builder()
                .new_sample(look)
                .build(),
        );
        Ok(Self {
            app,
            bin,
            pipeline: Stopping(pipeline),
            seen,
        })
    }

    /// Starts it.
    ///
    /// # Errors
    ///
    /// It refuses.
    pub fn play(&self) -> Result<()> {
        self.pipeline.set_state(gst::State::Playing)?;
        Ok(())
    }

    /// The stage it stands in.
    pub fn stage(&self) -> String {
        self.bin.property("stage")
    }

    /// Waits for a stage.
    ///
    /// # Errors
    ///
    /// It does not come; the statistics say what is instead.
    pub fn await_stage(&self, stage: &str) -> Result<()> {
        self.until(
            &format!("stage {stage}"),
            |cloud| Ok(cloud.stage() == stage),
        )
    }

    /// Waits until something is so.
    ///
    /// # Errors
    ///
    /// It is not, after [`PATIENCE`].
    pub fn until(&self, what: &str, so: impl Fn(&Self) -> Result<bool>) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !so(self)? {
            if Instant::now() > end {
                bail!("no {what}: {:?}, {:#}", self.stats(), self.app.report()?);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Property `stats`.
    pub fn stats(&self) -> gst::Structure {
        self.bin.property("stats")
    }

    /// The next picture.
    ///
    /// # Errors
    ///
    /// None comes.
    pub fn picture(&self) -> Result<Seen> {
        self.seen
            .recv_timeout(PATIENCE)
            .with_context(|| format!("no picture: {:?}", self.stats()))
    }

    /// The next picture whose brightness is near to this one.
    ///
    /// # Errors
    ///
    /// None comes.
    pub fn picture_like(&self, brightness: f64) -> Result<Seen> {
        let end = Instant::now() + PATIENCE;
        loop {
            let seen = self.picture()?;
            if (seen.brightness - brightness).abs() < 6.0 {
                return Ok(seen);
            }
            if Instant::now() > end {
                bail!(
                    "no picture of brightness {brightness}, the last has {}: {:?}",
                    seen.brightness,
                    self.stats()
                );
            }
        }
    }

    /// Every picture that waits to be looked at.
    pub fn waiting(&self) -> Vec<Seen> {
        self.seen.try_iter().collect()
    }

    /// What the app knows.
    ///
    /// # Errors
    ///
    /// It has died.
    pub fn report(&self) -> Result<Value> {
        self.app.report()
    }

    /// Waits for a stage message with a reason, and gives the reason.
    ///
    /// # Errors
    ///
    /// It does not come, or the pipeline fails.
    pub fn reason_of(&self, stage: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            for said in self.messages("connection-stage")? {
                if said.get::<&str>("stage") == Ok(stage)
                    && let Ok(reason) = said.get::<String>("reason")
                {
                    return Ok(reason);
                }
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("no reason for stage {stage}: {:?}", self.stats())
    }

    /// Messages of this name that wait on the bus, and errors among them as failures.
    ///
    /// # Errors
    ///
    /// There is an ERROR message.
    pub fn messages(&self, name: &str) -> Result<Vec<gst::Structure>> {
        let bus = self.pipeline.bus().context("no bus")?;
        let mut found = Vec::new();
        while let Some(message) =
            bus.pop_filtered(&[gst::MessageType::Element, gst::MessageType::Error])
        {
            if let gst::MessageView::Error(error) = message.view() {
                bail!("{}: {:?}", error.error(), error.debug());
            }
            found.extend(
                message
                    .structure()
                    .filter(|said| said.name() == name)
                    .map(ToOwned::to_owned),
            );
        }
        Ok(found)
    }

    /// Lets everything go but the app.
    ///
    /// # Errors
    ///
    /// The pipeline does not stop.
    pub fn into_app(self) -> Result<FalApp> {
        self.stop()?;
        let Self { app, .. } = self;
        Ok(app)
    }

    /// Stops it; pictures that come after are none of it.
    ///
    /// # Errors
    ///
    /// It does not stop.
    pub fn stop(&self) -> Result<()> {
        self.pipeline.set_state(gst::State::Null)?;
        Ok(())
    }
}

/// Stops the pipeline before it goes.
#[derive(Debug)]
pub struct Stopping(gst::Pipeline);

impl std::ops::Deref for Stopping {
    type Target = gst::Pipeline;

    fn deref(&self) -> &gst::Pipeline {
        &self.0
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

fn look(sample: &gst::Sample) -> Option<Seen> {
    let info = gst_video::VideoInfo::from_caps(sample.caps()?).ok()?;
    let buffer = sample.buffer()?;
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info).ok()?;
    let plane = frame.plane_data(0).ok()?;
    let sum: u64 = plane.iter().map(|byte| u64::from(*byte)).sum();
    Some(Seen {
        pts: buffer.pts(),
        brightness: sum as f64 / plane.len() as f64,
        size: (info.width(), info.height()),
        at: Instant::now(),
    })
}
