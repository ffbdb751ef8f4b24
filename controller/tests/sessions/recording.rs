//! Recordings of sessions with a real peer, read back by GStreamer.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gst::prelude::*;
use scope_controller::config::RecordingConfig;
use scope_controller::library::assets::Assets;
use scope_controller::library::shelf::Shelf;
use scope_controller::session::{Furniture, RecordNode, RecordingError, Sessions, Tap, Wanted};
use serde_json::json;

use crate::client::{Client, Wish, until, wanted};
use crate::swapping::{TwoSizes, nowhere};
use crate::{patch, processor, registry, streaming};

/// Recordings in this folder, as many as one likes.
pub(crate) fn shelf(dir: &Path) -> Arc<Shelf> {
    Arc::new(Shelf::new(RecordingConfig {
        dir: dir.into(),
        keep: None,
        total: u64::MAX,
        spare: 0,
    }))
}

/// Everything else a session may need; no files.
pub(crate) fn furniture(shelf: Arc<Shelf>) -> Furniture {
    Furniture {
        models: Arc::new(TwoSizes),
        cloud: nowhere(),
        shelf,
        assets: Assets::new("/nowhere".into(), 0),
    }
}

/// What a file shows.
#[derive(Debug)]
pub(crate) struct Film {
    pub(crate) sizes: Vec<(i32, i32)>,
    times: Vec<Duration>,
    pub(crate) seconds: f64,
}

impl Film {
    /// Decodes all of it.
    pub(crate) fn watch(path: &Path) -> Self {
        let text = "filesrc name=file ! decodebin ! appsink name=sink sync=false";
        let pipeline = gst::parse::launch(text).unwrap();
        let pipeline = pipeline.downcast::<gst::Pipeline>().unwrap();
        let location = path.to_str().unwrap();
        pipeline
            .by_name("file")
            .unwrap()
            .set_property("location", location);
        let sink = pipeline.by_name("sink").unwrap();
        let sink = sink.downcast::<gst_app::AppSink>().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let (mut sizes, mut times, mut seconds) = (Vec::new(), Vec::new(), 0.0);
        while let Ok(sample) = sink.pull_sample() {
            let info = sample.caps().unwrap().structure(0).unwrap();
            sizes.push((info.get("width").unwrap(), info.get("height").unwrap()));
            times.push(Duration::from(sample.buffer().unwrap().pts().unwrap()));
            let length: Option<gst::ClockTime> = pipeline.query_duration();
            seconds = length.map_or(seconds, |length| length.mseconds() as f64 / 1000.0);
        }
        let failure = pipeline
            .bus()
            .unwrap()
            .pop_filtered(&[gst::MessageType::Error]);
        assert!(failure.is_none(), "{failure:?}");
        pipeline.set_state(gst::State::Null).unwrap();
        sizes.dedup();
        Self {
            sizes,
            times,
            seconds,
        }
    }

    fn longest_gap(&self) -> Duration {
        let gaps = self.times.windows(2).map(|pair| pair[1] - pair[0]);
        gaps.max().unwrap_or_default()
    }
}

