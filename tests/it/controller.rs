//! The program from outside: starting, stopping, and everything that must not bring it down.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use scope_tests::http::{self, Reply};
use scope_tests::{Controller, Peer};
use serde_json::{Value, json};

/// A refusal that helps: a 4xx with a sentence.
fn assert_refused(reply: &Reply, status: u16) -> Result<()> {
    assert_eq!(reply.status, status, "{}", reply.text());
    let detail = &reply.json()?["detail"];
    assert!(detail.is_string() || detail.is_array(), "{}", reply.text());
    Ok(())
}

/// A controller with one session that must outlive what a test does next to it.
fn with_a_session() -> Result<(Controller, Peer)> {
    let controller = Controller::start()?;
    controller.load("passthrough", &json!({}))?;
    let mut client = Peer::client(&controller)?;
    client.offer(json!({"mode": "legacy"}))?;
    client.frames(5)?;
    Ok((controller, client))
}

#[test]
fn it_is_ready_when_it_says_so() -> Result<()> {
    let controller = Controller::start()?;

    let health = controller.ask("GET", "/health", None)?;
    assert_eq!(health["status"], "healthy", "{health}");
    let page = controller.call("GET", "/", None)?;
    assert!(page.status == 200 && page.text().contains("<title>gst-scope</title>"));
    Ok(())
}

#[test]
fn the_allocator_keeps_few_heaps_unless_the_operator_says_otherwise() -> Result<()> {
    let told = |controller: &Controller| -> Result<Option<String>> {
        let environment = std::fs::read(format!("/proc/{}/environ", controller.pid()))?;
        let environment = String::from_utf8_lossy(&environment).into_owned();
        let mut entries = environment.split('\0');
        Ok(entries.find_map(|entry| Some(entry.strip_prefix("MALLOC_ARENA_MAX=")?.to_owned())))
    };

    assert_eq!(told(&Controller::start()?)?.as_deref(), Some("2"));
    let told_otherwise = Controller::start_with(&[("MALLOC_ARENA_MAX", "7")])?;
    assert_eq!(told(&told_otherwise)?.as_deref(), Some("7"));
    Ok(())
}

#[test]
fn sigterm_ends_it_within_two_seconds_also_with_a_session() -> Result<()> {
    let (mut controller, mut client) = with_a_session()?;

    let (status, took) = controller.terminate(Duration::from_secs(2))?;

    assert!(
        status.success(),
        "{status} after {took:?}; it said:\n{}",
        controller.said()
    );
    client.ask("message", json!({"kind": "stream_stopped"}))?;
    Ok(())
}

#[test]
fn sigterm_right_after_the_start_is_no_crash() -> Result<()> {
    for _ in 0..5 {
        let mut controller = Controller::start()?;
        let (status, took) = controller.terminate(Duration::from_secs(2))?;
        ensure!(
            status.success(),
            "{status} after {took:?}: {}",
            controller.said()
        );
    }
    Ok(())
}

#[test]
fn a_second_instance_on_the_same_port_says_so_and_leaves() -> Result<()> {
    let (controller, mut client) = with_a_session()?;
    let port = controller.address.rsplit(':').next().unwrap_or_default();

    let (status, said) = Controller::run(&["--port", port])?;

    assert!(!status.success());
    assert!(
        said.contains(port) && said.to_lowercase().contains("in use"),
        "{said}"
    );
    assert!(!said.contains("panicked"), "{said}");
    client.frames(10)?;
    Ok(())
}

#[test]
fn an_sdp_of_noise_is_refused_and_the_others_go_on() -> Result<()> {
    let (controller, mut client) = with_a_session()?;
    let noise: String = (0..20_000_u32)
        .filter_map(|n| char::from_u32(n.wrapping_mul(2_654_435_761) >> 16))
        .collect();
    let half =
        "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n";

    for sdp in ["", "v=0", half, &noise, &half.repeat(500)] {
        let offer = json!({"sdp": sdp, "type": "offer", "initialParameters": {"pipeline_ids": ["passthrough"]}});
        let reply = controller.call("POST", "/api/v1/webrtc/offer", Some(&offer))?;
        assert!(
            (400..500).contains(&reply.status),
            "{} for {:.40}: {}",
            reply.status,
            sdp,
            reply.text()
        );
        assert_refused(&reply, reply.status)?;
    }

    assert_eq!(controller.sessions()?.len(), 1);
    client.frames(10)?;
    Ok(())
}

