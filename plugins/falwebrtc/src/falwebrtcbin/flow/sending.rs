//! The way out of pictures that are sent only so that the stream lives.

use std::time::Duration;

use gst_video::VideoInfo;

use super::super::inlet::Sent;
use super::super::material::Material;
use super::super::picture;
use super::{Flow, Manner};

/// Without input a picture is sent again this often.
const KEEP_ALIVE: Duration = Duration::from_millis(500);
/// And this often to one that has not done with those before.
const KEEP_BUSY_ALIVE: Duration = Duration::from_secs(5);

impl Flow {
    /// Sends the last picture again; black if there was none.
    pub(crate) fn repeat(&self) {
        let now = self.now();
        let (inlet, last) = {
            let mut state = self.state.lock().unwrap();
            state.last_sent = now;
            (state.inlet.clone(), state.last_input.clone())
        };
        let Some(inlet) = inlet.filter(|inlet| !inlet.is_busy()) else {
            return;
        };
        let patient = self.manner() == Manner::Patient;
        let last = last.or_else(|| {
            // A picture that a patient stream has not sent must not come back, either.
            if patient {
                return None;
            }
            let info = VideoInfo::builder(gst_video::VideoFormat::I420, 320, 240)
                .build()
                .ok()?;
            let picture = picture::black(&info).ok()?;
            Some((
                Material::Raw(picture),
                Sent {
                    number: 0,
                    pts: None,
                    duration: None,
                    at: now,
                    repeated: true,
                },
            ))
        });
        // A part of an encoded stream means nothing twice.
        if let Some((picture, sent)) = last
            && picture.codec().is_none()
            && inlet.takes(&picture)
        {
            inlet.push(
                picture,
                Sent {
                    at: now,
                    repeated: true,
                    ..sent
                },
            );
        }
    }

    /// Whether a picture should be sent again only so that the far end, and all on the way, see a living stream.
    pub(crate) fn wants_repeat(&self) -> bool {
        let state = self.state.lock().unwrap();
        let quiet = self.now().saturating_sub(state.last_sent);
        // An app that takes its time over each picture is not given more of them than it has done.
        let busy = state.manner == Manner::Patient
            && !state.patience.is_done()
            && state.patience.moved() < state.last_sent;
        quiet >= if busy { KEEP_BUSY_ALIVE } else { KEEP_ALIVE }
    }
}
