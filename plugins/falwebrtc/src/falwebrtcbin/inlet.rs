//! The door into the encoder, or past it, for what is encoded already.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gst::prelude::*;

use webrtc_live::{Codec, Feed};

use super::correlate::unevenness;
use super::material::Material;

/// What is known of a picture on its way to the far end and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Counts the pictures of one link; repetitions have their original's.
    pub(crate) number: u64,
    /// As it came from upstream.
    pub(crate) pts: Option<gst::ClockTime>,
    /// As it came from upstream.
    pub(crate) duration: Option<gst::ClockTime>,
    /// When it came.
    pub(crate) at: Duration,
    /// Sent again because nothing newer came.
    pub(crate) repeated: bool,
}

/// What went in.
#[derive(Debug, Default)]
struct Entered {
    /// Timestamp given last, ticks of 1/90 000 s.
    last: u64,
    count: u64,
    /// In the encoder, by the timestamp they went in with.
    inside: HashMap<gst::ClockTime, Sent>,
}

/// The door.
#[derive(Debug)]
pub(crate) struct Inlet {
    feed: Feed<(Material, Sent)>,
    entered: Arc<Mutex<Entered>>,
    /// What may come in: encoded like this, or raw.
    form: Option<Codec>,
}

/// Pictures in the encoder that are remembered; an encoder that loses one must not fill memory.
const INSIDE: usize = 64;

impl Inlet {
    pub(crate) fn new(source: gst_app::AppSrc, capacity: usize, form: Option<Codec>) -> Self {
        let entered = Arc::<Mutex<Entered>>::default();
        let enter = entered.clone();
        let feed = Feed::new(source, capacity, move |source, (picture, sent)| {
            feed(source, &enter, &picture, sent);
        });
        Self {
            feed,
            entered,
            form,
        }
    }

    /// Whether a picture waits here already: then one sent only to keep the stream alive is not needed.
    pub(crate) fn is_busy(&self) -> bool {
        self.feed.is_busy()
    }

    /// Whether this can go in here.
    pub(crate) fn takes(&self, picture: &Material) -> bool {
        self.form == picture.codec()
    }

    /// Hands a picture in; true if an older one had to go for it.
    pub(crate) fn push(&self, picture: Material, sent: Sent) -> bool {
        self.feed.push((picture, sent))
    }

    /// Makes the encoder's next picture one that stands alone.
    pub(crate) fn ask_key_frame(&self) {
        let wish = gst_video::DownstreamForceKeyUnitEvent::builder()
            .all_headers(true)
            .build();
        // Refused only by a link that is being torn down.
        self.feed.source().send_event(wish);
    }

    /// What went into the encoder with this timestamp, told once.
    pub(crate) fn entered_at(&self, stamp: gst::ClockTime) -> Option<Sent> {
        self.entered.lock().unwrap().inside.remove(&stamp)
    }
}

/// Gives the encoder what it asked for, stamped with the time it goes in.
fn feed(source: &gst_app::AppSrc, entered: &Mutex<Entered>, picture: &Material, sent: Sent) {
    let Some(now) = source.current_running_time() else {
        return;
    };
    let stamp = {
        let mut entered = entered.lock().unwrap();
        entered.count += 1;
        let ticks = now.nseconds() * 9 / 100_000 + unevenness(entered.count);
        entered.last = ticks.max(entered.last + 1);
        let stamp = gst::ClockTime::from_nseconds((entered.last * 100_000).div_ceil(9));
        if entered.inside.len() >= INSIDE {
            entered.inside.clear();
        }
        entered.inside.insert(stamp, sent);
        stamp
    };
    let mut buffer = picture.buffer().clone();
    {
        let buffer = buffer.make_mut();
        buffer.set_pts(stamp);
        buffer.set_dts(None);
        buffer.set_duration(None);
    }
    // An appsrc takes equal caps for no change, and sends others in order with the frames.
    if let Some(caps) = caps(picture) {
        source.set_caps(Some(&caps));
        // Refused only by a link that is being torn down.
        source.push_buffer(buffer).ok();
    }
}

fn caps(picture: &Material) -> Option<gst::Caps> {
    let info = match picture {
        Material::Encoded { caps, .. } => return Some(caps.clone()),
        Material::Raw(picture) => &picture.info,
    };
    // Encoders refuse the 0/1 of a stream without a steady rate, and rate control wants one.
    gst_video::VideoInfo::builder(info.format(), info.width(), info.height())
        .fps(gst::Fraction::new(30, 1))
        .colorimetry(&info.colorimetry())
        .par(info.par())
        .build()
        .and_then(|info| info.to_caps())
        .ok()
}
