//! Headless Chromium goes through the page, as a user does: the fake camera in, the redrawn picture out.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use scope_tests::peer::{colour, distance};
use scope_tests::{Controller, Peer};
use serde_json::{Value, json};

/// A live page with these presets.
fn open(browser: &mut Peer, controller: &Controller, tab: &str, presets: &str) -> Result<()> {
    let url = format!("http://{}/?autostart=1&{presets}", controller.address);
    browser.ask("open", json!({"url": url, "tab": tab}))?;
    browser.ask(
        "reaches",
        json!({"state": "live", "tab": tab, "timeout": 60}),
    )?;
    Ok(())
}

/// Looks at the output until it satisfies, and gives the picture that did.
fn wait_for(browser: &mut Peer, what: &str, satisfied: impl Fn([f64; 3]) -> bool) -> Result<Value> {
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let seen = browser.ask("look", json!({}))?;
        if satisfied(colour(&seen, "mean")?) {
            return Ok(seen);
        }
        ensure!(Instant::now() < end, "{what} did not appear: {seen}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn the_camera_comes_back_redrawn_and_a_new_prompt_acts_live() -> Result<()> {
    let controller = Controller::start()?;
    let mut browser = Peer::browser()?;

    open(
        &mut browser,
        &controller,
        "one",
        "source=camera&model=scope-tiny&prompt=blueprint&size=256",
    )?;

    let camera = colour(
        &browser.ask("look", json!({"at": "input-picture"}))?,
        "mean",
    )?;
    assert!(
        camera[1] > camera[2] + 30.0,
        "Chromium's fake camera is green: {camera:?}"
    );
    let blue = wait_for(&mut browser, "a blue picture", |[red, _, blue]| {
        blue > red + 25.0
    })?;
    assert_eq!(
        (&blue["width"], &blue["height"]),
        (&json!(256), &json!(256))
    );

    browser.ask("prompt", json!({"text": "sunset"}))?;
    wait_for(&mut browser, "a warm picture", |[red, _, blue]| {
        red > blue + 15.0
    })?;

    browser.ask("click", json!({"on": "stop"}))?;
    controller.wait_for_sessions(0, Duration::from_secs(5))?;
    assert_eq!(browser.ask("complaints", json!({}))?["errors"], json!([]));
    Ok(())
}

#[test]
fn passthrough_gives_the_camera_back_unchanged() -> Result<()> {
    let controller = Controller::start()?;
    let mut browser = Peer::browser()?;

    let presets = "source=camera&model=passthrough&size=512";
    open(&mut browser, &controller, "one", presets)?;

    // The scene moves and the way back takes a moment, so the two sides are compared over two seconds.
    let (mut sent, mut back) = ([0.0; 3], [0.0; 3]);
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(100));
        for (at, sum) in [("input-picture", &mut sent), ("output-video", &mut back)] {
            let seen = colour(&browser.ask("look", json!({"at": at}))?, "mean")?;
            sum.iter_mut()
                .zip(seen)
                .for_each(|(sum, seen)| *sum += seen / 20.0);
        }
    }
    assert!(distance(sent, back) < 12.0, "sent {sent:?}, back {back:?}");
    Ok(())
}

#[test]
fn text_alone_makes_pictures() -> Result<()> {
    let controller = Controller::start()?;
    let mut browser = Peer::browser()?;

    open(
        &mut browser,
        &controller,
        "one",
        "source=none&model=scope-tiny&prompt=sunset&size=256",
    )?;

    let seen = wait_for(&mut browser, "a warm picture", |[red, _, blue]| {
        red > blue + 15.0
    })?;
    assert!(
        seen["contrast"].as_f64() > Some(8.0),
        "a picture, not a colour: {seen}"
    );
    Ok(())
}

#[test]
fn the_cloud_switch_changes_the_machine_and_a_new_prompt_reaches_it() -> Result<()> {
    let far = Controller::start()?;
    far.load("scope-tiny", &json!({"width": 256, "height": 256}))?;
    let config = format!(
        "[cloud]\napp_id = \"local/scope\"\nrun_url = \"ws://{}\"\nauth = \"none\"\npath = \"webrtc\"\n",
        far.address
    );
    let near = Controller::start_configured(&config, &[])?;
    let mut browser = Peer::browser()?;
    let presets = "source=camera&model=scope-tiny&prompt=blueprint&size=256";
    open(&mut browser, &near, "one", presets)?;

    browser.ask("click", json!({"on": "cloud"}))?;

    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let metrics = near.ask("GET", "/api/v1/session/metrics", None)?;
        if metrics.to_string().contains(r#""shown":true"#) {
            break;
        }
        ensure!(Instant::now() < end, "the cloud was not shown: {metrics}");
        thread::sleep(Duration::from_millis(100));
    }
    wait_for(&mut browser, "a blue picture", |[red, _, blue]| {
        blue > red + 25.0
    })?;
    browser.ask("prompt", json!({"text": "sunset"}))?;
    wait_for(&mut browser, "a warm picture", |[red, _, blue]| {
        red > blue + 15.0
    })?;

    browser.ask("click", json!({"on": "cloud"}))?;
    far.wait_for_sessions(0, Duration::from_secs(15))?;
    assert_eq!(near.sessions()?.len(), 1, "the page's own session lives on");
    Ok(())
}

#[test]
fn two_tabs_run_at_once() -> Result<()> {
    let controller = Controller::start()?;
    let mut browser = Peer::browser()?;

    open(
        &mut browser,
        &controller,
        "one",
        "source=test&model=passthrough&size=256",
    )?;
    open(
        &mut browser,
        &controller,
        "two",
        "source=camera&model=passthrough&size=256",
    )?;

    assert_eq!(controller.sessions()?.len(), 2);
    let picture = browser.ask("look", json!({"tab": "two"}))?;
    assert!(picture["contrast"].as_f64() > Some(8.0), "{picture}");
    browser.ask("close", json!({"tab": "one"}))?;
    controller.wait_for_sessions(1, Duration::from_secs(15))?;
    let rate = browser.ask("rate", json!({"tab": "two", "seconds": 2}))?;
    assert!(
        rate["fps"].as_f64() > Some(10.0),
        "the other tab goes on: {rate}"
    );
    Ok(())
}

#[test]
fn a_tab_closed_in_mid_load_leaves_no_session_behind() -> Result<()> {
    let controller = Controller::start()?;
    let mut browser = Peer::browser()?;
    let url = format!(
        "http://{}/?autostart=1&source=test&model=scope-tiny&size=512",
        controller.address
    );

    for (tab, pause) in [("a", 0), ("b", 150), ("c", 400), ("d", 900)] {
        browser.ask("open", json!({"url": url, "tab": tab}))?;
        thread::sleep(Duration::from_millis(pause));
        browser.ask("close", json!({"tab": tab}))?;
    }

    controller.wait_for_sessions(0, Duration::from_secs(20))?;
    open(
        &mut browser,
        &controller,
        "one",
        "source=test&model=scope-tiny&size=256",
    )
}
