//! The running element as its parts see it: starting the worker, and telling the world how it goes.

use std::time::Duration;

use fal_client::net::PumpConfig;
use fal_client::{AppId, Endpoints, FalError, RawMessage, Stage, key_from};
use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use webrtc_live::codec::Hardware;

use super::carrier::Carrier;
use super::errors::{Refusal, check_installed};
use super::imp::{self, CAT, Running};
use super::settings::Settings;
use super::worker::{Event, Worker};
use super::{FalWebRTCBin, guard, messages};

/// Told latencies grow in steps: each change makes a pipeline settle anew.
const LATENCY_STEP: gst::ClockTime = gst::ClockTime::from_mseconds(20);

impl imp::FalWebRTCBin {
    /// Starts the worker with whoever carries its messages.
    pub(super) fn launch(&self, settings: &Settings) -> Result<Running, Refusal> {
        check_installed()?;
        let (tell, events) = std::sync::mpsc::channel();
        let carrier = match &settings.app_id {
            Some(app) => Carrier::own(pump_config(settings, app)?, tell.clone())?,
            None if self.has_application() => Carrier::Application,
            None => {
                return Err(Refusal {
                    reason: "no fal app is named, and no application carries the signalling".into(),
                    remedy: "set app-id to owner/app, or connect to signalling-send",
                });
            }
        };
        let worker = Worker::new(
            self.obj().downgrade(),
            self.flow.clone(),
            (tell.clone(), events),
            carrier,
            guard::Guard::default(),
        );
        let thread = std::thread::Builder::new()
            .name("falwebrtcbin".into())
            .spawn(move || worker.run())
            .map_err(|error| Refusal {
                reason: format!("the system gives no thread: {error}"),
                remedy: "raise its limit of threads",
            })?;
        Ok(Running { tell, thread })
    }

    /// Whether somebody listens to `signalling-send`.
    fn has_application(&self) -> bool {
        glib::subclass::SignalId::lookup("signalling-send", self.obj().type_()).is_some_and(|id| {
            glib::signal::signal_has_handler_pending(&*self.obj(), id, None, false)
        })
    }

    /// What is declared to downstream.
    pub(super) fn latency(&self) -> gst::ClockTime {
        *self.told_latency.lock().unwrap()
    }

    /// A picture came: a resting session wakes.
    pub(super) fn wake(&self) {
        if self.progress.lock().unwrap().stage == Some("idle") {
            self.tell(Event::Input);
        }
    }
}

fn pump_config(settings: &Settings, app: &str) -> Result<PumpConfig, FalError> {
    let app: AppId = app.parse()?;
    let key = match &settings.api_key {
        Some(key) => Some(fal_client::ApiKey::parse(key.expose())?),
        None => key_from(|name| std::env::var(name).ok())?,
    };
    let path = settings.path.as_deref().unwrap_or_default();
    let mut config = PumpConfig::new(
        app,
        path,
        settings.dialect.into(),
        settings.encoding.into(),
        key,
    );
    config.endpoints = Endpoints::default()
        .with_run_url(&settings.run_url)?
        .with_rest_url(&settings.rest_url)?
        .with_wma_url(&settings.wma_url)?;
    config.auth = settings.auth.into();
    config.budget = settings.connect_timeout;
    Ok(config)
}

impl FalWebRTCBin {
    pub(crate) fn hardware(&self) -> Hardware {
        *self.imp().hardware.lock().unwrap()
    }

    pub(crate) fn settings(&self) -> Settings {
        self.imp().settings.lock().unwrap().clone()
    }

    /// A stage begins.
    pub(crate) fn report(
        &self,
        stage: &'static str,
        elapsed: Duration,
        attempt: u32,
        refusal: Option<&Refusal>,
    ) {
        let reason = refusal.map(|refusal| refusal.reason.clone());
        {
            let mut progress = self.imp().progress.lock().unwrap();
            if (progress.stage, progress.attempt) == (Some(stage), attempt) {
                return;
            }
            *progress = imp::Progress {
                stage: Some(stage),
                attempt,
                since: self.imp().flow.now(),
                reason: reason.clone().or_else(|| {
                    progress
                        .reason
                        .take()
                        .filter(|_| stage != Stage::Live.as_str())
                }),
            };
        }
        gst::info!(
            CAT,
            obj = self,
            "stage {stage}, attempt {attempt}, after {elapsed:?}: {reason:?}"
        );
        let reason = refusal.map(|refusal| (refusal.reason.as_str(), refusal.remedy));
        // A message nobody is there to receive is no loss.
        let _ = self.post_message(messages::stage(
            self.upcast_ref(),
            stage,
            elapsed,
            attempt.into(),
            reason,
        ));
        self.notify("stage");
    }

