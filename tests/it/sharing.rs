//! Sessions that take another application's picture, and share their own: the other applications are gst-launch.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use scope_tests::fal::FalApp;
use scope_tests::peer::distance;
use scope_tests::{Controller, Peer, house};
use serde_json::json;

const LONG: Duration = Duration::from_secs(30);
/// What the client paints, left and right.
const SENT: [[f64; 3]; 2] = [[200.0, 60.0, 40.0], [40.0, 160.0, 60.0]];
const VIOLET: [f64; 3] = [140.0, 40.0, 200.0];

/// A running gst-launch; killed when dropped.
struct Launch(Child);

impl Launch {
    fn start(folder: &Path, text: &str) -> Result<Self> {
        let child = Command::new("gst-launch-1.0")
            .arg("-q")
            .args(text.split_ascii_whitespace())
            .env("GST_PLUGIN_PATH", house::artefacts())
            .env("FAL_KEY", "id:secret")
            .env("SPOUT_RUNTIME_DIR", place(folder))
            .stdin(Stdio::null())
            .spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn violet_sender(folder: &Path) -> Result<Launch> {
    Launch::start(
        folder,
        "videotestsrc is-live=true pattern=solid-color foreground-color=0xff8c28c8 ! video/x-raw,format=BGRA,width=320,height=240,framerate=30/1 ! spoutsink sender-name=Violet",
    )
}

/// Where senders meet: made by the first of them, for this user alone.
fn place(folder: &Path) -> std::path::PathBuf {
    folder.join("spout")
}

fn controller(folder: &Path) -> Result<Controller> {
    let folder = place(folder).display().to_string();
    let controller = Controller::start_with(&[("SPOUT_RUNTIME_DIR", &folder)])?;
    controller.load("passthrough", &json!({}))?;
    Ok(controller)
}

#[test]
fn a_session_takes_another_applications_picture_and_gives_it_back() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let controller = controller(folder.path())?;
    let mut client = Peer::client(&controller)?;
    client.offer(json!({"mode": "legacy"}))?;
    client.sees("its own picture", SENT)?;

    let _sender = violet_sender(folder.path())?;
    client.ask(
        "send",
        json!({"data": {"spout_receiver": {"enabled": true, "name": "Violet"}}}),
    )?;
    client.sees("the other application's picture", [VIOLET; 2])?;
    client.ask(
        "send",
        json!({"data": {"spout_receiver": {"enabled": false}}}),
    )?;

    client.sees("its own picture again", SENT)
}

#[test]
fn a_session_shares_its_picture_under_a_name() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let controller = controller(folder.path())?;
    let mut client = Peer::client(&controller)?;
    client.offer(json!({"mode": "legacy"}))?;
    client.frames(5)?;

