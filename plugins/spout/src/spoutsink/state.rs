//! What the sink works with from READY on: the sender, once there are caps, and what is in its hands.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gst::glib;
use gst_video::prelude::*;
use texture_share::{
    Adapter, Directory, Gate, GpuDevice, Lender, Picture, Pixels, Published, Publisher, Sender,
    SenderName, SenderWish, Sent, ShareError, Stamp, TextureWish,
};

use super::properties::Settings;
use super::step::Step;
use crate::video::Incoming;
use crate::{d3d11, errors};

/// See the module.
#[derive(Debug)]
pub(super) struct State {
    directory: Arc<dyn Directory>,
    name: SenderName,
    pub(super) adapter: Adapter,
    make_active: bool,
    keyed_mutex: bool,
    /// How receivers keep up, where that is asked for.
    step: Option<Step>,
    incoming: Option<Incoming>,
    sender: Option<Box<dyn Sender>>,
    /// Lent frames that somebody may look at: held, so that nobody upstream writes into them.
    shown: Vec<(u64, gst::Buffer)>,
    /// Shows the same frames to who does not look for senders.
    pub(super) publisher: Option<Box<dyn Publisher>>,
}

/// A frame of upstream's, readable as long as it is held.
#[derive(Debug)]
struct Mapped(gst_video::VideoFrame<gst_video::video_frame::Readable>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        // Raw video in one plane has a first one.
        self.0.plane_data(0).unwrap_or_default()
    }
}

impl Pixels for Mapped {}

impl State {
    pub(super) fn open(settings: &Settings) -> Result<Self, ShareError> {
        let sharing = &settings.sharing;
        let name = sharing.name_of_own()?.unwrap_or_else(own_name);
        Ok(Self {
            directory: sharing.open()?,
            name,
            adapter: sharing.adapter()?,
            make_active: settings.make_active,
            keyed_mutex: settings.keyed_mutex,
            step: sharing.frame_sync.then(Step::default),
            incoming: None,
            sender: None,
            shown: Vec::new(),
            publisher: None,
        })
    }

    pub(super) fn sender(&self) -> Option<&dyn Sender> {
        self.sender.as_deref()
    }

    pub(super) fn stats(&self) -> Option<gst::Structure> {
        let figures = self.sender()?.figures();
        let published = self.publisher.as_ref().map_or(0, |to| to.shown());
        let stats = gst::Structure::builder("application/x-spoutsink-stats")
            .field("frames-sent", figures.sent)
            .field("frames-lent", figures.lent)
            .field("frames-by-gpu", figures.by_gpu)
            .field("frames-dropped", figures.dropped)
            .field("buffers", figures.buffers as u64)
            .field("receivers-expelled", figures.expelled)
            .field("frames-published", published);
        Some(stats.build())
    }

    /// Who lends memory for frames like `incoming`, if they can be shown as they are.
    pub(super) fn lender(&self, incoming: &Incoming) -> Option<Arc<dyn Lender>> {
        let present = self.incoming.as_ref()?;
        let fits = present.video.same_geometry(&incoming.video) && !incoming.opaque;
        fits.then(|| self.sender.as_ref()?.lender()).flatten()
    }

    /// What tells that receivers are ready for the next frame, and how long to wait for it; none without frame sync.
    pub(super) fn gate(&self) -> Option<(Arc<dyn Gate>, Duration)> {
        let patience = self.step.as_ref()?.patience(Instant::now());
        Some((self.sender.as_ref()?.gate(), patience))
    }

    /// Notes whether they were, when the wait that began at `begun` was over.
    pub(super) fn note_ready(&mut self, ready: bool, begun: Instant) {
        if let Some(step) = &mut self.step {
            step.note(ready, begun);
        }
    }

    /// The first caps register the sender, and its name is returned; later ones reshape it if need be. `device` is
    /// where upstream's pictures lie, if not in ordinary memory.
    pub(super) fn take_caps(
        &mut self,
        incoming: Incoming,
        device: Option<GpuDevice>,
    ) -> Result<Option<SenderName>, ShareError> {
        self.shown.clear();
        let registered = match &mut self.sender {
            Some(sender) => {
                if let Some(device) = device {
                    sender.prefer(device);
                }
                sender.configure(&incoming.video)?;
                None
            }
            None => {
                let sender = self.directory.sender(&SenderWish {
                    name: self.name.clone(),
                    video: incoming.video.clone(),
                    make_active: self.make_active,
                    texture: TextureWish {
                        device,
                        keyed_mutex: self.keyed_mutex,
                    },
                })?;
                Some(self.sender.insert(sender).name().clone())
            }
        };
        self.incoming = Some(incoming);
        Ok(registered)
    }

    pub(super) fn send(&mut self, buffer: &gst::Buffer) -> Result<(), gst::ErrorMessage> {
        let (Some(incoming), Some(sender)) = (&self.incoming, &mut self.sender) else {
            return Err(gst::error_msg!(
                gst::CoreError::Negotiation,
                ("a frame came before its caps; set caps on the source")
            ));
        };
        self.shown.retain(|(ticket, _)| sender.is_shown(*ticket));
        let stamp = stamp(buffer);
        if incoming.on_card
            && let Some(mapped) = d3d11::texture(buffer)
            && let Some(texture) = mapped.texture()
        {
            let sent = sender.send_texture(&texture, &stamp);
            if sent.map_err(|error| errors::share(&error))?.is_some() {
                return Ok(());
            }
            // Of another device: its bytes are sent, as any other's.
        }
        let unreadable = || unreadable(buffer, incoming);
        let frame = gst_video::VideoFrame::from_buffer_readable(buffer.clone(), &incoming.info)
            .map_err(|_| unreadable())?;
        let stride = usize::try_from(frame.plane_stride()[0]).map_err(|_| unreadable())?;
        let picture = Picture {
            bytes: frame.plane_data(0).map_err(|_| unreadable())?,
            stride,
            opaque: incoming.opaque,
        };
        let sent = sender
            .send(&picture, &stamp)
            .map_err(|error| errors::share(&error))?;
        if let Some(publisher) = &self.publisher {
            publisher.show(Published {
                pixels: Box::new(Mapped(frame)),
                stride,
                opaque: incoming.opaque,
                video: incoming.video.clone(),
                stamp,
            });
        }
        if let Sent::Lent { ticket } = sent {
            self.shown.push((ticket, buffer.clone()));
        }
        Ok(())
    }
}

fn stamp(buffer: &gst::Buffer) -> Stamp {
    Stamp {
        captured: gst::get_timestamp().nseconds(),
        presentation: buffer.pts().map(gst::ClockTime::nseconds),
        duration: buffer.duration().map(gst::ClockTime::nseconds),
    }
}

fn unreadable(buffer: &gst::Buffer, incoming: &Incoming) -> gst::ErrorMessage {
    gst::error_msg!(
        gst::StreamError::Format,
        (
            "a buffer of {} bytes is no {}×{} frame; send frames as large as the caps say",
            buffer.size(),
            incoming.info.width(),
            incoming.info.height()
        )
    )
}

/// The program's name, as other senders without a name of their own take it.
fn own_name() -> SenderName {
    glib::prgname()
        .and_then(|name| SenderName::from_any(&name))
        .or_else(|| SenderName::from_any("GStreamer"))
        .expect("`GStreamer` breaks no rule")
}
