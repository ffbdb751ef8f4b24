//! ParamSpecs ↔ [`Settings`], both directions.

use std::sync::LazyLock;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;

use crate::sharing::Sharing;

/// What comes out while the sender is away, once it was there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstSpoutSrcWhenLost")]
#[repr(i32)]
pub(crate) enum WhenLost {
    #[default]
    #[enum_value(name = "Nothing but gaps, until it is back", nick = "wait")]
    Wait = 0,
    #[enum_value(
        name = "The last frame again and again, until it is back",
        nick = "hold"
    )]
    Hold = 1,
    #[enum_value(name = "Black frames, until it is back", nick = "black")]
    Black = 2,
    #[enum_value(name = "End of stream", nick = "eos")]
    Eos = 3,
    #[enum_value(name = "An error", nick = "error")]
    Error = 4,
}

/// Which frames are taken for the same as the last one and left out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, glib::Enum)]
#[enum_type(name = "GstSpoutSrcDedupe")]
#[repr(i32)]
pub(crate) enum Dedupe {
    #[default]
    #[enum_value(name = "Those the sender's frame count tells apart", nick = "auto")]
    Auto = 0,
    #[enum_value(
        name = "Those that look the same in a sparse sample of their pixels",
        nick = "content"
    )]
    Content = 1,
}

/// What the operator asked for: plain data, one field a property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// An empty name takes the active sender. Read going READY → PAUSED.
    pub(super) sharing: Sharing,
    /// Live.
    pub(super) when_lost: WhenLost,
    /// Milliseconds, 0 is for ever. Live.
    pub(super) connect_timeout: u32,
    /// Frames a second as numerator and denominator; 0/1 is no limit. Live.
    pub(super) max_framerate: (i32, i32),
    /// Live.
    pub(super) dedupe: Dedupe,
    /// Live.
    pub(super) flip: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sharing: Sharing::default(),
            when_lost: WhenLost::default(),
            connect_timeout: 0,
            max_framerate: (0, 1),
            dedupe: Dedupe::default(),
            flip: false,
        }
    }
}

pub(super) static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
    let defaults = Settings::default();
    let shared = Sharing::properties(
        "Name of the sender; empty takes the active one, never one of this process, and stays with it until it closes",
        "Tells a sender that waits for it whenever a frame was taken; for one receiver of a sender (Windows; no effect on Linux, where senders see it by themselves)",
    );
    let own = [
        glib::ParamSpecEnum::builder_with_default("when-lost", defaults.when_lost)
            .nick("When lost")
            .blurb("What comes out while a sender that was there is away")
            .mutable_playing()
            .build(),
        glib::ParamSpecUInt::builder("connect-timeout")
            .nick("Connect timeout")
            .blurb("Milliseconds without a sender after which the element fails; 0 waits for ever")
            .default_value(defaults.connect_timeout)
            .mutable_playing()
            .build(),
        gst::ParamSpecFraction::builder("max-framerate")
            .nick("Maximum frame rate")
            .blurb("Frames that come sooner are left out; 0/1 takes every new frame")
            .minimum(gst::Fraction::new(0, 1))
            .maximum(gst::Fraction::new(i32::MAX, 1))
            .default_value(gst::Fraction::new(defaults.max_framerate.0, defaults.max_framerate.1))
            .mutable_playing()
            .build(),
        glib::ParamSpecEnum::builder_with_default("dedupe", defaults.dedupe)
            .nick("Deduplicate")
            .blurb("Which frames are taken for the same as the last one and left out")
            .mutable_playing()
            .build(),
        glib::ParamSpecBoolean::builder("flip")
            .nick("Flip")
            .blurb("Turns the picture upside down, for senders that write it from the bottom; costs a copy")
            .default_value(defaults.flip)
            .mutable_playing()
            .build(),
        glib::ParamSpecString::builder("current-sender")
            .nick("Current sender")
            .blurb("The sender it is connected to; unset while there is none")
            .read_only()
            .build(),
        glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
            .nick("Statistics")
            .blurb("frames-received, frames-copied, frames-by-gpu (copied on the graphics card), frames-missed (by coming late), frames-skipped (by max-framerate or dedupe), connections, latency since READY")
            .read_only()
            .build(),
    ];
    shared.into_iter().chain(own).collect()
});

impl Settings {
    /// The value of a property that is one of the settings.
    pub(super) fn get(&self, name: &str) -> Option<glib::Value> {
        let fraction = |(numer, denom)| gst::Fraction::new(numer, denom);
        match name {
            "when-lost" => Some(self.when_lost.to_value()),
            "connect-timeout" => Some(self.connect_timeout.to_value()),
            "max-framerate" => Some(fraction(self.max_framerate).to_value()),
            "dedupe" => Some(self.dedupe.to_value()),
            "flip" => Some(self.flip.to_value()),
            _ => self.sharing.get(name),
        }
    }

    /// Takes over a property; GObject has checked its type and range.
    pub(super) fn set(&mut self, name: &str, value: &glib::Value) {
        match name {
            "when-lost" => self.when_lost = value.get().unwrap_or(self.when_lost),
            "connect-timeout" => self.connect_timeout = value.get().unwrap_or(self.connect_timeout),
            "max-framerate" => {
                if let Ok(rate) = value.get::<gst::Fraction>() {
                    self.max_framerate = (rate.numer(), rate.denom());
                }
            }
            "dedupe" => self.dedupe = value.get().unwrap_or(self.dedupe),
            "flip" => self.flip = value.get().unwrap_or(self.flip),
            _ => {
                self.sharing.set(name, value);
            }
        }
    }

    /// Whether pictures must pass through ordinary memory, because they are looked at or turned over there.
    pub(super) fn needs_bytes(&self) -> bool {
        self.flip || self.dedupe == Dedupe::Content
    }

    /// The shortest time between two frames.
    pub(super) fn shortest_interval(&self) -> Duration {
        let (numer, denom) = self.max_framerate;
        match (u32::try_from(numer), u32::try_from(denom)) {
            (Ok(numer @ 1..), Ok(denom)) => Duration::from_secs(1) * denom / numer,
            _ => Duration::ZERO,
        }
    }

    /// After how long without a sender the element fails.
    pub(super) fn connect_timeout(&self) -> Option<Duration> {
        (self.connect_timeout > 0).then(|| Duration::from_millis(self.connect_timeout.into()))
    }
}
