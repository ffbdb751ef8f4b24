//! The `[recording]` part of the configuration: where recordings lie and how much of them is kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// What was written down. See `controller.toml` for each key.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "controller.toml documents each key")]
pub struct RawRecording {
    pub dir: Option<PathBuf>,
    pub keep_hours: Option<u64>,
    pub total_mib: Option<u64>,
    pub spare_mib: Option<u64>,
}

impl RawRecording {
    /// These values, except where `later` says something.
    pub(super) fn overridden_by(self, later: Self) -> Self {
        Self {
            dir: later.dir.or(self.dir),
            keep_hours: later.keep_hours.or(self.keep_hours),
            total_mib: later.total_mib.or(self.total_mib),
            spare_mib: later.spare_mib.or(self.spare_mib),
        }
    }
}

/// Where recordings lie and how much of them is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordingConfig {
    /// The folder.
    pub dir: PathBuf,
    /// How long a finished recording is kept; `None` is for ever.
    pub keep: Option<Duration>,
    /// What all recordings may take together, and so one of them, bytes.
    pub total: u64,
    /// What a recording leaves free on its disk, bytes.
    pub spare: u64,
}

impl RecordingConfig {
    /// Fills in the defaults; `base` is the folder of all our folders.
    pub(super) fn new(raw: RawRecording, base: &Path) -> Self {
        let dir = raw.dir.unwrap_or_else(|| base.join("recordings"));
        let mib =
            |wanted: Option<u64>, default: u64| wanted.unwrap_or(default).saturating_mul(1 << 20);
        let hours = raw.keep_hours.unwrap_or(24);
        Self {
            dir: std::path::absolute(&dir).unwrap_or(dir),
            keep: (hours > 0).then(|| Duration::from_secs(hours.saturating_mul(3600))),
            total: mib(raw.total_mib, 20 * 1024),
            spare: mib(raw.spare_mib, 512),
        }
    }
}
