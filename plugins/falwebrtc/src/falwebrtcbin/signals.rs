//! Signals out and action signals in.

use std::sync::LazyLock;
use std::time::Instant;

use fal_client::RawMessage;
use gst::glib;
use gst::glib::subclass::Signal;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::worker::Event;
use super::{FalWebRTCBin, imp};

pub(crate) static SIGNALS: LazyLock<Vec<Signal>> = LazyLock::new(|| {
    let mut all = controls();
    all.extend(signalling());
    all
});

/// What any application may do.
fn controls() -> Vec<Signal> {
    vec![
        // apply-parameters (json): null when the patch took, else a sentence saying what is wrong with it.
        Signal::builder("apply-parameters")
            .action()
            .param_types([String::static_type()])
            .return_type::<Option<String>>()
            .class_handler(|args| {
                let element = element(args)?;
                let applied = foreign_text::text(args.get(1)?)
                    .map_err(|error| error.to_string())
                    .and_then(|json| element.imp().apply(json.unwrap_or_default()));
                Some(applied.err().to_value())
            })
            .build(),
        // reconnect-now (): a new connection at once, from any stage.
        Signal::builder("reconnect-now")
            .action()
            .class_handler(|args| {
                element(args)?.imp().tell(Event::Reconnect);
                None
            })
            .build(),
        // encoder-setup (encoder): before its first picture, to tune it; from a thread of the element.
        Signal::builder("encoder-setup")
            .param_types([gst::Element::static_type()])
            .build(),
    ]
}

/// With an application in charge of token and socket.
fn signalling() -> Vec<Signal> {
    let message = || [glib::Bytes::static_type(), bool::static_type()];
    vec![
        // signalling-send (message, binary): to be sent through the socket as it stands.
        Signal::builder("signalling-send")
            .param_types(message())
            .build(),
        // signalling-ended (reason): the socket is to be closed; what comes on it is of no interest any more.
        Signal::builder("signalling-ended")
            .param_types([String::static_type()])
            .build(),
        // signalling-wanted (): a new token and a new socket are wanted now.
        Signal::builder("signalling-wanted").build(),
        // signalling-opened (): a new socket is open. Ends the connection before.
        Signal::builder("signalling-opened")
            .action()
            .class_handler(|args| {
                let imp = element(args)?.imp().ref_counted();
                let attempt = {
                    let mut sockets = imp.sockets.lock().unwrap();
                    *sockets += 1;
                    *sockets
                };
                imp.tell(Event::Opened {
                    attempt,
                    started: Instant::now(),
                });
                None
            })
            .build(),
        // signalling-receive (message, binary): came through the socket.
        Signal::builder("signalling-receive")
            .action()
            .param_types(message())
            .class_handler(|args| {
                let imp = element(args)?.imp().ref_counted();
                let bytes = args.get(1)?.get::<Option<glib::Bytes>>().ok()??;
                let binary = args.get(2)?.get::<bool>().ok()?;
                let message = if binary {
                    RawMessage::Binary(bytes.to_vec())
                } else {
                    RawMessage::Text(String::from_utf8_lossy(&bytes).into_owned())
                };
                let attempt = *imp.sockets.lock().unwrap();
                imp.tell(Event::Message { attempt, message });
                None
            })
            .build(),
        // signalling-closed (code, reason): the socket is closed; code 0 when it closed without one.
        Signal::builder("signalling-closed")
            .action()
            .param_types([u32::static_type(), String::static_type()])
            .class_handler(|args| {
                let imp = element(args)?.imp().ref_counted();
                let code = u16::try_from(args.get(1)?.get::<u32>().ok()?)
                    .ok()
                    .filter(|code| *code != 0);
                let reason = foreign_text::lossy(args.get(2)?);
                let attempt = *imp.sockets.lock().unwrap();
                imp.tell(Event::Closed {
                    attempt,
                    code,
                    reason,
                });
                None
            })
            .build(),
    ]
}

fn element(args: &[glib::Value]) -> Option<FalWebRTCBin> {
    args.first()?.get::<FalWebRTCBin>().ok()
}

impl imp::FalWebRTCBin {
    /// Checks a patch, takes it over and sends it on.
    pub(super) fn apply(&self, json: &str) -> Result<(), String> {
        let patch = self.settings.lock().unwrap().apply(json)?;
        self.tell(Event::Parameters(patch));
        Ok(())
    }

    /// Writing the property sets what is in force, while running only by adding to it.
    pub(super) fn replace_parameters(&self, json: &str) -> Result<(), String> {
        if self.running.lock().unwrap().is_some() {
            return self.apply(json);
        }
        let mut settings = self.settings.lock().unwrap();
        let before = std::mem::take(&mut settings.parameters);
        settings
            .apply(json)
            .map(drop)
            .inspect_err(|_| settings.parameters = before)
    }
}