    /// The remote session was ended to save money.
    pub(crate) fn report_rest(&self, reason: &'static str) {
        {
            let mut progress = self.imp().progress.lock().unwrap();
            progress.stage = Some("idle");
            progress.reason = Some(reason.into());
        }
        let told = messages::stage(
            self.upcast_ref(),
            "idle",
            Duration::ZERO,
            0,
            Some((
                reason,
                "emit reconnect-now, or send a picture after max-idle",
            )),
        );
        let _ = self.post_message(told);
        self.notify("stage");
    }

    pub(crate) fn notice(&self, kind: &str, text: Option<&str>) {
        gst::info!(CAT, obj = self, "the app: {kind} {text:?}");
        let _ = self.post_message(messages::notice(self.upcast_ref(), kind, text));
    }

    /// Says which pictures of a stream that can wait did not come back.
    pub(crate) fn tell_lost(&self) {
        let lost = self.imp().flow.take_lost();
        if lost.is_empty() {
            return;
        }
        let times: Vec<_> = lost
            .iter()
            .map(|pts| pts.map_or_else(|| "a time unknown".to_owned(), |pts| pts.to_string()))
            .collect();
        gst::element_warning!(
            self,
            gst::ResourceError::Read,
            (
                "{} of the pictures never came back from the app and are left out: at {}",
                lost.len(),
                times.join(", ")
            )
        );
        let _ = self.post_message(messages::lost(self.upcast_ref(), &lost));
    }

    /// It cannot work until someone changes something. With a fallback pictures go on; without, the stream ends.
    pub(crate) fn stop_for_good(&self, error: &FalError) {
        if self.settings().fallback == super::settings::Fallback::None {
            self.imp().stopped(&Refusal::from(error));
        } else {
            gst::element_warning!(
                self,
                gst::ResourceError::OpenReadWrite,
                (
                    "{error}; {}. The fallback is shown until reconnect-now",
                    error.remedy()
                )
            );
        }
    }

    pub(crate) fn encoder_setup(&self, encoder: &gst::Element) {
        self.emit_by_name::<()>("encoder-setup", &[encoder]);
    }

    /// Tells downstream when the way there and back has become longer or much shorter.
    pub(crate) fn settle_latency(&self) {
        let imp = self.imp();
        let measured = if imp.flow.keeps_timestamps() {
            imp.flow.meter().round_trip.quantile(0.95)
        } else {
            None
        };
        let Some(measured) = measured.and_then(|trip| gst::ClockTime::try_from(trip).ok()) else {
            return;
        };
        let steps = measured.nseconds() / LATENCY_STEP.nseconds() + 1;
        let wanted = LATENCY_STEP * steps;
        let changed = {
            let mut told = imp.told_latency.lock().unwrap();
            let changed = wanted > *told || wanted * 2 < *told;
            if changed {
                *told = wanted;
            }
            changed
        };
        if changed {
            let size = imp.settings.lock().unwrap().queue_size as usize;
            imp.flow.hold_for(wanted.into(), size);
            let message = gst::message::Latency::builder().src(self).build();
            let _ = self.post_message(message);
        }
    }

    pub(crate) fn signalling_send(&self, message: &RawMessage) {
        let (bytes, binary) = match message {
            RawMessage::Text(text) => (text.as_bytes(), false),
            RawMessage::Binary(bytes) => (&bytes[..], true),
        };
        self.emit_by_name::<()>("signalling-send", &[&glib::Bytes::from(bytes), &binary]);
    }

    pub(crate) fn signalling_failed(&self, attempt: u32, error: &FalError) {
        self.report(
            Stage::Reconnecting.as_str(),
            Duration::ZERO,
            attempt,
            Some(&error.into()),
        );
        self.emit_by_name::<()>("signalling-ended", &[&error.to_string()]);
    }

    pub(crate) fn signalling_ended(&self, reason: &str) {
        self.emit_by_name::<()>("signalling-ended", &[&reason]);
    }

    pub(crate) fn signalling_wanted(&self) {
        self.emit_by_name::<()>("signalling-wanted", &[]);
    }
}

impl std::fmt::Debug for imp::FalWebRTCBin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FalWebRTCBin")
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}