fn about(one: f64, other: f64) -> bool {
    (one - other).abs() < 0.5
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_lasts_as_long_as_it_was_watched() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = registry();
    sessions.furnish(furniture(shelf(folder.path())));
    let (client, id) = streaming(&sessions, &Wish::default()).await;
    assert_eq!(
        sessions.stop_recording(&id, None).await,
        Ok(false),
        "stop without start"
    );

    assert_eq!(sessions.start_recording(&id, None).await, Ok(true));
    let began = Instant::now();
    assert_eq!(
        sessions.start_recording(&id, None).await,
        Ok(false),
        "it goes on already"
    );
    client.see(60).await;
    let figures = sessions.metrics()[&id]["recordings"][0].clone();
    assert_eq!(sessions.stop_recording(&id, None).await, Ok(true));
    let watched = began.elapsed().as_secs_f64();

    let path = sessions.recording(&id, None).await.unwrap();
    let film = Film::watch(&path);
    assert_eq!(film.sizes, [(320, 240)]);
    assert!(
        about(film.seconds, watched),
        "{} of {watched} s",
        film.seconds
    );
    let (frames, dropped) = (&figures["frames"], &figures["frames_dropped"]);
    assert!(
        film.times.len() as u64 >= frames.as_u64().unwrap(),
        "{film:?} {figures}"
    );
    assert!(
        film.times.len() > 45 && dropped.as_u64() < Some(5),
        "{film:?} {figures}"
    );
    assert_eq!(film.times[0], Duration::ZERO);
    assert_eq!(sessions.recording(&id, None).await, Ok(path), "it stays");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_notices_nothing_but_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = registry();
    sessions.furnish(furniture(shelf(folder.path())));
    let client = Client::new(&Wish::default()).await;
    let small = Wanted {
        processors: vec![processor("identity", &[], Some((160, 112)))],
        initial_parameters: patch(&json!({"recording": true})),
        ..wanted()
    };
    let began = Instant::now();
    let id = client
        .open(&sessions, client.offer_of(small))
        .await
        .unwrap()
        .session_id;
    client.see(20).await;

    for pipeline in ["wide", "passthrough"] {
        let other = patch(&json!({"pipeline_ids": [pipeline]}));
        sessions.apply_parameters(other).await.unwrap();
        client.see(20).await;
    }
    client.resize(640, 360).await;
    let resized = || *client.seen.size.lock().unwrap() == Some((640, 360));
    until("the new size", Duration::from_secs(10), resized).await;
    sessions
        .apply_parameters(patch(&json!({"paused": true})))
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    sessions
        .apply_parameters(patch(&json!({"paused": false})))
        .await
        .unwrap();
    client.see(20).await;
    // A client that no longer takes or sends anything.
    client.fall_silent();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sessions.stop_recording(&id, None).await, Ok(true));
    let most = began.elapsed().as_secs_f64();

    let film = Film::watch(&sessions.recording(&id, None).await.unwrap());
    assert_eq!(film.sizes, [(160, 112)], "the first picture decides");
    assert!(
        film.seconds > most - 2.5 && film.seconds < most,
        "{film:?} of {most}"
    );
    let paused = film.longest_gap().as_secs_f64();
    assert!(
        paused > 1.8 && paused < 3.0,
        "the pause stands in it: {film:?}"
    );
    assert!(film.times.len() > 60, "{film:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fetching_while_recording_cuts_the_file_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = registry();
    sessions.furnish(furniture(shelf(folder.path())));
    let (client, id) = streaming(&sessions, &Wish::default()).await;
    sessions.start_recording(&id, None).await.unwrap();
    let early = sessions.recording(&id, None).await;
    // Refused only while there is no picture yet.
    assert!(
        matches!(early, Ok(_) | Err(RecordingError::Nothing(_))),
        "{early:?}"
    );

    let began = Instant::now();
    client.see(45).await;
    let first = sessions.recording(&id, None).await.unwrap();
    client.see(30).await;
    assert_eq!(sessions.stop_recording(&id, None).await, Ok(true));
    let all = began.elapsed().as_secs_f64();
    let second = sessions.recording(&id, None).await.unwrap();

    assert_ne!(first, second);
    let (first, second) = (Film::watch(&first), Film::watch(&second));
    assert!(
        about(first.seconds + second.seconds, all),
        "{first:?} {second:?} {all}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_session_completes_its_recording() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = registry();
    sessions.furnish(furniture(shelf(folder.path())));
    let (one, first) = streaming(&sessions, &Wish::default()).await;
    let (two, second) = streaming(&sessions, &Wish::default()).await;
    for id in [&first, &second] {
        assert_eq!(sessions.start_recording(id, None).await, Ok(true));
    }
    one.see(45).await;

    sessions.close(&first).await;

    let film = Film::watch(&sessions.recording(&first, None).await.unwrap());
    assert!(film.times.len() > 30 && film.seconds > 1.0, "{film:?}");
    let gone = sessions.start_recording(&first, None).await;
    assert_eq!(gone, Err(RecordingError::NoSession(first)));
    two.see(10).await;
    assert_eq!(
        sessions.stop_recording(&second, None).await,
        Ok(true),
        "the other goes on"
    );
    let nobody = sessions.recording("nobody", None).await;
    assert_eq!(nobody, Err(RecordingError::NoSession("nobody".into())));
}

#[tokio::test(flavor = "multi_thread")]
async fn record_nodes_record_the_input_and_the_picture() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = registry();
    sessions.furnish(furniture(shelf(folder.path())));
    let client = Client::new(&Wish::default()).await;
    let record = |id: &str, tap| RecordNode { id: id.into(), tap };
    let graph = Wanted {
        processors: vec![processor("identity", &[], Some((160, 112)))],
        records: vec![
            record("in", Some(Tap::Input)),
            record("out", Some(Tap::Picture)),
            record("between", None),
        ],
        // For a session without record nodes.
        initial_parameters: patch(&json!({"recording": true})),
        ..wanted()
    };
    let id = client
        .open(&sessions, client.offer_of(graph))
        .await
        .unwrap()
        .session_id;
    client.see(5).await;

    let start = |node: &'static str| sessions.start_recording(&id, Some(node.into()));
    assert_eq!(
        (start("in").await, start("out").await),
        (Ok(true), Ok(true))
    );
    assert!(matches!(
        start("between").await,
        Err(RecordingError::Between(_))
    ));
    let unknown = start("x").await.unwrap_err();
    assert!(
        unknown.to_string().contains("`in`, `out`, `between`"),
        "{unknown}"
    );
    let unnamed = sessions.start_recording(&id, None).await;
    assert!(matches!(unnamed, Err(RecordingError::NodeNeeded(_))));
    client.see(30).await;
    assert_eq!(
        sessions.metrics()[&id]["recordings"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    let mut sizes = Vec::new();
    for node in ["in", "out"] {
        let node = Some(node.to_owned());
        assert_eq!(sessions.stop_recording(&id, node.clone()).await, Ok(true));
        let film = Film::watch(&sessions.recording(&id, node).await.unwrap());
        sizes.push(film.sizes);
    }
    assert_eq!(sizes, [[(320, 240)], [(160, 112)]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_ends_the_recording_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = registry();
    let small = RecordingConfig {
        dir: folder.path().join("recordings"),
        keep: None,
        total: 10_000,
        spare: 0,
    };
    sessions.furnish(furniture(Arc::new(Shelf::new(small))));
    let (client, id) = streaming(&sessions, &Wish::default()).await;
    client.connected().await;

    sessions.start_recording(&id, None).await.unwrap();

    let told = client.hear("error").await;
    assert!(
        told["detail"].as_str().unwrap().contains("ended early"),
        "{told}"
    );
    client.see(10).await;
    let refused = sessions.stop_recording(&id, None).await;
    assert!(
        matches!(refused, Err(RecordingError::Full(_))),
        "{refused:?}"
    );
    assert_eq!(
        sessions.stop_recording(&id, None).await,
        Ok(false),
        "it was said once"
    );
    let film = Film::watch(&sessions.recording(&id, None).await.unwrap());
    assert!(film.times.len() > 5, "{film:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_takes_nothing_is_named_and_the_session_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let blocked: PathBuf = folder.path().join("recordings");
    std::fs::write(&blocked, "no folder").unwrap();
    let sessions = registry();
    sessions.furnish(furniture(shelf(&blocked)));
    let (client, id) = streaming(&sessions, &Wish::default()).await;

    let Err(RecordingError::Failed(reason)) = sessions.start_recording(&id, None).await else {
        panic!("it records")
    };

    assert!(reason.contains(blocked.to_str().unwrap()), "{reason}");
    client.see(10).await;
    assert_eq!(sessions.stop_recording(&id, None).await, Ok(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_without_a_picture_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = registry();
    sessions.furnish(furniture(shelf(folder.path())));
    let silent = Wish {
        size: None,
        ..Wish::default()
    };
    let client = Client::new(&silent).await;
    let answer = client.open(&sessions, client.offer()).await.unwrap();
    let id = answer.session_id;
    sessions.start_recording(&id, None).await.unwrap();

    let refused = sessions.stop_recording(&id, None).await;

    assert!(
        matches!(refused, Err(RecordingError::Nothing(_))),
        "{refused:?}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    drop(client);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_picture_is_recorded_too() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = registry();
    sessions.furnish(furniture(shelf(folder.path())));
    let (_client, id) = streaming(&sessions, &Wish::default()).await;
    let paused = patch(&json!({"paused": true}));
    sessions.apply_parameters(paused).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;

    sessions.start_recording(&id, None).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(sessions.stop_recording(&id, None).await, Ok(true));

    let film = Film::watch(&sessions.recording(&id, None).await.unwrap());
    assert_eq!(film.times.len(), 2, "as it began and as it ended: {film:?}");
    assert!(film.seconds > 0.9 && film.seconds < 2.0, "{film:?}");
}
