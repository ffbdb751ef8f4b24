//! What a process costs, as the kernel counts it.

use std::fs;
use std::process::Command;
use std::time::Instant;

use super::trouble::{Outcome, trouble};

/// A process at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    at: Instant,
    /// Processor time used so far, seconds.
    cpu: f64,
    pub(super) threads: f64,
    /// Resident memory, MB.
    pub(super) memory: f64,
    /// Open files, sockets among them.
    pub(super) files: f64,
}

impl Usage {
    /// Looks at process `id`.
    pub(super) fn of(id: u32) -> Outcome<Self> {
        let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
        let status = fs::read_to_string(format!("/proc/{id}/status"))?;
        let files = fs::read_dir(format!("/proc/{id}/fd"))?.count();
        Self::from_text(&stat, &status, files)
            .ok_or_else(|| trouble(format!("/proc/{id} is not as expected")))
    }

    fn from_text(stat: &str, status: &str, files: usize) -> Option<Self> {
        // The name in brackets may hold blanks; the fields after it do not. `utime` and `stime` are the 12th and
        // 13th of those, in ticks, of which Linux has 100 a second on every machine we support.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<f64>().ok();
        let cpu = (ticks()? + ticks()?) / 100.0;
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_ascii_whitespace().next()?.parse::<f64>().ok()
        };
        Some(Self {
            at: Instant::now(),
            cpu,
            threads: field("Threads")?,
            memory: field("VmRSS")? / 1024.0,
            files: files as f64,
        })
    }

    /// Processor use since an earlier look, percent of one core.
    pub(super) fn cpu_since(&self, earlier: &Self) -> f64 {
        100.0 * (self.cpu - earlier.cpu) / (self.at - earlier.at).as_secs_f64()
    }
}

/// Sends a signal by name to a process we started.
pub(super) fn signal(id: u32, name: &str) -> Outcome<()> {
    let done = Command::new("kill")
        .args(["-s", name, &id.to_string()])
        .status()?;
    done.success()
        .then_some(())
        .ok_or_else(|| trouble(format!("process {id} is gone")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_text_is_read() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100 1 2";
        let status = "Name:\ta b) c\nVmRSS:\t  20480 kB\nThreads:\t9\n";

        let usage = Usage::from_text(stat, status, 3).unwrap();

        assert_eq!((usage.cpu, usage.threads, usage.memory), (3.0, 9.0, 20.0));
        assert!(Usage::from_text("7", status, 3).is_none());
    }

    #[test]
    fn this_process_has_a_cost() {
        let usage = Usage::of(std::process::id()).unwrap();

        assert!(usage.memory > 0.5 && usage.threads >= 1.0);
    }
}
