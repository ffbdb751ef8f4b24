//! A place of its own where programs share video, and the programs that meet there.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::house;

/// Longer than anything takes on a busy machine.
pub const GENEROUS: Duration = Duration::from_secs(30);

/// The place. Removed when dropped.
#[derive(Debug)]
pub struct Stage {
    scratch: tempfile::TempDir,
}

/// A program; killed when dropped.
#[derive(Debug)]
pub struct Program(Child);

impl Default for Stage {
    fn default() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        for folder in ["home", "run"] {
            std::fs::create_dir(scratch.path().join(folder)).unwrap();
        }
        Self { scratch }
    }
}

impl Stage {
    /// Where senders listen.
    pub fn senders(&self) -> PathBuf {
        self.scratch.path().join("spout")
    }

    /// A program that knows our plugins and this place.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("GST_PLUGIN_PATH", house::artefacts())
            // One for all, kept: reading every plugin of the system takes seconds.
            .env(
                "GST_REGISTRY",
                house::artefacts().join("stage-registry.bin"),
            )
            .env("SPOUT_RUNTIME_DIR", self.senders())
            .env("HOME", self.scratch.path().join("home"))
            .env("XDG_RUNTIME_DIR", self.runtime())
            .env("DBUS_SESSION_BUS_ADDRESS", self.bus())
            .stdin(Stdio::null());
        command
    }

    /// `gst-launch-1.0 -q text`; words are split at spaces.
    pub fn launch(&self, text: &str) -> Program {
        self.run("gst-launch-1.0", &format!("-q {text}"))
    }

    /// A program with these arguments, split at spaces.
    pub fn run(&self, program: &str, arguments: &str) -> Program {
        let mut command = self.command(program);
        command.args(arguments.split_whitespace());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Program(command.spawn().unwrap())
    }

    /// A path here, as text.
    pub fn file(&self, name: &str) -> String {
        self.scratch.path().join(name).display().to_string()
    }
}

impl Program {
    /// Waits for its end; what it printed.
    #[track_caller]
    pub fn end(mut self) -> (ExitStatus, String) {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < GENEROUS, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        let mut text = String::new();
        self.0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        self.0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        (status, text)
    }

    /// Whether it ran to its end.
    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }

    /// Waits for its end, which must be a good one.
    #[track_caller]
    pub fn succeed(self) {
        let (status, text) = self.end();
        assert!(status.success(), "{status}: {text}");
    }

    /// `kill -9`; it must still have been running.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        assert_eq!(self.0.wait().unwrap().signal(), Some(9));
    }

    /// `kill -STOP` or another signal by its name.
    pub fn signal(&self, name: &str) {
        let pid = self.0.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(status.success());
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many entries a folder has.
pub fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}
