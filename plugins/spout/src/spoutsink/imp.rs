//! The vfuncs. Frames and names are the heart's.
//!
//! The sender is registered when the first caps arrive, because others want to know its size, and stays until NULL: a
//! change of caps or a pause must not make receivers lose it. No lock is held while posting.

use std::sync::{LazyLock, Mutex};
use std::time::Instant;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::subclass::prelude::*;
use texture_share::{SenderName, ShareError};

use super::pool::LendingPool;
use super::properties::{self, Settings};
use super::state::State;
use crate::video::{self, Incoming};
use crate::{d3d11, errors};

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "spoutsink",
        gst::DebugColorFlags::empty(),
        Some("Video shown to other programs"),
    )
});

#[derive(Debug, Default)]
pub struct SpoutSink {
    settings: Mutex<Settings>,
    state: Mutex<Option<State>>,
    /// The pipeline's graphics device, once pictures lie there.
    device: d3d11::Shared,
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
        let sender = state.as_ref().and_then(State::sender);
        match pspec.name() {
            "actual-name" => sender.map(|sender| sender.name().to_string()).to_value(),
            "receivers" => sender
                .map_or(Some(0), |sender| sender.receivers())
                .map_or(-1, |count| i32::try_from(count).unwrap_or(i32::MAX))
                .to_value(),
            "stats" => state.as_ref().and_then(State::stats).to_value(),
            name => self.settings.lock().unwrap().get(name).unwrap_or_else(|| {
                unreachable!("GObject knows only the properties listed, and `{name}` is none")
            }),
        }
    }
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
                    &video::sink_caps(cfg!(windows)),
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
        // Again going to PAUSED, for what was set in READY; a sender that is registered already stays as it is.
        let opens = match transition {
            gst::StateChange::NullToReady => true,
            gst::StateChange::ReadyToPaused => {
                let state = self.state.lock().unwrap();
                state.as_ref().is_none_or(|state| state.sender().is_none())
            }
            _ => false,
        };
        if opens {
            let settings = self.settings.lock().unwrap().clone();
            let state = State::open(&settings).map_err(|error| {
                self.post_error_message(errors::share(&error));
                gst::StateChangeError
            })?;
            *self.state.lock().unwrap() = Some(state);
        }
        let success = self.parent_change_state(transition)?;
        if transition == gst::StateChange::ReadyToNull {
            // Taken out first: signing off asks other senders, and properties are read meanwhile.
            let state = self.state.lock().unwrap().take();
            if let Some(stats) = state.as_ref().and_then(State::stats) {
                gst::info!(CAT, imp = self, "signing off: {stats}");
            }
            drop(state);
            self.device.forget();
            self.obj().notify("actual-name");
        }
        Ok(success)
    }

    fn set_context(&self, context: &gst::Context) {
        // One that is wrong is said to be so when the element starts.
        let adapter = self.settings.lock().unwrap().sharing.adapter();
        let element = self.obj();
        let adapter = adapter.unwrap_or_default();
        self.device
            .take_context(element.upcast_ref(), context, adapter);
        self.parent_set_context(context);
    }
}

impl BaseSinkImpl for SpoutSink {
    fn set_caps(&self, caps: &gst::Caps) -> Result<(), gst::LoggableError> {
        let refused = |text: &str| gst::loggable_error!(CAT, "{text}: {caps}");
        let incoming = Incoming::new(caps).ok_or_else(|| refused("caps that cannot be shared"))?;
        let device = match incoming.on_card {
            true => {
                let device = self.device().and_then(|device| device.gpu());
                Some(device.ok_or_else(|| refused("there is no Direct3D 11 device for these"))?)
            }
            false => None,
        };
        let outcome = {
            let mut state = self.state.lock().unwrap();
            let state = state.as_mut().ok_or_else(|| refused("caps before READY"))?;
            state.take_caps(incoming, device)
        };
        match outcome {
            Ok(Some(name)) => {
                gst::info!(CAT, imp = self, "registered as `{name}`");
                self.obj().notify("actual-name");
                if self.settings.lock().unwrap().pipewire {
                    self.publish(&name);
                }
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
        let caps = video::sink_caps(d3d11::is_available());
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
            && let Some((pool, size)) = self.pool(&caps)
        {
            query.add_allocation_pool(Some(&pool), size, 0, 0);
        }
        self.parent_propose_allocation(query)
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        let asked = query.type_() == gst::QueryType::Context;
        (asked && self.device.answer(self.obj().upcast_ref(), query))
            || BaseSinkImplExt::parent_query(self, query)
    }

    fn render(&self, buffer: &gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.keep_step();
        let outcome = {
            let mut state = self.state.lock().unwrap();
            let state = state.as_mut().ok_or(gst::FlowError::Flushing)?;
            state.send(buffer)
        };
        outcome.map(|()| gst::FlowSuccess::Ok).map_err(|message| {
            self.post_error_message(message);
            gst::FlowError::Error
        })
    }
}

impl SpoutSink {
    /// Shows the video as a camera, too. That this is not possible is a warning: nothing else depends on it.
    fn publish(&self, name: &SenderName) {
        let element = self.obj().downgrade();
        let complain = move |error: ShareError| {
            if let Some(element) = element.upgrade() {
                let text = errors::sentence(&error);
                gst::element_warning!(element, gst::ResourceError::NotFound, ("{text}"));
            }
        };
        match texture_share::publish(name, Box::new(complain.clone())) {
            Ok(publisher) => {
                if let Some(state) = self.state.lock().unwrap().as_mut() {
                    state.publisher = Some(publisher);
                }
            }
            Err(error) => complain(error),
        }
    }

    /// Frame sync: waits, without a lock, until receivers have taken the last frame.
    fn keep_step(&self) {
        let gate = self.state.lock().unwrap().as_ref().and_then(State::gate);
        if let Some((gate, patience)) = gate {
            let begun = Instant::now();
            let ready = gate.wait(patience);
            if let Some(state) = self.state.lock().unwrap().as_mut() {
                state.note_ready(ready, begun);
            }
        }
    }

    /// The graphics device that this pipeline's pictures lie on.
    fn device(&self) -> Option<d3d11::Device> {
        let adapter = self.state.lock().unwrap().as_ref()?.adapter;
        self.device.ensure(self.obj().upcast_ref(), adapter)
    }

    /// A pool to offer upstream and the size of its buffers: of textures, or of the sender's memory for video that can
    /// be shown as it is.
    fn pool(&self, caps: &gst::Caps) -> Option<(gst::BufferPool, u32)> {
        let incoming = Incoming::new(caps)?;
        if incoming.on_card {
            return self.device()?.proposal(caps);
        }
        let lender = {
            let state = self.state.lock().unwrap();
            state.as_ref()?.lender(&incoming)?
        };
        let pool = LendingPool::new(lender, &incoming.info)?;
        let size = u32::try_from(incoming.info.size()).unwrap_or(u32::MAX);
        Some((pool.upcast(), size))
    }
}
