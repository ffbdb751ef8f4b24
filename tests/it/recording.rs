//! Recordings from outside: an aiortc client streams, FFmpeg watches the file.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use scope_tests::peer::{colour, distance};
use scope_tests::{Controller, Page, Peer, film};
use serde_json::{Value, json};

/// A controller with one client whose picture is drawn as a blueprint.
fn blueprint() -> Result<(Controller, Peer, String)> {
    let controller = Controller::start()?;
    controller.load("scope-tiny", &json!({"width": 256, "height": 256}))?;
    let mut client = Peer::client(&controller)?;
    let id = client
        .offer(json!({"mode": "graph", "pipeline": "scope-tiny", "prompts": ["blueprint"]}))?;
    client.frames(10)?;
    Ok((controller, client, id))
}

fn tell(controller: &Controller, id: &str, verb: &str) -> Result<Value> {
    controller.ask("POST", &format!("/api/v1/recordings/{id}/{verb}"), None)
}

/// The one file that was recorded.
fn only_file(controller: &Controller) -> Result<PathBuf> {
    let mut files = std::fs::read_dir(controller.home().join("recordings"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    ensure!(files.len() == 1, "{files:?}");
    files.pop().context("no file")
}

fn seconds(film: &Value) -> Result<f64> {
    film["seconds"].as_f64().context("no duration")
}

#[test]
fn a_recording_shows_what_the_client_saw_for_as_long_as_it_did() -> Result<()> {
    let (controller, mut client, id) = blueprint()?;

    let began = Instant::now();
    assert_eq!(tell(&controller, &id, "start")?["status"], "started");
    let blue = client.frames(40)?;
    client.ask(
        "send",
        json!({"data": {"prompts": [{"text": "sunset", "weight": 1.0}]}}),
    )?;
    let warm = client.frames(60)?;
    assert_eq!(tell(&controller, &id, "stop")?["status"], "stopped");
    let watched = began.elapsed().as_secs_f64();

    let reply = controller.call("GET", &format!("/api/v1/recordings/{id}"), None)?;
    assert_eq!(reply.status, 200, "{}", reply.text());
    let head = reply.head.to_lowercase();
    assert!(head.contains("content-type: video/mp4"), "{head}");
    assert!(
        head.contains("attachment; filename=\"recording-20"),
        "{head}"
    );
    let file = controller.home().join("download.mp4");
    std::fs::write(&file, &reply.body)?;
    let film = film::watch(&file)?;
    assert_eq!(film["codec"], "h264", "{film}");
    assert_eq!(film["sizes"], json!([[256, 256]]), "{film}");
    assert!(
        (seconds(&film)? - watched).abs() < 1.0,
        "{film}, {watched} s watched"
    );
    assert!(film["frames"].as_u64() >= Some(90), "100 were seen: {film}");
    for (at, seen) in [(0, blue), (2, warm)] {
        let colours = json!({"mean": film["colours"][at]});
        let (recorded, seen) = (colour(&colours, "mean")?, colour(&seen, "mean")?);
        assert!(distance(recorded, seen) < 20.0, "{film}: {seen:?}");
    }
    let [red, _, blue] = colour(&json!({"mean": film["colours"][0]}), "mean")?;
    assert!(blue > red + 25.0, "a blueprint is blue: {film}");
    client.frames(10)?;
    Ok(())
}

#[test]
fn sigterm_in_mid_recording_leaves_a_whole_file_within_two_seconds() -> Result<()> {
    let (mut controller, mut client, id) = blueprint()?;
    let began = Instant::now();
    tell(&controller, &id, "start")?;
    client.frames(60)?;

    let (status, took) = controller.terminate(Duration::from_secs(2))?;
    let recorded = began.elapsed().as_secs_f64() - took.as_secs_f64();

    assert!(status.success(), "{status} after {took:?}");
    let film = film::watch(&only_file(&controller)?)?;
    assert!(seconds(&film)? > recorded - 0.5, "{film} of {recorded} s");
    assert!(film["frames"].as_u64() >= Some(55), "{film}");
    Ok(())
}

#[test]
fn a_crash_in_mid_recording_costs_the_last_seconds_only() -> Result<()> {
    let (mut controller, mut client, id) = blueprint()?;
    let began = Instant::now();
    tell(&controller, &id, "start")?;
    client.frames(150)?;
    let recorded = began.elapsed().as_secs_f64();

    controller.crash()?;

    let film = film::watch(&only_file(&controller)?)?;
    assert!(seconds(&film)? > recorded - 3.0, "{film} of {recorded} s");
    Ok(())
}

#[test]
fn a_client_that_closes_in_mid_recording_leaves_it_to_be_fetched() -> Result<()> {
    let (controller, mut client, id) = blueprint()?;
    tell(&controller, &id, "start")?;
    client.frames(45)?;

    let gone = controller.call("DELETE", &format!("/api/v1/webrtc/offer/{id}"), None)?;

    assert_eq!(gone.status, 204);
    let late = controller.call("POST", &format!("/api/v1/recordings/{id}/stop"), None)?;
    assert_eq!(late.status, 404, "{}", late.text());
    let end = Instant::now() + Duration::from_secs(5);
    let path = format!("/api/v1/recordings/{id}");
    while controller.call("GET", &path, None)?.status != 200 {
        ensure!(
            Instant::now() < end,
            "the recording of the closed session is lost"
        );
        thread::sleep(Duration::from_millis(50));
    }
    let film = film::watch(&only_file(&controller)?)?;
    assert!(film["frames"].as_u64() >= Some(40), "{film}");
    Ok(())
}

#[test]
fn the_cloud_comes_and_goes_within_one_recording() -> Result<()> {
    let far = Controller::start()?;
    far.load("scope-tiny", &json!({"width": 256, "height": 256}))?;
    let near = Controller::start_configured(&far.as_cloud(), &[])?;
    near.load("passthrough", &json!({}))?;
    let mut client = Peer::client(&near)?;
    let id = client.offer(json!({"mode": "legacy", "prompts": ["blueprint"]}))?;
    let own = client.frames(10)?;
    tell(&near, &id, "start")?;

    client.frames(20)?;
    near.ask("POST", "/api/v1/cloud/connect", Some(&json!({})))?;
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let seen = colour(&client.frames(3)?, "mean")?;
        if seen[2] > seen[0] + 25.0 {
            break;
        }
        ensure!(
            Instant::now() < end,
            "the cloud's picture did not come: {seen:?}"
        );
    }
    let away = client.frames(20)?;
    tell(&near, &id, "stop")?;

    let film = film::watch(&only_file(&near)?)?;
    for (at, seen) in [(0, own), (2, away)] {
        let colours = json!({"mean": film["colours"][at]});
        let (recorded, seen) = (colour(&colours, "mean")?, colour(&seen, "mean")?);
        assert!(distance(recorded, seen) < 25.0, "{film}: {seen:?}");
    }
    assert!(film["longest_gap"].as_f64() < Some(1.5), "{film}");
    Ok(())
}

/// What a page is opened with that draws a blueprint of the test pattern.
const BLUEPRINT: &str = "source=test&model=scope-tiny&prompt=blueprint&size=256";

/// Saves what the link offers, and watches it.
fn save(page: &mut Page, controller: &Controller) -> Result<Value> {
    let file = controller.home().join("saved.mp4");
    page.ask("save", json!({"on": "record-link", "to": file}))?;
    let film = film::watch(&file)?;
    let [red, _, blue] = colour(&json!({"mean": film["colours"][1]}), "mean")?;
    ensure!(blue > red + 25.0, "a blueprint is blue: {film}");
    Ok(film)
}

#[test]
fn the_page_records_and_offers_the_file() -> Result<()> {
    let controller = Controller::start()?;
    let mut page = Page::live(&controller, BLUEPRINT)?;

    page.click("record")?;
    page.says("record-time", |time| time >= "0:03")?;
    page.click("record")?;

    let film = save(&mut page, &controller)?;
    let length = seconds(&film)?;
    assert!((2.5..6.0).contains(&length), "{film}");
    let label = page.text("record-link")?;
    assert!(label.contains("(0:0"), "{label}");
    page.is_sound()
}

#[test]
fn the_page_records_through_its_socket_too_and_keeps_what_a_stop_ends() -> Result<()> {
    let controller = Controller::start()?;
    let mut page = Page::live(&controller, &format!("{BLUEPRINT}&transport=socket"))?;

    page.click("record")?;
    page.says("record-time", |time| time >= "0:02")?;
    page.click("stop")?;

    let film = save(&mut page, &controller)?;
    assert!(film["frames"].as_u64() >= Some(15), "{film}");
    let traffic = page.ask("traffic", json!({}))?;
    assert!(!traffic["calls"].to_string().contains("/api/"), "{traffic}");
    page.is_sound()
}