#[test]
fn an_offer_without_or_during_a_load_gets_a_clear_answer() -> Result<()> {
    let controller = Controller::start()?;
    let offer = json!({"mode": "legacy"});

    let nothing = Peer::client(&controller)?.ask("offer", offer.clone())?;
    assert_eq!(nothing["status"], 400, "{nothing}");
    assert!(
        nothing["reply"]["detail"]
            .as_str()
            .unwrap_or_default()
            .contains("not loaded"),
        "{nothing}"
    );

    let load = json!({"pipelines": [{"node_id": "scope-tiny", "pipeline_id": "scope-tiny", "load_params": {"width": 512, "height": 512}}]});
    controller.ask("POST", "/api/v1/pipeline/load", Some(&load))?;
    let mut early = Peer::client(&controller)?;
    let during = early.ask("offer", offer)?;
    match during["status"].as_u64() {
        // The load was quicker than the offer.
        Some(200) => drop(early.frames(1)?),
        status => ensure!(
            matches!(status, Some(400 | 409 | 503)) && during["reply"]["detail"].is_string(),
            "{during}"
        ),
    }
    controller.load("scope-tiny", &load["pipelines"][0]["load_params"])
}

#[test]
fn a_ten_gigabyte_upload_is_refused_before_it_is_read() -> Result<()> {
    let (controller, mut client) = with_a_session()?;
    let mut stream = http::open(&controller.address)?;
    let head = format!(
        "POST /api/v1/assets?filename=big.mp4 HTTP/1.1\r\nHost: {}\r\nContent-Type: application/octet-stream\r\nContent-Length: {}\r\n\r\n",
        controller.address,
        10_u64 << 30
    );
    let began = Instant::now();
    stream.write_all(head.as_bytes())?;
    // It may hang up on us while we still talk; what counts is what it said.
    let _ = stream.write_all(&[0; 64 * 1024]);

    assert_refused(&http::read(&mut stream)?, 413)?;

    assert!(began.elapsed() < Duration::from_secs(5));
    assert!(!controller.home().join("assets/big.mp4").exists());
    client.frames(10)?;
    Ok(())
}

#[test]
fn a_name_with_dots_never_leaves_its_folder() -> Result<()> {
    let controller = Controller::start()?;
    std::fs::write(controller.home().join("secret.png"), b"canary")?;

    let names = [
        "../secret.png",
        "..%2fsecret.png",
        "%2e%2e/secret.png",
        "a/../../secret.png",
        "..%5csecret.png",
        "%00.png",
    ];
    for name in names {
        let upload = controller.call(
            "POST",
            &format!("/api/v1/assets?filename={name}"),
            Some(&json!("evil")),
        )?;
        assert!(
            (400..500).contains(&upload.status),
            "{name}: {} {}",
            upload.status,
            upload.text()
        );
        let download = controller.call("GET", &format!("/api/v1/assets/{name}"), None)?;
        assert!(
            (400..500).contains(&download.status),
            "{name}: {} {}",
            download.status,
            download.text()
        );
        assert!(!download.text().contains("canary"));
    }

    assert_eq!(
        std::fs::read(controller.home().join("secret.png"))?,
        b"canary"
    );
    assert_eq!(
        controller
            .call("GET", "/../../../etc/passwd", None)?
            .text()
            .matches("root:")
            .count(),
        0
    );
    Ok(())
}

#[test]
fn bad_values_are_named_and_change_nothing() -> Result<()> {
    let (controller, mut client) = with_a_session()?;
    let before = controller.ask("GET", "/api/v1/session/parameters", None)?;

    for bad in [
        json!({"noise_scale": 7}),
        json!({"noise_scale": "much"}),
        json!({"prompts": "blueprint"}),
        json!({"prompts": [{"text": "x", "weight": -1}]}),
        json!([]),
        Value::Null,
    ] {
        assert_refused(
            &controller.call("POST", "/api/v1/session/parameters", Some(&bad))?,
            422,
        )?;
    }

    assert_eq!(
        controller.ask("GET", "/api/v1/session/parameters", None)?,
        before
    );
    client.frames(10)?;
    Ok(())
}

#[test]
fn a_crowd_that_says_nothing_does_not_stop_the_pictures() -> Result<()> {
    let (controller, mut client) = with_a_session()?;
    let crowd = (0..200)
        .map(|_| http::open(&controller.address))
        .collect::<Result<Vec<_>>>()?;
    thread::sleep(Duration::from_millis(200));

    let seen = client.frames(60)?;

    assert!(seen["fps"].as_f64() > Some(20.0), "{seen}");
    controller.ask("GET", "/health", None)?;
    drop(crowd);
    Ok(())
}
