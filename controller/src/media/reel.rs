//! The door into a recording: every picture with the time it was shown at.

use std::sync::Mutex;

use gst::prelude::*;

use webrtc_live::Codec;
use webrtc_live::codec::Encoder;

use super::codec;
use super::inlet::{Door, Frame};

/// Pictures at the door: what may come at once after a stall. The encoder's own queue lies behind the conversion, so that
/// a picture is let go of as soon as it is converted: it may lie in memory that its maker wants back.
const WAITING: u64 = 4;
/// How far key frames are apart: players jump to these, and a file that was cut off ends at one.
const KEY_FRAMES: gst::ClockTime = gst::ClockTime::from_seconds(2);
/// Bits a second that a pixel gets, and their bounds: sharp enough to work on, some 2 Mbit/s at 512×512.
const BITS_PER_PIXEL: u32 = 6;
const LEAST_BITS: u32 = 2_000_000;
const MOST_BITS: u32 = 20_000_000;

/// The door itself. It never waits: with [`WAITING`] pictures before it, a further one is dropped and counted.
///
/// The first picture decides the size; players do not follow another one, so later ones are fitted into it.
#[derive(Debug)]
pub(crate) struct Reel {
    source: gst_app::AppSrc,
    form: gst::Element,
    encoder: Encoder,
    codec: Codec,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// When the first picture came, in the pipeline's time.
    began: Option<gst::ClockTime>,
    last: Option<Frame>,
    last_time: gst::ClockTime,
    last_key: gst::ClockTime,
    taken: u64,
    dropped: u64,
    closed: bool,
}

/// What came through the door.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Passed {
    pub(crate) taken: u64,
    pub(crate) dropped: u64,
    /// From the first picture until now, or until the door was closed.
    pub(crate) time: gst::ClockTime,
}

impl Reel {
    /// `form` is the caps filter behind the scaling.
    pub(super) fn new(
        source: gst_app::AppSrc,
        form: gst::Element,
        encoder: Encoder,
        codec: Codec,
    ) -> Self {
        source.set_max_bytes(0);
        Self {
            source,
            form,
            encoder,
            codec,
            state: Mutex::default(),
        }
    }

    pub(crate) fn passed(&self) -> Passed {
        let state = self.state.lock().unwrap();
        let now = self.source.current_running_time();
        let time = match (state.closed, state.began, now) {
            (false, Some(began), Some(now)) => now.saturating_sub(began),
            _ => state.last_time,
        };
        Passed {
            taken: state.taken,
            dropped: state.dropped,
            time,
        }
    }

    /// Lets nothing more in, and ends the file. The last picture is shown until now, as it was to the client.
    pub(super) fn close(&self) {
        let mut state = self.state.lock().unwrap();
        if std::mem::replace(&mut state.closed, true) {
            return;
        }
        if let Some((began, now)) = state.began.zip(self.source.current_running_time()) {
            let time = now.saturating_sub(began);
            if let Some(last) = state.last.take().filter(|_| time > state.last_time) {
                self.feed(last, time);
                state.last_time = time;
            }
        }
        // Refused only by a pipeline that has failed, and then there is nothing to end.
        self.source.end_of_stream().ok();
    }

    /// The first picture decides how all are recorded.
    fn begin(&self, frame: &Frame) {
        let (width, height) = frame.size().unwrap_or((2, 2));
        let even = |side: u32| i32::try_from(side.next_multiple_of(2)).unwrap_or(2);
        let mut caps = codec::drawn(self.codec);
        let form = caps.make_mut();
        form.set("width", even(width));
        form.set("height", even(height));
        form.set("pixel-aspect-ratio", gst::Fraction::new(1, 1));
        self.form.set_property("caps", caps);
        let bits = width.saturating_mul(height).saturating_mul(BITS_PER_PIXEL);
        self.encoder.set_bitrate(bits.clamp(LEAST_BITS, MOST_BITS));
    }

    fn feed(&self, frame: Frame, time: gst::ClockTime) {
        let Frame {
            mut caps,
            mut buffer,
            ..
        } = frame;
        // A nominal rate: encoders refuse the 0/1 of a live stream. What counts are the timestamps.
        caps.make_mut().set("framerate", gst::Fraction::new(30, 1));
        let stamped = buffer.make_mut();
        stamped.set_pts(time);
        stamped.set_dts(None);
        stamped.set_duration(None);
        self.source.set_caps(Some(&caps));
        // Refused only by a pipeline that has failed or is being stopped.
        self.source.push_buffer(buffer).ok();
    }

    fn ask_key_frame(&self) {
        if let Some(pad) = self.encoder.element.static_pad("src") {
            let request = gst_video::UpstreamForceKeyUnitEvent::builder()
                .all_headers(true)
                .build();
            pad.send_event(request);
        }
    }
}

impl Door for Reel {
    fn push(&self, frame: &mut Frame) -> bool {
        let mut state = self.state.lock().unwrap();
        let Some(now) = self.source.current_running_time() else {
            return true;
        };
        if state.closed {
            return true;
        }
        if self.source.property::<u64>("current-level-buffers") >= WAITING {
            state.dropped += 1;
            state.last = Some(frame.clone());
            return true;
        }
        let began = match state.began {
            Some(began) => began,
            None => {
                self.begin(frame);
                *state.began.insert(now)
            }
        };
        let time = now.saturating_sub(began);
        // Two lanes may show a picture at once while one takes over from the other.
        if state.taken > 0 && time <= state.last_time {
            return true;
        }
        if time.saturating_sub(state.last_key) >= KEY_FRAMES {
            state.last_key = time;
            self.ask_key_frame();
        }
        state.taken += 1;
        state.last_time = time;
        state.last = Some(frame.clone());
        self.feed(frame.clone(), time);
        false
    }
}
