//! The time on the wall, as log lines and replies show it.

use std::sync::OnceLock;

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, UtcOffset};

/// Asked for once, before there are threads: afterwards the answer is not to be had safely.
static OFFSET: OnceLock<UtcOffset> = OnceLock::new();

/// How to write a time.
#[derive(Debug, Clone, Copy)]
pub enum TimeFormat {
    /// As in log lines, with milliseconds after a comma.
    Log,
    /// As in JSON, with microseconds, no zone.
    Iso,
    /// As in the names of log files.
    File,
    /// As in the names of recordings.
    Recording,
}

impl TimeFormat {
    fn items(self) -> &'static [BorrowedFormatItem<'static>] {
        match self {
            Self::Log => format_description!(
                "[year]-[month]-[day] [hour]:[minute]:[second],[subsecond digits:3]"
            ),
            Self::Iso => format_description!(
                "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]"
            ),
            Self::File => format_description!("[year]-[month]-[day]-[hour]-[minute]-[second]"),
            Self::Recording => {
                format_description!("[year][month][day]_[hour][minute][second]")
            }
        }
    }
}

/// Finds out the local time zone. Call first thing, from the only thread; without it times are UTC.
pub fn learn_time_zone() {
    OFFSET.get_or_init(|| UtcOffset::current_local_offset().unwrap_or(UtcOffset::UTC));
}

/// Now.
pub fn local_time(format: TimeFormat) -> String {
    let offset = OFFSET.get().copied().unwrap_or(UtcOffset::UTC);
    let now = OffsetDateTime::now_utc().to_offset(offset);
    now.format(format.items()).unwrap_or_default()
}
