//! The session without a client: from a file or a test picture, to a recording.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use scope_controller::library::assets::Assets;
use scope_controller::media::Still;
use scope_controller::session::{Furniture, HEADLESS, SessionError, Sessions, Wanted};
use serde_json::{Value, json};

use crate::client::{Client, Wish, until, wanted};
use crate::recording::{Film, furniture, shelf};
use crate::{patch, processor, registry};

/// Makes a file as another program would.
fn make(line: &str, file: &Path) {
    let made = Command::new("gst-launch-1.0")
        .arg("-q")
        .args(line.split_whitespace())
        .arg(format!("location={}", file.display()))
        .status();
    assert!(made.unwrap().success());
}

/// One second of a ball at 160 by 120, 15 pictures.
fn film(folder: &Path) -> Furniture {
    std::fs::create_dir_all(folder.join("assets")).unwrap();
    let file = folder.join("assets/ball.webm");
    let line = "videotestsrc num-buffers=15 pattern=ball ! video/x-raw,width=160,height=120,framerate=15/1 \
                ! vp8enc deadline=1 threads=1 ! webmmux ! filesink";
    make(line, &file);
    Furniture {
        assets: Assets::new(folder.join("assets"), 0),
        ..furniture(shelf(&folder.join("recordings")))
    }
}

fn from(source: &Value) -> Wanted {
    Wanted {
        initial_parameters: patch(&json!({"input_source": source})),
        ..wanted()
    }
}

fn clip() -> Value {
    json!({"enabled": true, "source_type": "video_file", "source_name": "ball"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_goes_round_through_a_model_into_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = registry();
    sessions.furnish(film(folder.path()));
    let small = Wanted {
        processors: vec![processor("identity", &[], Some((96, 64)))],
        ..from(&clip())
    };

    sessions.start(small).await.unwrap();
    let came = |count: u64| {
        let sessions = &sessions;
        until("pictures", Duration::from_secs(10), move || {
            sessions.metrics()[HEADLESS]["frames_out"].as_u64() >= Some(count)
        })
    };
    came(5).await;
    assert_eq!(sessions.start_recording(HEADLESS, None).await, Ok(true));
    let began = Instant::now();
    came(40).await;
    assert_eq!(sessions.stop_recording(HEADLESS, None).await, Ok(true));
    let watched = began.elapsed().as_secs_f64();

    let figures = sessions.metrics()[HEADLESS].clone();
    assert_eq!(
        (&figures["headless"], &figures["codec"]),
        (&json!(true), &Value::Null)
    );
    let rate = figures["fps_in"].as_f64().unwrap();
    assert!(
        (8.0..20.0).contains(&rate),
        "in the file's own time: {figures}"
    );
    let film = Film::watch(&sessions.recording(HEADLESS, None).await.unwrap());
    assert_eq!(film.sizes, [(96, 64)]);
    assert!((film.seconds - watched).abs() < 0.5, "{film:?}, {watched}");
    let jpeg = sessions
        .picture(Some("output".into()), Still::Jpeg(85))
        .await;
    assert!(jpeg.unwrap().starts_with(&[0xFF, 0xD8]));
    let nowhere = sessions.picture(Some("attic".into()), Still::Png).await;
    assert!(nowhere.unwrap_err().contains("`output`"));
    assert_eq!(
        (sessions.stop().await, sessions.stop().await),
        (true, false)
    );
    assert!(sessions.picture(None, Still::Png).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn its_source_and_its_pictures_change_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = registry();
    sessions.furnish(film(folder.path()));
    let test = json!({"enabled": true, "source_type": "test", "source_name": "smpte"});
    sessions.start(from(&test)).await.unwrap();
    let size = |wanted: (u32, u32)| {
        let sessions = &sessions;
        async move {
            let end = Instant::now() + Duration::from_secs(10);
            loop {
                if let Ok(png) = sessions.picture(None, Still::Png).await {
                    // A PNG says its size in bytes 16 to 24.
                    let side = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
                    if (side(16), side(20)) == wanted {
                        return;
                    }
                }
                assert!(Instant::now() < end, "no picture of {wanted:?}");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    size((512, 512)).await;

    sessions
        .apply_parameters(patch(&json!({"input_source": clip()})))
        .await
        .unwrap();
    size((160, 120)).await;

    let missing =
        json!({"input_source": {"enabled": true, "source_type": "video_file", "source_name": "x"}});
    let refused = sessions.apply_parameters(patch(&missing)).await;
    assert!(
        matches!(refused, Err(SessionError::BadParameter(why)) if why.contains("Asset not found"))
    );
    assert_eq!(
        sessions.start(from(&test)).await,
        Err(SessionError::Running)
    );
    sessions.shutdown().await;
    assert!(sessions.metrics().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_not_there_is_named_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = registry();
    sessions.furnish(film(folder.path()));
    std::fs::write(folder.path().join("secret.mp4"), "").unwrap();
    let secret = folder.path().join("secret.mp4");

    for (kind, name) in [
        ("video_file", "nothing"),
        ("video_file", "../secret.mp4"),
        ("video_file", secret.to_str().unwrap()),
        ("test", "nonsense"),
    ] {
        let source = json!({"enabled": true, "source_type": kind, "source_name": name});
        let refused = sessions.start(from(&source)).await;
        assert!(
            matches!(refused, Err(SessionError::BadParameter(_))),
            "{name}: {refused:?}"
        );
        assert!(sessions.metrics().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_may_stand_in_for_a_clients_camera() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = registry();
    sessions.furnish(film(folder.path()));
    let client = Client::new(&Wish::default()).await;

    client
        .open(&sessions, client.offer_of(from(&clip())))
        .await
        .unwrap();

    let sized = || *client.seen.size.lock().unwrap() == Some((160, 120));
    until("the file's picture", Duration::from_secs(10), sized).await;
    let own = json!({"input_source": {"enabled": false}});
    sessions.apply_parameters(patch(&own)).await.unwrap();
    let sized = || *client.seen.size.lock().unwrap() == Some((320, 240));
    until("the client's own", Duration::from_secs(10), sized).await;

    let tone = "audiotestsrc num-buffers=40 ! vorbisenc ! webmmux ! filesink";
    make(tone, &folder.path().join("assets/tone.webm"));
    let silent = json!({"enabled": true, "source_type": "video_file", "source_name": "tone"});
    let silent = patch(&json!({"input_source": silent}));
    sessions.apply_parameters(silent).await.unwrap();
    let told = client.hear("error").await["detail"].clone();
    assert!(told.as_str().unwrap().contains("no video"), "{told}");
}
