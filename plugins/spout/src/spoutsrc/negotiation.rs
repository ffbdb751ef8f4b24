//! A sender's pictures → caps that downstream takes, and where the pictures lie.

use std::sync::atomic::Ordering;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_base::prelude::*;
use texture_share::{Adapter, Description};

use super::frames::Frames;
use super::imp::{CAT, SpoutSrc};
use super::messages;
use super::properties::Settings;
use super::stream::Stream;
use crate::{d3d11, video};

impl SpoutSrc {
    /// A sender is there, or sends something else from now on: caps first, then its frames.
    pub(super) fn meet(
        &self,
        stream: &mut Stream,
        sender: Description,
        what: &str,
        settings: &Settings,
    ) -> Result<Option<gst::Buffer>, gst::FlowError> {
        let frames = self.frames(stream, &sender, settings)?;
        let caps = frames.caps().clone();
        gst::info!(CAT, imp = self, "{what}: `{}`, {caps}", sender.name);
        {
            let mut status = self.status.lock().unwrap();
            status.connections += u64::from(stream.sender.is_none());
            status.sender = Some(sender.name.to_string());
            status.caps = Some(caps.clone());
        }
        let told = messages::of_sender(self.obj().upcast_ref(), what, &sender, &caps);
        stream.frames = Some(frames);
        stream.sender = Some(sender);
        stream.last = None;
        stream.sampled = None;
        stream.warned = None;
        self.agree(stream, &caps)?;
        self.post(told);
        Ok(None)
    }

    /// How the sender's frames become buffers: on the graphics card where downstream asks for that and they can be,
    /// else in ordinary memory.
    fn frames(
        &self,
        stream: &mut Stream,
        sender: &Description,
        settings: &Settings,
    ) -> Result<Frames, gst::FlowError> {
        let frames = Frames::new(&sender.video).ok_or_else(|| {
            self.fail(gst::error_msg!(
                gst::StreamError::Format,
                (
                    "sender `{}` sends {:?} pixels, which this element cannot pass on; let it send BGRA",
                    sender.name,
                    sender.video.format
                )
            ))
        })?;
        // What downstream wants is asked now; what it wants later is news.
        self.reconfigured.store(false, Ordering::Release);
        let on_card = match settings.needs_bytes() {
            true => None,
            false => self.on_card(&frames, stream.adapter),
        };
        if let Some(on_card) = on_card {
            let textures = on_card.textures().map(|textures| textures.clone() as _);
            if stream.receiver.draw_on(textures) {
                return Ok(on_card);
            }
            gst::info!(
                CAT,
                imp = self,
                "pictures of `{}` do not open on downstream's graphics device; they go through memory",
                sender.name
            );
        }
        stream.receiver.draw_on(None);
        Ok(frames)
    }

    /// The same frames on the pipeline's graphics device, if downstream names such caps: elements that take anything
    /// are better served with bytes.
    fn on_card(&self, frames: &Frames, adapter: Adapter) -> Option<Frames> {
        if !d3d11::is_available() {
            return None;
        }
        let caps = frames.caps_on_card()?;
        let taken = self.obj().src_pad().peer_query_caps(None);
        let named = taken.iter_with_features().any(|(structure, features)| {
            let same = caps
                .structure(0)
                .is_some_and(|own| own.can_intersect(structure));
            same && !features.is_any() && features.contains(video::TEXTURES)
        });
        if !named || !self.obj().src_pad().peer_query_accept_caps(&caps) {
            return None;
        }
        let device = self.device.ensure(self.obj().upcast_ref(), adapter)?;
        frames.on_card(&device, caps)
    }

    /// Downstream takes the caps from now on, or the stream ends.
    fn agree(&self, stream: &Stream, caps: &gst::Caps) -> Result<(), gst::FlowError> {
        let element = self.obj();
        let pad = element.src_pad();
        // Asked, because an event that downstream refuses is not reported back.
        let taken = pad.peer_query_accept_caps(caps)
            && (pad.current_caps().as_ref() == Some(caps) || element.set_caps(caps).is_ok());
        if taken {
            return Ok(());
        }
        if self.flushing.load(Ordering::Acquire) {
            return Err(gst::FlowError::Flushing);
        }
        self.post_error_message(gst::error_msg!(
            gst::CoreError::Negotiation,
            (
                "downstream does not take what {} sends ({caps}); put videoconvert, videoscale and videorate behind this element",
                stream.sender_name()
            )
        ));
        Err(gst::FlowError::NotNegotiated)
    }

    /// Chooses again where pictures lie, after downstream or the settings have changed.
    pub(super) fn follow_downstream(
        &self,
        stream: &mut Stream,
        settings: &Settings,
    ) -> Result<(), gst::FlowError> {
        let (Some(frames), Some(sender)) = (&stream.frames, &stream.sender) else {
            return Ok(());
        };
        let asked = self.reconfigured.swap(false, Ordering::AcqRel) && d3d11::is_available();
        let leaves = frames.textures().is_some() && settings.needs_bytes();
        if !asked && !leaves {
            return Ok(());
        }
        let sender = sender.clone();
        let frames = self.frames(stream, &sender, settings)?;
        let caps = frames.caps().clone();
        if stream.frames.as_ref().map(Frames::caps) != Some(&caps) {
            self.status.lock().unwrap().caps = Some(caps.clone());
            stream.last = None;
            stream.sampled = None;
        }
        stream.frames = Some(frames);
        self.agree(stream, &caps)
    }
}
