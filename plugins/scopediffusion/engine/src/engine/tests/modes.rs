//! Guidance, feedback, the similar-image filter, pausing: what each of them may never do.

use super::*;
use crate::parameters::SimilarImageFilter;

/// Largest value of the picture over many frames of a scene that stands still.
fn largest_values(parameters: Parameters, pace: Pace, frames: usize) -> (f32, f32) {
    let mut engine = Engine::new(fake::model(), SIZE, pace, parameters).unwrap();
    let (mut first, mut largest) = (0.0_f32, 0.0_f32);
    for frame in 0..frames {
        if process(&mut engine, 1) == Outcome::Picture {
            let values = engine.drawn.values.iter();
            let now = values.fold(0.0_f32, |largest, value| largest.max(value.abs()));
            if frame < 10 {
                first = first.max(now);
            }
            largest = largest.max(now);
        }
    }
    assert_eq!(engine.faults(), 0);
    (first, largest)
}

#[test]
fn a_still_scene_stays_bounded_for_ten_thousand_frames_in_every_mode() {
    for cfg_type in [
        CfgType::None,
        CfgType::Full,
        CfgType::SelfNegative,
        CfgType::Initialize,
    ] {
        for (steps, batching) in [
            (&[359][..], Batching::Sequential),
            (&[759, 599, 359], Batching::Stream),
            (&[359, 99], Batching::Sequential),
        ] {
            for latent_feedback in [0.0, 0.9] {
                let parameters = Parameters {
                    cfg_type,
                    guidance_scale: 1.4,
                    latent_feedback,
                    negative_prompt: "blurry".into(),
                    ..stepping(steps)
                };
                let (first, largest) = largest_values(parameters, pace(batching), 10_000);
                assert!(
                    largest <= first * 1.0001,
                    "{cfg_type:?} {steps:?} {latent_feedback}: {first} at first, then {largest}"
                );
            }
        }
    }
}

