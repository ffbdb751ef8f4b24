//! The meeting point of one session's pipelines: frames from one to the next, the newest first.
//!
//! Appsinks call in from streaming threads, appsrcs ask when they want a frame: a second frame that comes before the
//! first was taken replaces it and is counted. Nothing here waits. Sources, processors and outputs are put in and
//! taken away while frames flow; [`Switch`] decides whose picture is shown.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::inlet::{Door, Frame, Inlet};
use super::meter::Meter;
use super::switch::{Lane, Switch};

/// Where frames come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// The client's own picture.
    Client,
    /// Another application's, shared on this machine.
    Share,
    /// A file's, or a test picture.
    Film,
}

/// Where pictures go besides the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// Shared with other applications on this machine.
    Share,
    /// Recorded, under a number of the session's.
    Record(u64),
    /// The same, but what comes in is recorded.
    RecordInput(u64),
}

impl Output {
    /// Whether frames go there as they come in, before any processor.
    fn is_early(self) -> bool {
        matches!(self, Self::RecordInput(_))
    }
}

/// One session's crossing.
#[derive(Debug)]
pub(crate) struct Handover {
    born: Instant,
    meter: Mutex<Meter>,
    paused: AtomicBool,
    /// The way to the client, if there is one.
    client: Option<Inlet>,
    ways: Mutex<Ways>,
    last: Mutex<Option<Frame>>,
}

/// What is connected right now.
#[derive(Debug)]
struct Ways {
    source: Source,
    switch: Switch,
    /// `None` is straight across, or a chain that makes its own frames.
    home: Option<Arc<Inlet>>,
    cloud: Option<Arc<Inlet>>,
    outputs: Vec<(Output, Arc<dyn Door>)>,
}

impl Handover {
    /// With a home processor's door, decoded frames go through it; without, straight to the outputs.
    pub(crate) fn new(born: Instant, client: Option<Inlet>, home: Option<Inlet>) -> Self {
        Self {
            born,
            meter: Mutex::default(),
            paused: AtomicBool::new(false),
            client,
            ways: Mutex::new(Ways {
                source: Source::Client,
                switch: Switch::default(),
                home: home.map(Arc::new),
                cloud: None,
                outputs: Vec::new(),
            }),
            last: Mutex::new(None),
        }
    }

    /// Takes frames from this source only.
    pub(crate) fn set_source(&self, source: Source) {
        self.ways.lock().unwrap().source = source;
    }

    /// Puts other local processors in place of the ones before.
    pub(crate) fn set_home(&self, door: Option<Inlet>) {
        self.ways.lock().unwrap().home = door.map(Arc::new);
    }

    /// Sends frames to a cloud lane too, and shows its pictures once they come steadily.
    pub(crate) fn attach_cloud(&self, door: Arc<Inlet>, falls_back: bool) {
        let mut ways = self.ways.lock().unwrap();
        ways.cloud = Some(door);
        ways.switch.attach(falls_back);
    }

    /// The cloud lane says that it is lost: home takes over with the next frame.
    pub(crate) fn lose_cloud(&self) {
        self.ways.lock().unwrap().switch.lose();
    }

    /// Home is shown from the next frame on.
    pub(crate) fn detach_cloud(&self) {
        let mut ways = self.ways.lock().unwrap();
        ways.cloud = None;
        ways.switch.detach();
    }

    /// Puts an output in, or takes it away. A recording begins with the picture in view, which may be held.
    pub(crate) fn set_output(&self, output: Output, door: Option<Arc<dyn Door>>) {
        let in_view = match (output, &door) {
            (Output::Record(_), Some(door)) => {
                let last = self.last.lock().unwrap().clone();
                last.map(|frame| (door.clone(), frame))
            }
            _ => None,
        };
        if let Some((door, mut frame)) = in_view {
            door.push(&mut frame);
        }
        let mut ways = self.ways.lock().unwrap();
        ways.outputs.retain(|(known, _)| *known != output);
        ways.outputs.extend(door.map(|door| (output, door)));
    }

    /// Whose pictures are in view, when there is a cloud lane.
    pub(crate) fn shown(&self) -> Option<Lane> {
        let ways = self.ways.lock().unwrap();
        ways.switch.has_cloud().then(|| ways.switch.shown())
    }

