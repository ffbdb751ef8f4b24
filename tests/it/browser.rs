//! Headless Chromium goes through the page, as a user does: the fake camera in, the redrawn picture out.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use scope_tests::peer::{colour, distance};
use scope_tests::{Controller, Page};
use serde_json::json;

#[test]
fn the_camera_comes_back_redrawn_and_a_new_prompt_acts_live() -> Result<()> {
    let controller = Controller::start()?;

    let mut page = Page::live(
        &controller,
        "source=camera&model=scope-tiny&prompt=blueprint&size=256",
    )?;

    let camera = colour(&page.ask("look", json!({"at": "input-picture"}))?, "mean")?;
    assert!(
        camera[1] > camera[2] + 30.0,
        "Chromium's fake camera is green: {camera:?}"
    );
    let blue = page.shows("a blue picture", |[red, _, blue]| blue > red + 25.0)?;
    assert_eq!(
        (&blue["width"], &blue["height"]),
        (&json!(256), &json!(256))
    );

    page.prompt("sunset")?;
    page.shows("a warm picture", |[red, _, blue]| red > blue + 15.0)?;

    page.click("stop")?;
    controller.wait_for_sessions(0, Duration::from_secs(5))?;
    page.is_sound()
}

#[test]
fn passthrough_gives_the_camera_back_unchanged() -> Result<()> {
    let controller = Controller::start()?;

    let presets = "source=camera&model=passthrough&size=512";
    let mut page = Page::live(&controller, presets)?;

    // The scene moves and the way back takes a moment, so the two sides are compared over two seconds.
    let (mut sent, mut back) = ([0.0; 3], [0.0; 3]);
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(100));
        for (at, sum) in [("input-picture", &mut sent), ("output-video", &mut back)] {
            let seen = colour(&page.ask("look", json!({"at": at}))?, "mean")?;
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

    let mut page = Page::live(
        &controller,
        "source=none&model=scope-tiny&prompt=sunset&size=256",
    )?;

    let seen = page.shows("a warm picture", |[red, _, blue]| red > blue + 15.0)?;
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
    let near = Controller::start_configured(&far.as_cloud(), &[])?;
    let presets = "source=camera&model=scope-tiny&prompt=blueprint&size=256";
    let mut page = Page::live(&near, presets)?;

    page.click("cloud")?;

    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let metrics = near.ask("GET", "/api/v1/session/metrics", None)?;
        if metrics.to_string().contains(r#""shown":true"#) {
            break;
        }
        ensure!(Instant::now() < end, "the cloud was not shown: {metrics}");
        thread::sleep(Duration::from_millis(100));
    }
    page.says("machine", |machine| {
        machine.starts_with("Cloud · local/scope · ")
    })?;
    page.says("pictures-away", |said| said.contains("no way to pictures"))?;
    assert_eq!(
        page.ask("is_able", json!({"on": "colours-add"}))?["able"],
        false
    );
    page.shows("a blue picture", |[red, _, blue]| blue > red + 25.0)?;
    page.prompt("sunset")?;
    page.shows("a warm picture", |[red, _, blue]| red > blue + 15.0)?;

    page.click("cloud")?;
    far.wait_for_sessions(0, Duration::from_secs(15))?;
    assert_eq!(near.sessions()?.len(), 1, "the page's own session lives on");
    Ok(())
}

#[test]
fn two_tabs_run_at_once() -> Result<()> {
    let controller = Controller::start()?;

    let mut page = Page::live(&controller, "source=test&model=passthrough&size=256")?;
    page.open_tab(
        &controller,
        "two",
        "source=camera&model=passthrough&size=256",
    )?;

    assert_eq!(controller.sessions()?.len(), 2);
    let picture = page.ask("look", json!({"tab": "two"}))?;
    assert!(picture["contrast"].as_f64() > Some(8.0), "{picture}");
    page.ask("close", json!({"tab": "one"}))?;
    controller.wait_for_sessions(1, Duration::from_secs(15))?;
    let rate = page.ask("rate", json!({"tab": "two", "seconds": 2}))?;
    assert!(
        rate["fps"].as_f64() > Some(10.0),
        "the other tab goes on: {rate}"
    );
    Ok(())
}

#[test]
fn a_tab_closed_in_mid_load_leaves_no_session_behind() -> Result<()> {
    let controller = Controller::start()?;
    let mut page = Page::open(&controller, "")?;
    let presets = "autostart=1&source=test&model=scope-tiny&size=512";
    let url = format!("http://{}/?{presets}", controller.address);

    for (tab, pause) in [("a", 0), ("b", 150), ("c", 400), ("d", 900)] {
        page.ask("open", json!({"url": url, "tab": tab}))?;
        thread::sleep(Duration::from_millis(pause));
        page.ask("close", json!({"tab": tab}))?;
    }

    controller.wait_for_sessions(0, Duration::from_secs(20))?;
    page.open_tab(&controller, "e", "source=test&model=scope-tiny&size=256")
}
