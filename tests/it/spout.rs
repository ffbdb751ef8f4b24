//! Video shared between processes, as a user of gst-launch shares it.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use scope_tests::house;

const GENEROUS: Duration = Duration::from_secs(30);

/// A place of its own for senders and receivers, and the programs that meet there.
struct Stage {
    scratch: tempfile::TempDir,
}

/// A program; killed when dropped.
struct Program(Child);

impl Stage {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::create_dir(scratch.path().join("home")).unwrap();
        Self { scratch }
    }

    fn senders(&self) -> std::path::PathBuf {
        self.scratch.path().join("spout")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env("GST_PLUGIN_PATH", house::artefacts())
            .env("GST_REGISTRY", self.scratch.path().join("registry"))
            .env("SPOUT_RUNTIME_DIR", self.senders())
            .env("HOME", self.scratch.path().join("home"))
            .stdin(Stdio::null());
        command
    }

    fn launch(&self, text: &str) -> Program {
        let mut command = self.command("gst-launch-1.0");
        command.arg("-q").args(text.split_whitespace());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        Program(command.spawn().unwrap())
    }

    fn file(&self, name: &str) -> String {
        self.scratch.path().join(name).display().to_string()
    }
}

impl Program {
    /// Waits for its end; what it printed.
    #[track_caller]
    fn end(mut self) -> (std::process::ExitStatus, String) {
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

    #[track_caller]
    fn succeed(self) {
        let (status, text) = self.end();
        assert!(status.success(), "{status}: {text}");
    }

    /// `kill -9`.
    fn kill(mut self) {
        self.0.kill().unwrap();
        assert_eq!(self.0.wait().unwrap().signal(), Some(9));
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

const BALL: &str = "videotestsrc is-live=true pattern=solid-color foreground-color=0xff204080 ! video/x-raw,format=BGRA,width=64,height=48,framerate=60/1";

#[test]
fn a_picture_goes_from_one_gst_launch_to_another() {
    let stage = Stage::new();
    let out = stage.file("out.bgra");
    let receiver = stage.launch(&format!(
        "spoutsrc sender-name=Ball num-buffers=5 ! filesink location={out}"
    ));
    let sender = stage.launch(&format!("{BALL} ! spoutsink sender-name=Ball"));

    receiver.succeed();

    let bytes = std::fs::read(out).unwrap();
    assert_eq!(bytes.len(), 5 * 64 * 48 * 4);
    assert!(
        bytes
            .chunks_exact(4)
            .all(|pixel| pixel == [0x80, 0x40, 0x20, 0xff])
    );
    drop(sender);
}

#[test]
fn a_name_that_breaks_the_rules_ends_gst_launch_with_a_sentence() {
    let stage = Stage::new();
    for (name, reason) in [
        ("x".repeat(300), "300 bytes"),
        ("a/b".into(), "contains '/'"),
        ("a_mutex".into(), "ends in `_mutex`"),
    ] {
        let sender = stage.launch(&format!("{BALL} ! spoutsink sender-name={name}"));
        let (status, text) = sender.end();
        assert!(!status.success() && text.contains(reason), "{text}");
    }
    assert!(!stage.senders().exists() || files(&stage.senders()) == 0);
}

#[test]
fn without_a_place_to_meet_the_error_says_which_variable_to_set() {
    let stage = Stage::new();
    let mut command = stage.command("gst-launch-1.0");
    command
        .env("SPOUT_RUNTIME_DIR", stage.file("no/such"))
        .args(["-q", "spoutsrc", "!", "fakesink"]);
    let out = command.output().unwrap();
    let text = String::from_utf8_lossy(&out.stderr);

    assert!(!out.status.success());
    assert!(
        text.contains("there is no folder for shared video") && text.contains("XDG_RUNTIME_DIR"),
        "{text}"
    );
}

#[test]
fn a_killed_sender_leaves_nothing_behind_once_somebody_looks() {
    let stage = Stage::new();
    let out = stage.file("out.bgra");
    let sender = stage.launch(&format!("{BALL} ! spoutsink sender-name=Killed"));
    stage
        .launch("spoutsrc sender-name=Killed num-buffers=1 ! fakesink")
        .succeed();
    sender.kill();

    let receiver = stage.launch(&format!(
        "spoutsrc sender-name=Killed num-buffers=1 ! filesink location={out}"
    ));
    let begun = Instant::now();
    while files(&stage.senders()) > 0 {
        assert!(begun.elapsed() < GENEROUS);
        std::thread::sleep(Duration::from_millis(10));
    }

    let again = stage.launch(&format!("{BALL} ! spoutsink sender-name=Killed"));
    receiver.succeed();
    assert_eq!(std::fs::read(out).unwrap().len(), 64 * 48 * 4);
    drop(again);
}
