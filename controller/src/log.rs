//! Logging: `tracing` to the terminal and to a ring in memory, GStreamer's own log bridged in.
//!
//! No line carries a URL's query or password, ours or GStreamer's: keys and tokens travel there.

mod bridge;
mod clock;
mod ring;

use std::fmt::{self, Write as _};
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

pub use bridge::bridge_gstreamer;
pub use clock::{TimeFormat, learn_time_zone, local_time};
pub use ring::Ring;

/// Lines to keep in memory.
const KEPT: usize = 2000;

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not in `tracing`'s language.
    #[error("the log filter `{0}` is wrong: {1}")]
    BadFilter(String, String),
}

/// Sets logging up for the process; the ring holds the newest lines.
pub fn init(filter: &str) -> Result<Arc<Ring>, LogError> {
    let bad = |err: tracing_subscriber::filter::ParseError| {
        LogError::BadFilter(filter.into(), err.to_string())
    };
    let parsed: Targets = filter.parse().map_err(bad)?;
    let ring = Arc::new(Ring::new(KEPT));
    let terminal = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_timer(Clock)
        .with_target(false);
    let registry = tracing_subscriber::registry().with(parsed).with(terminal);
    // A second call in one process, as in tests, keeps the first subscriber.
    let _ = registry.with(RingLayer(Arc::clone(&ring))).try_init();
    Ok(ring)
}

struct Clock;

impl FormatTime for Clock {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        writer.write_str(&local_time(TimeFormat::Log))
    }
}

/// Writes each event to the ring as one line: `time - logger - LEVEL - message`.
struct RingLayer(Arc<Ring>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RingLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut text = Text::default();
        event.record(&mut text);
        let metadata = event.metadata();
        let level = match *metadata.level() {
            tracing::Level::WARN => "WARNING",
            tracing::Level::TRACE => "DEBUG",
            ref level => level.as_str(),
        };
        let logger = metadata.target().replace("::", ".");
        let time = local_time(TimeFormat::Log);
        // One event is one line, whatever is in it.
        let message = format!("{}{}", text.message, text.fields).replace(['\n', '\r'], " ");
        self.0
            .push(format!("{time} - {logger} - {level} - {message}"));
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