#[test]
fn every_way_of_guidance_shows_something_else() {
    let shown = |json: &str| {
        let mut engine = engine(Batching::Sequential, stepping(&[749, 499]));
        patch(&mut engine, json);
        process(&mut engine, 1);
        engine.drawn.values
    };
    let pictures = [
        r#"{"cfg_type": "none", "guidance_scale": 1.5}"#,
        r#"{"cfg_type": "self", "guidance_scale": 1.5}"#,
        r#"{"cfg_type": "self", "guidance_scale": 1.5, "delta": 0.5}"#,
        r#"{"cfg_type": "full", "guidance_scale": 1.5, "negative_prompt": "snow"}"#,
        r#"{"cfg_type": "full", "guidance_scale": 1.5, "negative_prompt": "night"}"#,
        r#"{"cfg_type": "initialize", "guidance_scale": 1.5, "negative_prompt": "snow"}"#,
        r#"{"cfg_type": "initialize", "guidance_scale": 1.5, "negative_prompt": "night"}"#,
    ]
    .map(shown);

    for (at, picture) in pictures.iter().enumerate() {
        assert!(!pictures[..at].contains(picture), "{at} repeats another");
    }
    assert_eq!(
        shown(r#"{"cfg_type": "full"}"#),
        pictures[0],
        "a scale of 1 is no guidance"
    );
}

#[test]
fn guidance_may_begin_and_end_while_frames_are_in_flight() {
    let mut engine = engine(Batching::Stream, stepping(&[749, 499, 249]));
    for (number, kind) in ["none", "self", "full", "initialize", "self", "none"]
        .into_iter()
        .cycle()
        .take(24)
        .enumerate()
    {
        patch(
            &mut engine,
            &format!(
                r#"{{"cfg_type": "{kind}", "guidance_scale": 2, "negative_prompt": "{kind}"}}"#
            ),
        );
        process(&mut engine, number as u8);
    }

    assert!(engine.drawn.values.iter().all(|value| value.abs() < 1e3));
}

/// Skips whatever it may.
pub(super) fn filtering() -> SimilarImageFilter {
    SimilarImageFilter {
        enabled: true,
        threshold: 0.5,
        max_skip_frame: 1000,
    }
}

#[test]
fn a_still_scene_is_drawn_to_the_end_and_then_rests() {
    let parameters = Parameters {
        similar_image_filter: filtering(),
        ..stepping(&[749, 499, 249])
    };
    let mut still = engine(Batching::Stream, parameters);
    let mut plain = engine(Batching::Stream, stepping(&[749, 499, 249]));
    let (mut shown, mut expected) = (Vec::new(), Vec::new());
    for number in [0, 1, 2, 2, 2, 2, 2, 2] {
        for (engine, pictures) in [(&mut still, &mut shown), (&mut plain, &mut expected)] {
            if process(engine, number) == Outcome::Picture {
                pictures.push(written(engine));
            }
        }
    }

    assert_eq!(still.stream.occupied(), 0, "nothing runs any more");
    assert_eq!(
        shown, expected,
        "a repeated picture is the one that would be drawn again"
    );
}

#[test]
fn every_frame_gets_a_picture_when_frames_are_skipped() {
    for batching in [Batching::Stream, Batching::Sequential] {
        let parameters = Parameters {
            similar_image_filter: filtering(),
            ..stepping(&[749, 499])
        };
        let mut engine = engine(batching, parameters);
        let mut pictures = 0;
        for number in [0, 0, 0, 1, 1, 2, 3, 3, 3, 3] {
            pictures += usize::from(process(&mut engine, number) == Outcome::Picture);
        }
        while engine.drain().unwrap() == Outcome::Picture {
            pictures += 1;
        }

        assert_eq!((pictures, engine.in_flight()), (10, 0), "{batching:?}");
    }
}

#[test]
fn a_new_prompt_is_seen_in_a_still_scene() {
    let parameters = Parameters {
        similar_image_filter: filtering(),
        ..stepping(&[749])
    };
    let mut engine = engine(Batching::Sequential, parameters);
    process(&mut engine, 1);
    process(&mut engine, 1);
    let before = written(&engine);

    patch(&mut engine, r#"{"prompts": ["night"]}"#);
    process(&mut engine, 1);

    assert_ne!(written(&engine), before);
}

#[test]
fn pausing_in_mid_flight_holds_the_picture_for_every_frame() {
    let mut engine = engine(Batching::Stream, stepping(&[749, 499, 249]));
    let mut pictures = 0;
    for number in 0..5 {
        pictures += usize::from(process(&mut engine, number) == Outcome::Picture);
    }
    let held = written(&engine);

    patch(&mut engine, r#"{"paused": true}"#);
    for number in 5..9 {
        assert_eq!(process(&mut engine, number), Outcome::Picture);
        assert_eq!(written(&engine), held);
        pictures += 1;
    }
    patch(&mut engine, r#"{"paused": false}"#);
    process(&mut engine, 9);
    while engine.drain().unwrap() == Outcome::Picture {
        pictures += 1;
    }

    assert_ne!(written(&engine), held);
    // The picture that `process` above may have given is the tenth.
    assert!((9..=10).contains(&pictures), "{pictures}");
}

#[test]
fn feedback_keeps_a_share_of_the_picture_before() {
    let shown = |latent_feedback: f32| {
        let parameters = Parameters {
            latent_feedback,
            ..stepping(&[499])
        };
        let mut engine = engine(Batching::Sequential, parameters);
        process(&mut engine, 1);
        process(&mut engine, 2);
        engine.before.clone()
    };
    let (now, mixed) = (shown(0.0), shown(0.25));
    let before = {
        let mut engine = engine(Batching::Sequential, stepping(&[499]));
        process(&mut engine, 1);
        engine.before.clone()
    };

    for ((now, before), mixed) in now.iter().zip(&before).zip(&mixed) {
        assert!((0.75 * now + 0.25 * before - mixed).abs() < 1e-5);
    }
}

#[test]
fn the_noise_controller_gives_a_still_scene_more_noise_than_a_wild_one() {
    let first = |numbers: fn(u8) -> u8| {
        let mut engine = engine(Batching::Sequential, stepping(&[999, 249]));
        patch(&mut engine, r#"{"noise_controller": true}"#);
        for number in 0..20 {
            process(&mut engine, numbers(number));
        }
        engine.stream.first_timestep()
    };

    assert_eq!(
        (first(|_| 3), first(|number| number.wrapping_mul(97))),
        (699, 499)
    );
}

#[test]
fn pictures_that_are_no_numbers_are_counted_and_the_last_good_one_stays() {
    let mut graphs = fake::graphs();
    graphs.decoder = Box::new(fake::Fake {
        formula: |feeds| {
            let (shape, mut values) = (fake::decoder().formula)(feeds);
            // Bright frames overflow.
            if values.iter().sum::<f32>() / values.len() as f32 > 0.3 {
                values[5] = f32::NAN;
            }
            (shape, values)
        },
        ..fake::decoder()
    });
    let model = Model::assemble(&fake::folder("epsilon"), graphs, "cpu").unwrap();
    let parameters = stepping(&[19]);
    let mut engine = Engine::new(Arc::new(model), SIZE, Pace::default(), parameters).unwrap();
    let mut show = |byte: u8| {
        let data = vec![byte; 16 * 8 * 3];
        let view = FrameView {
            data: &data,
            width: 16,
            height: 8,
            stride: 48,
            layout: Layout::RGB,
        };
        let outcome = engine.process(Some(&view)).unwrap();
        (outcome, engine.faults(), engine.in_flight())
    };

    assert_eq!(
        show(255),
        (Outcome::Filling, 1, 0),
        "nothing good to hold yet"
    );
    assert_eq!(show(20), (Outcome::Picture, 1, 0));
    assert_eq!(show(255), (Outcome::Picture, 2, 0));
    let held = written(&engine);
    assert!(
        held.iter().all(|byte| *byte < 128),
        "the dark picture is held"
    );
}

#[test]
fn prompts_that_are_not_encoded_yet_come_later() {
    let mut engine = engine(Batching::Sequential, stepping(&[749]));
    process(&mut engine, 1);
    let before = written(&engine);

    let night = Patch::from_json(r#"{"prompts": ["night"], "seed": 42}"#).unwrap();
    engine.apply(&night, Prompts::Later).unwrap();
    process(&mut engine, 1);
    assert_eq!(written(&engine), before, "nobody has encoded them");

    let model = Arc::clone(engine.model());
    model.prepare(engine.parameters()).unwrap();
    process(&mut engine, 1);
    assert_ne!(written(&engine), before);
}

#[test]
fn frames_that_go_together_leave_one_by_one() {
    let pace = Pace {
        batching: Batching::Stream,
        frame_buffer: 3,
        ..Pace::default()
    };
    let mut engine = Engine::new(fake::model(), SIZE, pace, stepping(&[749, 499])).unwrap();

    assert_eq!(engine.delay(), 5);
    let outcomes: Vec<_> = (0..9).map(|number| process(&mut engine, number)).collect();

    assert_eq!(outcomes[..5], [Outcome::Filling; 5]);
    assert_eq!(outcomes[5..], [Outcome::Picture; 4]);
    let mut rest = 0;
    while engine.drain().unwrap() == Outcome::Picture {
        rest += 1;
    }
    assert_eq!(rest, 5);
}

#[test]
fn blended_seeds_draw_what_neither_seed_draws() {
    let shown = |json: &str| {
        let mut engine = engine(Batching::Sequential, stepping(&[749]));
        patch(&mut engine, json);
        process(&mut engine, 1);
        written(&engine)
    };
    let blend = shown(r#"{"seeds": [{"seed": 1, "weight": 0.5}, {"seed": 2, "weight": 0.5}]}"#);

    assert_ne!(blend, shown(r#"{"seed": 1}"#));
    assert_ne!(blend, shown(r#"{"seed": 2}"#));
    let (one, other) = (shown(r#"{"seeds": [1]}"#), shown(r#"{"seed": 1}"#));
    assert_eq!(one, other);
}

#[test]
fn a_shorter_delay_is_caught_up_with() {
    let mut engine = engine(Batching::Stream, stepping(&[749, 499, 249]));
    for number in 0..5 {
        process(&mut engine, number);
    }
    assert_eq!(engine.in_flight(), 2);

    patch(&mut engine, r#"{"denoising_step_list": [500]}"#);
    assert_eq!(process(&mut engine, 5), Outcome::Picture);
    let mut more = 0;
    while engine.catch_up().unwrap() == Outcome::Picture {
        more += 1;
    }

    assert_eq!((more, engine.in_flight(), engine.delay()), (2, 0, 0));
}

/// A fully distilled LCM: the guidance scale is an input, 6 values wide to keep the test short.
fn distilled() -> Arc<Model> {
    let mut graphs = fake::graphs();
    let mut unet = fake::unet();
    let mut guidance = fake::port("timestep_cond", crate::backend::Element::F32, 2);
    guidance.shape[1] = Some(6);
    unet.inputs.push(guidance);
    graphs.unet = Box::new(unet);
    Arc::new(Model::assemble(&fake::folder("epsilon"), graphs, "cpu").unwrap())
}

#[test]
fn a_distilled_model_is_fed_its_guidance_scale_as_waves() {
    let parameters = Parameters {
        guidance_scale: 8.0,
        cfg_type: CfgType::Full,
        ..stepping(&[749, 499])
    };
    let mut engine = Engine::new(distilled(), SIZE, Pace::default(), parameters).unwrap();
    process(&mut engine, 1);

    let guidance = |engine: &Engine| {
        let call = crate::stream::Call {
            sample: &[0.0; 64],
            timesteps: &[749.0, 499.0],
            negative: 0,
        };
        engine
            .conditions
            .rows(&call, engine.latent)
            .guidance
            .to_vec()
    };

    // diffusers: w = (8 − 1)·1000, frequencies 10000^(−k/2) for k = 0, 1, 2; first sines, then cosines.
    let waves = [7000.0_f64, 70.0, 0.7];
    let sines = waves.map(|wave| wave.sin() as f32);
    let expected = [sines, waves.map(|wave| wave.cos() as f32)].concat();
    let fed = guidance(&engine);
    assert_eq!(fed.len(), 12);
    for row in fed.chunks(6) {
        crate::golden::assert_close("guidance", row, &expected, 1e-5);
    }
    assert!(engine.model.facts().guidance_embedded);
    assert_eq!(
        engine.stream.guidance.way(),
        CfgType::None,
        "it costs no rows"
    );

    patch(&mut engine, r#"{"guidance_scale": 1}"#);
    assert_eq!(guidance(&engine)[..6], [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
}

#[test]
fn warming_up_changes_nothing_that_is_seen() {
    for batching in [Batching::Stream, Batching::Sequential] {
        let shown = |warm: &[u8]| {
            let mut engine = engine(batching, stepping(&[749, 499, 249]));
            let mut pictures = Vec::new();
            for number in 0..6 {
                if warm.contains(&number) {
                    engine.warm_up().unwrap();
                }
                if process(&mut engine, number) == Outcome::Picture {
                    pictures.push(written(&engine));
                }
            }
            pictures
        };

        assert_eq!(shown(&[0, 3]), shown(&[]), "{batching:?}");
    }
}
