//! A frame set going before the picture of the one before it is taken: the same pictures, one frame later.

use super::modes::filtering;
use super::*;

fn pipelined(batching: Batching, parameters: Parameters) -> Engine {
    let pace = Pace {
        pipelining: true,
        ..pace(batching)
    };
    Engine::new(fake::model(), SIZE, pace, parameters).unwrap()
}

#[test]
fn pipelined_pictures_are_the_same_and_come_one_frame_later() {
    for (batching, steps) in [
        (Batching::Sequential, &[749, 499][..]),
        (Batching::Stream, &[749, 499, 249]),
        (Batching::Stream, &[499]),
    ] {
        let run = |mut engine: Engine| {
            let mut pictures = Vec::new();
            for number in 0..7 {
                let outcome = process(&mut engine, number);
                pictures.push((outcome == Outcome::Picture).then(|| written(&engine)));
            }
            let delay = engine.delay();
            while engine.drain().unwrap() == Outcome::Picture {
                pictures.push(Some(written(&engine)));
            }
            assert_eq!(engine.in_flight(), 0);
            (delay, pictures)
        };
        let (delay, plain) = run(engine(batching, stepping(steps)));
        let (later, shifted) = run(pipelined(batching, stepping(steps)));

        assert_eq!(later, delay + 1);
        assert_eq!(shifted[0], None, "the first one is still being computed");
        let same = |pictures: &[Option<Vec<u8>>]| -> Vec<Vec<u8>> {
            pictures.iter().flatten().cloned().collect()
        };
        assert_eq!(same(&shifted), same(&plain));
        let steady = later + 1;
        assert!(
            shifted[steady..].iter().all(Option::is_some),
            "{batching:?}"
        );
    }
}

#[test]
fn a_change_in_mid_flight_counts_from_the_next_frame_on_when_pipelined() {
    let run = |mut engine: Engine| {
        let mut pictures = Vec::new();
        for number in 0..6 {
            if number == 3 {
                patch(&mut engine, r#"{"prompts": ["night"]}"#);
            }
            if process(&mut engine, number) == Outcome::Picture {
                pictures.push(written(&engine));
            }
        }
        while engine.drain().unwrap() == Outcome::Picture {
            pictures.push(written(&engine));
        }
        pictures
    };

    let parameters = stepping(&[749]);
    let plain = run(engine(Batching::Sequential, parameters.clone()));
    assert_eq!(run(pipelined(Batching::Sequential, parameters)), plain);
}

#[test]
fn every_frame_gets_a_picture_when_frames_are_skipped_and_pipelined() {
    let parameters = Parameters {
        similar_image_filter: filtering(),
        ..stepping(&[749, 499])
    };
    for batching in [Batching::Stream, Batching::Sequential] {
        let mut engine = pipelined(batching, parameters.clone());
        let mut pictures = 0;
        for number in [0, 0, 0, 1, 1, 2, 3, 3, 3, 3] {
            pictures += usize::from(process(&mut engine, number) == Outcome::Picture);
            assert!(engine.in_flight() <= engine.delay(), "{batching:?}");
        }
        while engine.drain().unwrap() == Outcome::Picture {
            pictures += 1;
        }
        assert_eq!((pictures, engine.in_flight()), (10, 0), "{batching:?}");
    }
}
