//! A PipeWire of a stage's own: bus, server and session manager, without any desktop.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::stage::{GENEROUS, Stage};

/// The three programs; killed when dropped.
#[derive(Debug)]
pub struct PipeWire<'a> {
    stage: &'a Stage,
    running: Vec<Child>,
}

/// A node as PipeWire describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// `node.name`.
    pub name: String,
    /// `media.class`, such as `Video/Source`.
    pub class: String,
}

fn until(path: &Path) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(begun.elapsed() < GENEROUS, "{} is not made", path.display());
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl<'a> PipeWire<'a> {
    /// Starts all three and waits until programs can connect.
    pub fn start(stage: &'a Stage) -> Self {
        let mut pipewire = Self {
            stage,
            running: Vec::new(),
        };
        let folder = stage.runtime();
        for socket in ["bus", "pipewire-0", "pipewire-0.lock"] {
            // Left behind by one that was killed.
            let _ = std::fs::remove_file(folder.join(socket));
        }
        let address = format!("--address={}", stage.bus());
        pipewire.run("dbus-daemon", &["--session", "--nofork", &address]);
        until(&folder.join("bus"));
        pipewire.run("pipewire", &[]);
        until(&folder.join("pipewire-0"));
        pipewire.run("wireplumber", &[]);
        pipewire
    }

    fn run(&mut self, program: &str, arguments: &[&str]) {
        let mut command = self.stage.command(program);
        command
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("`{program}`: {error}; run `make setup`"));
        self.running.push(child);
    }

    fn nodes(&self) -> Vec<Node> {
        let mut dump: Command = self.stage.command("pw-dump");
        let out = dump.output().unwrap();
        // While somebody comes or goes it prints two lists, or none.
        let Ok(objects) = serde_json::from_slice::<serde_json::Value>(&out.stdout) else {
            return Vec::new();
        };
        let objects = objects.as_array().cloned().unwrap_or_default();
        let node = |object: &serde_json::Value| {
            let properties = &object["info"]["props"];
            Some(Node {
                name: properties["node.name"].as_str()?.to_owned(),
                class: properties["media.class"].as_str()?.to_owned(),
            })
        };
        objects.iter().filter_map(node).collect()
    }

    /// Waits for a node of this name.
    #[track_caller]
    pub fn node(&self, name: &str) -> Node {
        let begun = Instant::now();
        loop {
            if let Some(node) = self.nodes().into_iter().find(|node| node.name == name) {
                return node;
            }
            assert!(begun.elapsed() < GENEROUS, "no node `{name}` appeared");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until there is no node of this name.
    #[track_caller]
    pub fn node_goes(&self, name: &str) {
        let begun = Instant::now();
        while self.nodes().iter().any(|node| node.name == name) {
            assert!(begun.elapsed() < GENEROUS, "node `{name}` stays");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for PipeWire<'_> {
    fn drop(&mut self) {
        for mut child in self.running.drain(..).rev() {
            // Ended already is as good.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Stage {
    /// Where the programs of this stage find what a login session has.
    pub fn runtime(&self) -> PathBuf {
        PathBuf::from(self.file("run"))
    }

    /// The address of its bus.
    pub fn bus(&self) -> String {
        format!("unix:path={}", self.runtime().join("bus").display())
    }
}
