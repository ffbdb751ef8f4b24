//! What the pipelines tell the session that owns them.

use gst::prelude::*;
use tokio::sync::mpsc;

/// News from GStreamer's threads. Rare by nature, so the channel needs no bound.
#[derive(Debug)]
pub(crate) enum Event {
    /// The client can be reached.
    Connected,
    /// ICE or DTLS gave the client up.
    Disconnected(&'static str),
    /// A sign of leaving; not yet the end.
    HungUp,
    /// The client's `parameters` channel opened or closed.
    ChannelOpened,
    ChannelClosed,
    /// An element's latency changed, so the pipeline's must be worked out again.
    Latency,
    /// A change was refused; everything goes on as before.
    Refused(String),
    /// A processor elsewhere is reached, or no longer: its word for how far it has come.
    Stage(String),
    /// What a processor elsewhere runs on.
    Hardware(serde_json::Value),
    /// A processor stopped for a reason of its own.
    ProcessorStopped(String),
    /// A pipeline posted an error.
    Failed(String),
}

pub(crate) type Events = mpsc::UnboundedSender<Event>;

/// Turns a pipeline's bus messages into events, in the posting thread.
pub(crate) fn watch(pipeline: &gst::Pipeline, events: Events) {
    let Some(bus) = pipeline.bus() else { return };
    bus.set_sync_handler(move |_, message| {
        if let Some(event) = read(message) {
            // Nobody listens once the session has ended.
            events.send(event).ok();
        }
        gst::BusSyncReply::Drop
    });
}

/// Why a pipeline did not start, in the words of the element that refused.
pub(crate) fn reason(news: &mut mpsc::UnboundedReceiver<Event>) -> Option<String> {
    while let Ok(event) = news.try_recv() {
        if let Event::Failed(reason) = event {
            return Some(reason);
        }
    }
    None
}

fn read(message: &gst::MessageRef) -> Option<Event> {
    match message.view() {
        gst::MessageView::Error(error) => {
            let source = message
                .src()
                .map(|source| source.name().to_string())
                .unwrap_or_default();
            // Trap: a client that hangs up makes sctpenc post ERROR ("SCTP association went into error state").
            // That is no failure of ours, only a sign.
            if source.starts_with("sctp") {
                return Some(Event::HungUp);
            }
            tracing::debug!(source, error = %error.error(), debug = error.debug().as_deref(), "pipeline error");
            Some(Event::Failed(error.error().message().to_owned()))
        }
        gst::MessageView::Warning(warning) => {
            tracing::debug!(warning = %warning.error(), "pipeline warning");
            None
        }
        gst::MessageView::Latency(_) => Some(Event::Latency),
        gst::MessageView::Element(element) => {
            let structure = element.structure()?;
            match structure.name().as_str() {
                "processor-stopped" => {
                    let reason = structure.get::<String>("reason");
                    Some(Event::ProcessorStopped(
                        reason.unwrap_or_else(|_| "the processor stopped".into()),
                    ))
                }
                "connection-stage" => Some(Event::Stage(structure.get("stage").ok()?)),
                "app-notice" if structure.get::<&str>("kind") == Ok("hardware") => {
                    let text = structure.get::<String>("text").ok()?;
                    Some(Event::Hardware(serde_json::from_str(&text).ok()?))
                }
                _ => None,
            }
        }
        _ => None,
    }
}
