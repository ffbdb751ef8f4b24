//! The `parameters` data channel, which the client makes.

use std::sync::{Arc, Mutex};

use gst::glib;
use gst::prelude::*;
use gst_webrtc::{WebRTCDataChannel, WebRTCDataChannelState};
use tokio::sync::mpsc;

use super::event::{Event, Events};

/// Messages from the client that wait for the session; a client that sends faster loses the newest.
pub(crate) const WAITING: usize = 64;

/// Our end of the channel, once there is one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Channel(Arc<Mutex<Option<WebRTCDataChannel>>>);

impl Channel {
    /// Waits for the client's channel on this webrtcbin.
    pub(crate) fn watch(
        webrtcbin: &gst::Element,
        events: &Events,
        messages: mpsc::Sender<String>,
    ) -> Self {
        let channel = Self::default();
        let (slot, events) = (channel.clone(), events.clone());
        webrtcbin.connect_closure(
            "on-data-channel",
            false,
            glib::closure!(move |_: &gst::Element, made: &WebRTCDataChannel| {
                let label = made
                    .label()
                    .map(|label| label.to_string())
                    .unwrap_or_default();
                if label != "parameters" {
                    tracing::debug!(label, "a data channel nobody listens to");
                    return;
                }
                listen(made, &events, &messages);
                slot.0.lock().unwrap().replace(made.clone());
                if made.ready_state() == WebRTCDataChannelState::Open {
                    events.send(Event::ChannelOpened).ok();
                }
            }),
        );
        channel
    }

    /// Sends a text; lost when the channel is not open.
    pub(crate) fn send(&self, text: &str) {
        let channel = self.0.lock().unwrap().clone();
        if let Some(channel) =
            channel.filter(|channel| channel.ready_state() == WebRTCDataChannelState::Open)
            && let Err(error) = channel.send_string_full(Some(text))
        {
            tracing::debug!(%error, "a message was not sent");
        }
    }

    /// Bytes not yet on the wire.
    pub(crate) fn buffered(&self) -> u64 {
        let channel = self.0.lock().unwrap().clone();
        channel.map_or(0, |channel| channel.buffered_amount())
    }

    /// Lets go of the channel; it refers back to webrtcbin.
    pub(crate) fn forget(&self) {
        self.0.lock().unwrap().take();
    }
}

fn listen(channel: &WebRTCDataChannel, events: &Events, messages: &mpsc::Sender<String>) {
    let opened = events.clone();
    channel.connect_on_open(move |_| {
        opened.send(Event::ChannelOpened).ok();
    });
    let closed = events.clone();
    channel.connect_on_close(move |_| {
        closed.send(Event::ChannelClosed).ok();
    });
    let texts = messages.clone();
    webrtc_live::on_text(channel, move |text| take(&texts, text));
    let bytes = messages.clone();
    channel.connect_on_message_data(move |_, data| {
        let text = data
            .map(|data| String::from_utf8_lossy(data).into_owned())
            .unwrap_or_default();
        take(&bytes, text);
    });
}

fn take(messages: &mpsc::Sender<String>, text: String) {
    if messages.try_send(text).is_err() {
        tracing::debug!("a parameter message was dropped: too many at once");
    }
}
