//! The vfuncs. Frames and names are the heart's.
//!
//! The sender is registered when the first caps arrive, because others want to know its size, and stays until NULL: a
//! change of caps or a pause must not make receivers lose it. No lock is held while posting.

use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::subclass::prelude::*;
use gst_video::prelude::*;
use texture_share::{Directory, Picture, Sender, SenderName, SenderWish, Sent, Stamp};

use super::pool::LendingPool;
use super::properties::{self, Settings};
use crate::errors;
use crate::video::{self, Incoming};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "spoutsink",
        gst::DebugColorFlags::empty(),
        Some("Video shown to other programs"),
    )
});

/// What exists from READY on.
#[derive(Debug)]
struct State {
    directory: Arc<dyn Directory>,
    name: SenderName,
    make_active: bool,
    incoming: Option<Incoming>,
    sender: Option<Box<dyn Sender>>,
    /// Lent frames that somebody may look at: held, so that nobody upstream writes into them.
    shown: Vec<(u64, gst::Buffer)>,
}

#[derive(Debug, Default)]
pub struct SpoutSink {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
}

#[glib::object_subclass]
impl ObjectSubclass for SpoutSink {
    const NAME: &'static str = "GstSpoutSink";
    type Type = super::SpoutSink;
    type ParentType = gst_base::BaseSink;
}

impl ObjectImpl for SpoutSink {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        self.settings.lock().unwrap().set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let state = self.state.lock().unwrap();
        let sender = state.as_ref().and_then(|state| state.sender.as_ref());
        match pspec.name() {
            "actual-name" => sender.map(|sender| sender.name().to_string()).to_value(),
            "receivers" => sender
                .map_or(Some(0), |sender| sender.receivers())
                .map_or(-1, |count| i32::try_from(count).unwrap_or(i32::MAX))
                .to_value(),
            "stats" => sender.map(|sender| stats(&**sender)).to_value(),
            name => self.settings.lock().unwrap().get(name).unwrap_or_else(|| {
                unreachable!("GObject knows only the properties listed, and `{name}` is none")
            }),
        }
    }
}

fn stats(sender: &dyn Sender) -> gst::Structure {
    let figures = sender.figures();
    gst::Structure::builder("application/x-spoutsink-stats")
        .field("frames-sent", figures.sent)
        .field("frames-lent", figures.lent)
        .field("frames-dropped", figures.dropped)
        .field("buffers", figures.buffers as u64)
        .field("receivers-expelled", figures.expelled)
        .build()
}

impl GstObjectImpl for SpoutSink {}

impl ElementImpl for SpoutSink {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Spout sink",
                "Sink/Video",
                "Shows video to other programs on this machine under a name (Spout, shared memory)",
                "The Scope live video authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            vec![
                gst::PadTemplate::new(
                    "sink",
                    gst::PadDirection::Sink,
                    gst::PadPresence::Always,
                    &video::sink_template(),
                )
                .expect("name and caps are constants"),
            ]
        });
        TEMPLATES.as_ref()
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        if transition == gst::StateChange::NullToReady {
            let state = self.open().map_err(|message| {
                self.post_error_message(message);
                gst::StateChangeError
            })?;
            *self.state.lock().unwrap() = Some(state);
        }
        let success = self.parent_change_state(transition)?;
        if transition == gst::StateChange::ReadyToNull {
            // Taken out first: signing off asks other senders, and properties are read meanwhile.
            let state = self.state.lock().unwrap().take();
            drop(state);
            self.obj().notify("actual-name");
        }
        Ok(success)
    }
}

impl BaseSinkImpl for SpoutSink {
    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let refused = |text: &str| gst::loggable_error!(CAT, "{text}: {caps}");
        let incoming = Incoming::new(caps).ok_or_else(|| refused("caps that cannot be shared"))?;
        let outcome = {
            let mut state = self.state.lock().unwrap();
            let state = state.as_mut().ok_or_else(|| refused("caps before READY"))?;
            state.shown.clear();
            state.take_caps(incoming)
        };
        match outcome {
            Ok(Some(name)) => {
                gst::info!(CAT, imp = self, "registered as `{name}`");
                self.obj().notify("actual-name");
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(error) => {
                let message = errors::share(&error);
                self.post_error_message(message);
                Err(refused("the sender cannot take these"))
            }
        }
    }

    fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        // In our order whatever the filter's: what every receiver shows comes first.
        let caps = video::sink_template();
        Some(match filter {
            Some(filter) => caps.intersect_with_mode(filter, gst::CapsIntersectMode::First),
            None => caps,
        })
    }

    fn propose_allocation(
        &self,
        query: &mut gst::query::Allocation,
    ) -> Result<(), gst::LoggableError> {
        query.add_allocation_meta::<gst_video::VideoMeta>(None);
        let (caps, wants_pool) = query.get_owned();
        if let Some(caps) = caps
            && wants_pool
            && let Some(incoming) = Incoming::new(&caps)
            && let Some(pool) = self.pool(&incoming)
        {
            let size = u32::try_from(incoming.info.size()).unwrap_or(u32::MAX);
            query.add_allocation_pool(Some(&pool), size, 0, 0);
        }
        self.parent_propose_allocation(query)
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let outcome = {
            let mut state = self.state.lock().unwrap();
            let state = state.as_mut().ok_or(gst::FlowError::Flushing)?;
            state.send(buffer)
        };
        outcome.map_err(|message| {
            self.post_error_message(message);
            gst::FlowError::Error
        })
    }
}

impl SpoutSink {
    fn open(&self) -> Result<State, gst::ErrorMessage> {
        let settings = self.settings.lock().unwrap().clone();
        let name = match settings.sender_name.as_str() {
            "" => own_name(),
            name => SenderName::new(name).map_err(|error| errors::share(&error.into()))?,
        };
        let directory =
            texture_share::open(settings.backend.into()).map_err(|error| errors::share(&error))?;
        Ok(State {
            directory,
            name,
            make_active: settings.make_active,
            incoming: None,
            sender: None,
            shown: Vec::new(),
        })
    }

    /// A pool of the sender's memory, for video that can be shown as it is.
    fn pool(&self, incoming: &Incoming) -> Option<LendingPool> {
        let lender = {
            let state = self.state.lock().unwrap();
            let state = state.as_ref()?;
            let present = state.incoming.as_ref()?;
            let fits = present.video.same_geometry(&incoming.video) && !incoming.opaque;
            fits.then(|| state.sender.as_ref()?.lender()).flatten()?
        };
        LendingPool::new(lender, &incoming.info)
    }
}

/// The program's name, as other senders without a name of their own take it.
fn own_name() -> SenderName {
    glib::prgname()
        .and_then(|name| SenderName::from_any(&name))
        .or_else(|| SenderName::from_any("GStreamer"))
        .expect("`GStreamer` breaks no rule")
}

impl State {
    /// The first caps register the sender, and its name is returned; later ones reshape it if need be.
    fn take_caps(
        &mut self,
        incoming: Incoming,
    ) -> Result<Option<SenderName>, texture_share::ShareError> {
        let registered = match &mut self.sender {
            Some(sender) => {
                sender.configure(&incoming.video)?;
                None
            }
            None => {
                let sender = self.directory.sender(&SenderWish {
                    name: self.name.clone(),
                    video: incoming.video.clone(),
                    make_active: self.make_active,
                })?;
                Some(self.sender.insert(sender).name().clone())
            }
        };
        self.incoming = Some(incoming);
        Ok(registered)
    }

    fn send(&mut self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::ErrorMessage> {
        let (Some(incoming), Some(sender)) = (&self.incoming, &mut self.sender) else {
            return Err(gst::error_msg!(
                gst::CoreError::Negotiation,
                ("a frame came before its caps; set caps on the source")
            ));
        };
        self.shown.retain(|(ticket, _)| sender.is_shown(*ticket));
        let sent = {
            let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &incoming.info)
                .map_err(|_| unreadable(buffer, incoming))?;
            let bytes = frame
                .plane_data(0)
                .map_err(|_| unreadable(buffer, incoming))?;
            let stride = usize::try_from(frame.plane_stride()[0])
                .map_err(|_| unreadable(buffer, incoming))?;
            let picture = Picture {
                bytes,
                stride,
                opaque: incoming.opaque,
            };
            sender
                .send(&picture, &stamp(buffer))
                .map_err(|error| errors::share(&error))?
        };
        if let Sent::Lent { ticket } = sent {
            self.shown.push((ticket, buffer.clone()));
        }
        Ok(gst::FlowSuccess::Ok)
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