    /// A frame from a source, with the RTP timestamp it came with.
    pub(crate) fn decoded(&self, from: Source, sample: &gst::Sample, mark: Option<u32>) {
        let Some(mut frame) = Frame::take(sample, mark) else {
            return;
        };
        let now = self.born.elapsed();
        let (home, cloud, straight) = {
            let mut ways = self.ways.lock().unwrap();
            if ways.source != from {
                return;
            }
            let at_home = ways.switch.feeds_home(now);
            let straight = at_home && ways.home.is_none();
            (
                ways.home.clone().filter(|_| at_home),
                ways.cloud.clone(),
                straight,
            )
        };
        self.count_input();
        if self.is_paused() {
            return;
        }
        self.give(&mut frame, true);
        let mut lost = 0;
        for door in [cloud, home].into_iter().flatten() {
            lost += u64::from(door.push(&mut frame));
        }
        if lost > 0 {
            self.meter.lock().unwrap().dropped += lost;
        }
        if straight {
            self.show(frame);
        }
    }

    /// A frame was made inside the home chain: true if it should be worked on there. A cloud lane gets it too, as its
    /// pulse.
    pub(crate) fn made(&self, caps: Option<gst::Caps>, buffer: Option<gst::Buffer>) -> bool {
        if self.is_paused() {
            return false;
        }
        self.count_input();
        let now = self.born.elapsed();
        let (at_home, cloud) = {
            let mut ways = self.ways.lock().unwrap();
            (ways.switch.feeds_home(now), ways.cloud.clone())
        };
        let frame = caps.zip(buffer).map(|(caps, buffer)| Frame {
            caps,
            buffer,
            mark: None,
        });
        if let Some((cloud, mut frame)) = cloud.zip(frame)
            && cloud.push(&mut frame)
        {
            self.meter.lock().unwrap().dropped += 1;
        }
        at_home
    }

    /// A picture from a lane's processors, `age` after the frame of this mark went in.
    pub(crate) fn processed(
        &self,
        lane: Lane,
        sample: &gst::Sample,
        age: Option<Duration>,
        mark: Option<u32>,
    ) {
        let Some(frame) = Frame::take(sample, mark) else {
            return;
        };
        let now = self.born.elapsed();
        let shown = self.ways.lock().unwrap().switch.shows(lane, now);
        if !shown {
            return;
        }
        if let Some(age) = age {
            self.meter.lock().unwrap().processing.add(age);
        }
        if !self.is_paused() {
            self.show(frame);
        }
    }

    /// A frame left the encoder, `age` after it went in.
    pub(crate) fn encoded(&self, age: Duration) {
        let mut meter = self.meter.lock().unwrap();
        if meter.encoding.is_empty() {
            tracing::debug!(after = ?self.born.elapsed(), "the first frame is on its way");
        }
        meter.encoding.add(age);
    }

    pub(crate) fn set_paused(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Sends the last picture again, so that a held stream still answers key frame requests.
    pub(crate) fn repeat(&self) {
        let last = self.last.lock().unwrap().clone();
        if let Some((client, mut frame)) = self.client.as_ref().zip(last) {
            frame.mark = None;
            client.push(&mut frame);
        }
    }

    /// The picture in view.
    pub(crate) fn picture(&self) -> Option<Frame> {
        self.last.lock().unwrap().clone()
    }

    /// Size of the picture that goes to the encoder.
    pub(crate) fn size(&self) -> Option<(u32, u32)> {
        self.last.lock().unwrap().clone()?.size()
    }

    /// When the last frame came in, since the session began.
    pub(crate) fn last_input(&self) -> Option<Duration> {
        self.meter.lock().unwrap().input.last()
    }

    /// When the last picture went out, since the session began.
    pub(crate) fn last_output(&self) -> Option<Duration> {
        self.meter.lock().unwrap().output.last()
    }

    pub(crate) fn meter(&self) -> Meter {
        self.meter.lock().unwrap().clone()
    }

    fn count_input(&self) {
        let now = self.born.elapsed();
        let mut meter = self.meter.lock().unwrap();
        if meter.input.total() == 0 {
            tracing::debug!(after = ?now, "the first frame came in");
        }
        meter.input.count(now);
    }

    /// Gives a frame to the outputs before or behind the processors; each stamps it with its own time.
    fn give(&self, frame: &mut Frame, early: bool) {
        let outputs: Vec<_> = {
            let ways = self.ways.lock().unwrap();
            let meant = |(output, _): &&(Output, _)| output.is_early() == early;
            let meant = ways.outputs.iter().filter(meant);
            meant.map(|(_, door)| door.clone()).collect()
        };
        for output in outputs {
            output.push(frame);
        }
    }

    /// Gives a picture to every output and the client.
    fn show(&self, mut frame: Frame) {
        self.give(&mut frame, false);
        let replaced = self
            .client
            .as_ref()
            .is_some_and(|client| client.push(&mut frame));
        let now = self.born.elapsed();
        {
            let mut meter = self.meter.lock().unwrap();
            meter.output.count(now);
            meter.dropped += u64::from(replaced);
        }
        self.last.lock().unwrap().replace(frame);
    }
}
