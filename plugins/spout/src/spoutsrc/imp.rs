//! The vfuncs, and the stream's thread: waits for what the receiver meets and makes buffers of it.
//!
//! What the thread works on is taken out of its lock while it works, so no lock is held while waiting, pushing or
//! posting. What others may ask meanwhile (properties, caps, latency) is in [`Status`], locked for a moment.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use gst_base::subclass::base_src::CreateSuccess;
use gst_base::subclass::prelude::*;
use texture_share::{ShareError, Target, Waker};

use super::properties::{self, Settings};
use super::stream::Stream;
use crate::{d3d11, errors, video};

pub(super) static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new(
        "spoutsrc",
        gst::DebugColorFlags::empty(),
        Some("Video from other programs"),
    )
});

/// What anybody may ask while the stream runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Status {
    pub(super) sender: Option<String>,
    pub(super) caps: Option<gst::Caps>,
    pub(super) latency: gst::ClockTime,
    pub(super) received: u64,
    pub(super) copied: u64,
    pub(super) by_gpu: u64,
    pub(super) missed: u64,
    pub(super) skipped: u64,
    pub(super) connections: u64,
}

impl Status {
    fn structure(&self) -> gst::Structure {
        gst::Structure::builder("application/x-spoutsrc-stats")
            .field("frames-received", self.received)
            .field("frames-copied", self.copied)
            .field("frames-by-gpu", self.by_gpu)
            .field("frames-missed", self.missed)
            .field("frames-skipped", self.skipped)
            .field("connections", self.connections)
            .field("latency", self.latency)
            .build()
    }
}

#[derive(Debug, Default)]
pub struct SpoutSrc {
    pub(super) settings: Mutex<Settings>,
    pub(super) status: Mutex<Status>,
    pub(super) flushing: AtomicBool,
    /// Downstream may want its pictures elsewhere from now on.
    pub(super) reconfigured: AtomicBool,
    /// The pipeline's graphics device, once pictures lie there.
    pub(super) device: d3d11::Shared,
    waker: Mutex<Option<Arc<dyn Waker>>>,
    stream: Mutex<Option<Stream>>,
}

#[glib::object_subclass]
impl ObjectSubclass for SpoutSrc {
    const NAME: &'static str = "GstSpoutSrc";
    type Type = super::SpoutSrc;
    type ParentType = gst_base::PushSrc;
}

impl ObjectImpl for SpoutSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        properties::PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        self.settings.lock().unwrap().set(pspec.name(), value);
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        let status = self.status.lock().unwrap();
        match pspec.name() {
            "current-sender" => status.sender.to_value(),
            "stats" => status.structure().to_value(),
            name => self.settings.lock().unwrap().get(name).unwrap_or_else(|| {
                unreachable!("GObject knows only the properties listed, and `{name}` is none")
            }),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        element.set_live(true);
        element.set_format(gst::Format::Time);
    }
}

impl GstObjectImpl for SpoutSrc {}

impl ElementImpl for SpoutSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Spout source",
                "Source/Video",
                "Live video from another program on this machine, by its name (Spout, shared memory)",
                "The Scope live video authors",
            )
        });
        Some(&METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            vec![
                gst::PadTemplate::new(
                    "src",
                    gst::PadDirection::Src,
                    gst::PadPresence::Always,
                    &video::src_caps(cfg!(windows)),
                )
                .expect("name and caps are constants"),
            ]
        });
        TEMPLATES.as_ref()
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

impl BaseSrcImpl for SpoutSrc {
    fn start(&self) -> Result<(), gst::ErrorMessage> {
        let settings = self.settings.lock().unwrap().clone();
        let failed = |error: ShareError| errors::share(&error);
        let sharing = &settings.sharing;
        let target = sharing
            .name_of_other()
            .map_err(|error| failed(error.into()))?
            .map_or(Target::Active { own: false }, Target::Named);
        let mut receiver = sharing
            .open()
            .and_then(|directory| directory.receiver(target.clone()))
            .map_err(failed)?;
        receiver.keep_in_step(sharing.frame_sync);
        let adapter = sharing.adapter().unwrap_or_default();
        *self.status.lock().unwrap() = Status {
            latency: gst::ClockTime::from_mseconds(1),
            ..Status::default()
        };
        *self.waker.lock().unwrap() = Some(receiver.waker());
        *self.stream.lock().unwrap() = Some(Stream::new(receiver, target, adapter));
        Ok(())
    }

    fn stop(&self) -> Result<(), gst::ErrorMessage> {
        *self.waker.lock().unwrap() = None;
        let stream = self.stream.lock().unwrap().take();
        drop(stream);
        self.device.forget();
        let mut status = self.status.lock().unwrap();
        gst::info!(CAT, imp = self, "stopping: {}", status.structure());
        status.sender = None;
        status.caps = None;
        Ok(())
    }

    fn is_seekable(&self) -> bool {
        false
    }

    fn unlock(&self) -> Result<(), gst::ErrorMessage> {
        self.flushing.store(true, Ordering::Release);
        if let Some(waker) = self.waker.lock().unwrap().as_ref() {
            waker.wake();
        }
        Ok(())
    }

    fn unlock_stop(&self) -> Result<(), gst::ErrorMessage> {
        self.flushing.store(false, Ordering::Release);
        Ok(())
    }

    fn negotiate(&self) -> Result<(), gst::LoggableError> {
        // Caps are the sender's, and set when it is known. What there is to choose is chosen by the stream.
        self.reconfigured.store(true, Ordering::Release);
        Ok(())
    }

    fn caps(&self, filter: Option<&gst::Caps>) -> Option<gst::Caps> {
        let present = self.status.lock().unwrap().caps.clone();
        let caps = present.unwrap_or_else(|| video::src_caps(d3d11::is_available()));
        Some(match filter {
            Some(filter) => filter.intersect_with_mode(&caps, gst::CapsIntersectMode::First),
            None => caps,
        })
    }

    fn query(&self, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Latency(latency) => {
                let least = self.status.lock().unwrap().latency;
                latency.set(true, least, gst::ClockTime::NONE);
                true
            }
            gst::QueryViewMut::Context(context) => {
                self.device.answer(self.obj().upcast_ref(), context)
                    || BaseSrcImplExt::parent_query(self, query)
            }
            _ => BaseSrcImplExt::parent_query(self, query),
        }
    }
}

impl PushSrcImpl for SpoutSrc {
    fn create(
        &self,
        _buffer: Option<&mut gst::BufferRef>,
    ) -> Result<CreateSuccess, gst::FlowError> {
        let stream = self.stream.lock().unwrap().take();
        let mut stream = stream.ok_or(gst::FlowError::Flushing)?;
        let outcome = self.produce(&mut stream);
        *self.stream.lock().unwrap() = Some(stream);
        outcome.map(CreateSuccess::NewBuffer)
    }
}