    let file = folder.path().join("seen.rgb");
    let caps = "video/x-raw,format=RGB,width=256,height=256";
    let mut receiver = Launch::start(
        folder.path(),
        &format!(
            "spoutsrc sender-name=Ours num-buffers=20 ! videoconvertscale ! {caps} ! filesink location={}",
            file.display()
        ),
    )?;
    controller.ask(
        "POST",
        "/api/v1/session/parameters",
        Some(&json!({"output_sinks": {"spout": {"enabled": true, "name": "Ours"}}})),
    )?;
    let end = Instant::now() + LONG;
    while receiver.0.try_wait()?.is_none() {
        ensure!(
            Instant::now() < end,
            "no picture was shared within {LONG:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }

    let bytes = std::fs::read(&file)?;
    let frame = bytes
        .rchunks_exact(256 * 256 * 3)
        .next()
        .unwrap_or_default();
    ensure!(!frame.is_empty(), "{} bytes are no picture", bytes.len());
    let mean = |columns: std::ops::Range<usize>| {
        let mut sum = [0.0; 3];
        for row in frame.chunks_exact(256 * 3) {
            for pixel in row[columns.start * 3..columns.end * 3].chunks_exact(3) {
                sum.iter_mut()
                    .zip(pixel)
                    .for_each(|(sum, value)| *sum += f64::from(*value));
            }
        }
        sum.map(|sum| sum / (256.0 * columns.len() as f64))
    };
    for (columns, wanted) in [(8..120, SENT[0]), (136..248, SENT[1])] {
        let seen = mean(columns);
        assert!(distance(seen, wanted) < 40.0, "{seen:?} is not {wanted:?}");
    }
    let metrics = controller.ask("GET", "/api/v1/session/metrics", None)?;
    assert!(
        metrics
            .to_string()
            .contains(r#""output_sinks":{"spout":{"name":"Ours"}}"#),
        "{metrics}"
    );
    Ok(())
}

#[test]
fn senders_are_listed_with_their_size_and_seen_small() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let controller = controller(folder.path())?;
    let path = "/api/v1/input-sources/spout/sources";
    assert_eq!(controller.ask("GET", path, None)?["sources"], json!([]));
    let _sender = violet_sender(folder.path())?;

    let end = Instant::now() + LONG;
    let size = loop {
        let reply = controller.call("GET", &format!("{path}/Violet/resolution"), None)?;
        if reply.status == 200 {
            break reply.json()?;
        }
        ensure!(
            Instant::now() < end,
            "Violet was not found: {}",
            reply.text()
        );
        std::thread::sleep(Duration::from_millis(100));
    };

    assert_eq!(size, json!({"width": 320, "height": 240}));
    let listed = controller.ask("GET", path, None)?;
    assert_eq!(listed["sources"][0]["name"], json!("Violet"), "{listed}");
    for (wrong, status) in [
        (format!("{path}/Nobody/resolution"), 404),
        (format!("{path}/Violet/stream?fps=0"), 422),
        ("/api/v1/input-sources/ndi/sources".to_owned(), 400),
        ("/api/v1/input-sources/telepathy/sources".to_owned(), 404),
    ] {
        assert_eq!(
            controller.call("GET", &wrong, None)?.status,
            status,
            "{wrong}"
        );
    }
    let preview = first_picture(&controller.address, &format!("{path}/Violet/stream?fps=10"))?;
    assert!(
        preview.starts_with(&[0xff, 0xd8]) && preview.ends_with(&[0xff, 0xd9]),
        "no JPEG"
    );
    Ok(())
}

#[test]
fn spout_fal_spout_shares_what_the_app_makes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let app = FalApp::start(Some("id:secret"))?;
    let file = house::root().join("pipelines/spout-fal-spout.launch");
    let text: String = std::fs::read_to_string(file)?
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| [line, " "])
        .collect();
    let own = format!(
        "app-id=owner/app path=webrtc run-url=ws://{0} rest-url=http://{0}",
        app.address
    );
    let _sender = violet_sender(folder.path())?;
    let _pipeline = Launch::start(
        folder.path(),
        &text
            .replace("app-id=owner/app", &own)
            .replace("name=source", "name=source sender-name=Violet"),
    )?;
    app.wait("pictures come and go", LONG, |report| {
        report["frames_out"].as_u64() > Some(10)
    })?;

    let file = folder.path().join("seen.rgb");
    let caps = "video/x-raw,format=RGB,width=64,height=64";
    let receive = format!(
        "spoutsrc sender-name=ScopeOut num-buffers=30 ! videoconvertscale ! {caps} ! filesink location={}",
        file.display()
    );
    let end = Instant::now() + LONG;
    let green = [115.0, 215.0, 55.0];
    loop {
        Launch::start(folder.path(), &receive)?.0.wait()?;
        let bytes = std::fs::read(&file)?;
        let pixel = bytes.rchunks_exact(3).nth(64 * 32).unwrap_or_default();
        if let [red, green_, blue] = *pixel
            && distance([red, green_, blue].map(f64::from), green) < 40.0
        {
            return Ok(());
        }
        ensure!(
            Instant::now() < end,
            "the inverse of violet is not {pixel:?}"
        );
    }
}

/// The first part of a preview that never ends.
fn first_picture(address: &str, path: &str) -> Result<Vec<u8>> {
    use std::io::{BufRead, BufReader, Read, Write};
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.set_read_timeout(Some(LONG))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "the preview ended");
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line == "\r\n" && length > 0 {
            break;
        }
    }
    let mut picture = vec![0; length];
    reader.read_exact(&mut picture)?;
    Ok(picture)
}
