//! Latents where the graphs compute: the same pictures as with latents on the host, whatever happens.
//!
//! Needs ONNX Runtime (`make setup-run`); fails without it. The provider is the CPU: a GPU runs the same graphs.

use std::sync::LazyLock;

use super::golden::load_with;
use super::*;
use crate::golden::{self, assert_close};
use crate::{Latents, Provider};

const SIZE: (u32, u32) = (48, 32);

/// The same arithmetic in another order moves results by 1e-6; several steps of guidance by more.
const PICTURE: f32 = 1e-4;

static MODELS: LazyLock<[Arc<Model>; 2]> = LazyLock::new(|| {
    [Latents::Host, Latents::Provider]
        .map(|latents| Arc::new(load_with(&golden::model_dir(), Provider::Cpu, latents)))
});

/// An engine with latents on the host, and one with latents on the provider.
fn engines(pace: Pace, parameters: &Parameters) -> [Engine; 2] {
    let engines = [0, 1].map(|at| {
        let model = Arc::clone(&MODELS[at]);
        Engine::new(model, SIZE, pace, parameters.clone()).unwrap()
    });
    assert!(!engines[0].stream.is_on_provider() && engines[1].stream.is_on_provider());
    engines
}

fn stream(frame_buffer: u32) -> Pace {
    Pace {
        frame_buffer,
        ..pace(Batching::Stream)
    }
}

fn show(engine: &mut Engine, number: usize) -> Option<Vec<f32>> {
    let data = golden::picture(number, SIZE);
    let view = FrameView {
        data: &data,
        width: SIZE.0,
        height: SIZE.1,
        stride: 3 * SIZE.0 as usize,
        layout: Layout::RGB,
    };
    let outcome = engine.process(Some(&view)).unwrap();
    drawn(engine, outcome)
}

fn drawn(engine: &Engine, outcome: Outcome) -> Option<Vec<f32>> {
    (outcome == Outcome::Picture).then(|| engine.drawn.values.clone())
}

fn rest(engine: &mut Engine) -> Vec<Option<Vec<f32>>> {
    let mut pictures = Vec::new();
    loop {
        let outcome = engine.drain().unwrap();
        pictures.push(drawn(engine, outcome));
        if outcome == Outcome::Filling {
            return pictures;
        }
    }
}

/// Does the same with both engines and compares what came out, in its order.
fn agree(
    pace: Pace,
    parameters: &Parameters,
    what: impl Fn(&mut Engine) -> Vec<Option<Vec<f32>>>,
) -> Vec<Vec<f32>> {
    let [mut host, mut provider] = engines(pace, parameters);
    let (expected, pictures) = (what(&mut host), what(&mut provider));
    let came = |pictures: &[Option<Vec<f32>>]| -> Vec<bool> {
        pictures.iter().map(Option::is_some).collect()
    };
    assert_eq!(came(&pictures), came(&expected), "{pace:?} {parameters:?}");
    assert_eq!(host.in_flight(), provider.in_flight());
    let both = pictures.iter().flatten().zip(expected.iter().flatten());
    for (at, (picture, expected)) in both.enumerate() {
        let what = format!("picture {at} of {pace:?}");
        assert_close(&what, picture, expected, PICTURE);
    }
    pictures.into_iter().flatten().collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn everything_is_drawn_as_on_the_host_and_both_modes_agree(
        steps in proptest::collection::vec(100_u16..1000, 1..=3),
        seed: u64,
        add_noise: bool,
        text: bool,
        frame_buffer in 1_u32..=3,
        pipelining: bool,
        frames in 0_usize..7,
        cfg_type in any_cfg_type(),
        guidance_scale in 0.8_f32..1.6,
        delta in 0.0_f32..=1.0,
        latent_feedback in prop_oneof![Just(0.0), 0.0_f32..0.8],
    ) {
        let mut steps = steps;
        steps.sort_unstable_by(|a, b| b.cmp(a));
        let parameters = Parameters {
            seed, add_noise, cfg_type, guidance_scale, delta, latent_feedback, motion: 0.3,
            negative_prompt: "blurry".into(),
            ..stepping(&steps)
        };
        let all = |batching| {
            let pace = Pace { batching, frame_buffer, pipelining };
            agree(pace, &parameters, |engine| {
                let one = |number| match text {
                    true => {
                        let outcome = engine.process(None).unwrap();
                        drawn(engine, outcome)
                    }
                    false => show(engine, number),
                };
                let mut pictures: Vec<_> = (0..frames).map(one).collect();
                pictures.extend(rest(engine));
                pictures
            })
        };

        let (batch, sequential) = (all(Batching::Stream), all(Batching::Sequential));

        prop_assert_eq!(batch.len(), frames);
        for (one, other) in batch.iter().zip(&sequential) {
            assert_close("picture", one, other, PICTURE);
        }
    }
}

#[test]
fn parameters_change_in_mid_flight_as_on_the_host() {
    let changes = [
        r#"{"cfg_type": "self", "guidance_scale": 1.4}"#,
        r#"{"cfg_type": "full", "negative_prompt": "blurry"}"#,
        r#"{"cfg_type": "initialize", "delta": 0.5}"#,
        r#"{"guidance_scale": 1}"#,
        r#"{"cfg_type": "self", "guidance_scale": 1.2}"#,
        r#"{"prompt": "night"}"#,
        r#"{"denoising_step_list": [900, 600, 300], "seed": 3}"#,
        r#"{"do_add_noise": false}"#,
        r#"{"latent_feedback": 0.4, "do_add_noise": true}"#,
        r#"{"denoising_step_list": [700, 200]}"#,
        r#"{"reset_cache": true}"#,
        r#"{"latent_feedback": 0}"#,
        r#"{"noise_controller": true}"#,
        r#"{"input_mode": "text"}"#,
        r#"{"input_mode": "video", "noise_controller": false}"#,
        r#"{"denoising_step_list": [500]}"#,
    ];
    let pipelined = Pace {
        pipelining: true,
        ..stream(1)
    };
    for pace in [stream(1), stream(2), pace(Batching::Sequential), pipelined] {
        let pictures = agree(pace, &stepping(&[900, 700, 300]), |engine| {
            let mut pictures = Vec::new();
            for (at, change) in changes.iter().enumerate() {
                for number in 0..3 {
                    pictures.push(show(engine, 3 * at + number));
                }
                patch(engine, change);
                while engine.catch_up().unwrap() == Outcome::Picture {
                    pictures.push(Some(engine.drawn.values.clone()));
                }
            }
            pictures.extend(rest(engine));
            pictures
        });
        assert!(pictures.len() > 40, "{}", pictures.len());
    }
}

#[test]
fn a_failing_network_loses_the_newest_frame_only() {
    let pictures = agree(stream(1), &stepping(&[900, 600, 300]), |engine| {
        let mut pictures: Vec<_> = (0..4).map(|number| show(engine, number)).collect();
        engine.frame = golden::picture(9, SIZE);
        match engine.stream.is_on_provider() {
            true => {
                let entered = engine.stream.enter_picture(&engine.frame, &engine.watch);
                entered.unwrap();
            }
            false => engine.stream.enter(&engine.encoded.values.clone()),
        }
        engine.waiting.join(waiting::Entry::Frame);
        let failure = || EngineError::BadFrame {
            reason: "for the test".into(),
        };
        let failed = engine.stream.advance(false, &mut |_, _| Err(failure()));
        assert!(failed.is_err());
        engine.waiting.lose_all_but(engine.stream.occupied());
        pictures.extend((4..6).map(|number| show(engine, number)));
        pictures.extend(rest(engine));
        pictures
    });

    assert_eq!(pictures.len(), 6, "all but the one that failed");
}

#[test]
fn an_error_in_flight_loses_its_own_frame_when_pipelined() {
    let pipelined = Pace {
        pipelining: true,
        ..pace(Batching::Sequential)
    };
    for latents in [0, 1] {
        let mut engine = engines(pipelined, &stepping(&[700]))
            .into_iter()
            .nth(latents)
            .unwrap();
        let first = show(&mut engine, 0);
        assert!(first.is_none());
        engine.interrupt().stop();
        let data = golden::picture(1, SIZE);
        let view = FrameView {
            data: &data,
            width: SIZE.0,
            height: SIZE.1,
            stride: 3 * SIZE.0 as usize,
            layout: Layout::RGB,
        };
        assert_eq!(engine.process(Some(&view)), Err(EngineError::Interrupted));
        engine.interrupt().go_on();

        assert_eq!(engine.in_flight(), 1, "frame 0");
        assert!(show(&mut engine, 2).is_some(), "frame 0");
        assert_eq!(engine.drain(), Ok(Outcome::Picture), "frame 2");
        assert_eq!(engine.drain(), Ok(Outcome::Filling));
    }
}

#[test]
fn an_interrupted_frame_is_lost_and_the_others_are_drawn() {
    let mut engine = engines(stream(1), &stepping(&[900, 600]))
        .into_iter()
        .next_back()
        .unwrap();
    for number in 0..3 {
        show(&mut engine, number);
    }
    let interrupt = engine.interrupt();

    interrupt.stop();
    let data = golden::picture(3, SIZE);
    let view = FrameView {
        data: &data,
        width: SIZE.0,
        height: SIZE.1,
        stride: 3 * SIZE.0 as usize,
        layout: Layout::RGB,
    };
    assert_eq!(engine.process(Some(&view)), Err(EngineError::Interrupted));
    assert_eq!(engine.in_flight(), 1);
    interrupt.go_on();

    assert!(show(&mut engine, 4).is_some());
    assert_eq!(engine.drain(), Ok(Outcome::Picture));
    assert_eq!(engine.drain(), Ok(Outcome::Filling));
}

#[test]
fn a_latent_that_is_no_number_is_counted_and_forgotten() {
    for (batching, latent_feedback) in [
        (Batching::Stream, 0.0),
        (Batching::Stream, 0.5),
        (Batching::Sequential, 0.5),
    ] {
        let parameters = Parameters {
            latent_feedback,
            cfg_type: CfgType::SelfNegative,
            guidance_scale: 1.4,
            ..stepping(&[700, 300])
        };
        let [_, mut engine] = engines(pace(batching), &parameters);
        for number in 0..3 {
            show(&mut engine, number);
        }
        let held = engine.picture.clone();
        let nothing = vec![f32::NAN; engine.values()];
        engine.stream.enter_latent(&nothing);
        engine.waiting.join(waiting::Entry::Frame);
        engine.advance().unwrap();
        let mut sound = vec![engine.give().unwrap()];
        for number in 4..9 {
            sound.push(match show(&mut engine, number) {
                Some(_) => Outcome::Picture,
                None => Outcome::Filling,
            });
        }

        assert_eq!(sound, [Outcome::Picture; 6], "{batching:?}");
        assert_eq!(engine.faults(), 1, "{batching:?} {latent_feedback}");
        assert_ne!(engine.picture, held);
        assert!(crate::frame::are_numbers(&engine.drawn.values));
    }
}

#[test]
fn warming_up_and_another_loading_of_the_model_change_nothing_that_is_seen() {
    let parameters = Parameters {
        cfg_type: CfgType::Initialize,
        guidance_scale: 1.3,
        latent_feedback: 0.3,
        ..stepping(&[900, 600, 300])
    };
    let other = Arc::new(load_with(
        &golden::model_dir(),
        Provider::Cpu,
        Latents::Provider,
    ));
    for pace in [stream(1), stream(2), pace(Batching::Sequential)] {
        let run = |disturbed: bool| {
            let [_, mut engine] = engines(pace, &parameters);
            let mut pictures = Vec::new();
            for number in 0..9 {
                if disturbed && number == 5 {
                    engine.warm_up().unwrap();
                }
                if disturbed && number == 6 {
                    engine.replace_model(Arc::clone(&other)).unwrap();
                }
                pictures.push(show(&mut engine, number));
            }
            pictures.extend(rest(&mut engine));
            pictures
        };
        assert_eq!(run(true), run(false), "{pace:?}");
    }
}

#[test]
fn latents_move_to_the_host_with_a_model_that_has_them_there() {
    let [_, mut engine] = engines(stream(1), &stepping(&[900, 600]));
    for number in 0..3 {
        show(&mut engine, number);
    }

    engine.replace_model(Arc::clone(&MODELS[0])).unwrap();

    assert!(!engine.stream.is_on_provider());
    assert!(
        show(&mut engine, 3).is_some(),
        "frame 2 shows the last picture again"
    );
    assert_eq!(engine.in_flight(), 1, "frame 3 comes next");
}

/// 16 bits, one row at a time, one size.
#[test]
fn a_folder_as_a_gpu_wants_it_is_drawn_as_on_the_host() {
    let dir = golden::model_dir().with_file_name("model-tiny-half");
    let shown = |latents, cfg_type| {
        let model = Arc::new(load_with(&dir, Provider::Cpu, latents));
        half::shown(&model, cfg_type).0
    };
    for cfg_type in [CfgType::None, CfgType::Full, CfgType::Initialize] {
        let (host, provider) = (
            shown(Latents::Host, cfg_type),
            shown(Latents::Provider, cfg_type),
        );
        assert_eq!(host.len(), provider.len());
        for (one, other) in provider.iter().zip(&host) {
            assert_close("picture", one, other, 2e-2);
        }
    }
}

#[test]
fn embeddings_are_fed_once() {
    let [_, mut engine] = engines(stream(1), &stepping(&[900, 600]));
    for number in 0..3 {
        show(&mut engine, number);
    }
    let fed = |engine: &Engine| engine.stream.times_fed();
    let before = fed(&engine);

    for number in 3..8 {
        show(&mut engine, number);
    }
    assert_eq!(fed(&engine), before, "nothing was said");

    patch(&mut engine, r#"{"prompt": "night"}"#);
    for number in 8..12 {
        show(&mut engine, number);
    }
    assert_eq!(fed(&engine), before + 1);
}

/// The same on a GPU, whose latents stay there unless told otherwise.
#[test]
#[ignore = "needs CUDA"]
fn gpu_cuda_draws_with_its_latents_as_with_latents_on_the_host() {
    for name in ["model-tiny", "model-tiny-half"] {
        let dir = golden::model_dir().with_file_name(name);
        let model = |latents| Arc::new(load_with(&dir, Provider::Cuda, latents));
        let (host, provider) = (model(Latents::Host), model(Latents::Auto));
        let probe = Engine::new(
            Arc::clone(&provider),
            (128, 128),
            Pace::default(),
            stepping(&[500]),
        );
        assert!(probe.unwrap().stream.is_on_provider(), "{name}");
        for cfg_type in [
            CfgType::None,
            CfgType::Full,
            CfgType::SelfNegative,
            CfgType::Initialize,
        ] {
            let (expected, _) = half::shown(&host, cfg_type);
            let (pictures, _) = half::shown(&provider, cfg_type);
            assert_eq!(pictures.len(), expected.len());
            for (picture, expected) in pictures.iter().zip(&expected) {
                assert_close("picture", picture, expected, 5e-2);
            }
        }
    }
}

#[test]
#[ignore = "needs CUDA"]
fn gpu_cuda_pipelined_draws_the_same_pictures_and_tells_the_devices_time() {
    let model = Arc::new(load_with(
        &golden::model_dir(),
        Provider::Cuda,
        Latents::Auto,
    ));
    let run = |pipelining| {
        let pace = Pace {
            pipelining,
            ..stream(1)
        };
        let parameters = stepping(&[900, 600]);
        let mut engine = Engine::new(Arc::clone(&model), SIZE, pace, parameters).unwrap();
        engine.warm_up().unwrap();
        let mut pictures: Vec<_> = (0..9).map(|number| show(&mut engine, number)).collect();
        pictures.extend(rest(&mut engine));
        let spent = engine.spent();
        assert!(spent.decode > std::time::Duration::ZERO, "{spent:?}");
        pictures.into_iter().flatten().collect::<Vec<_>>()
    };
    let (plain, pipelined) = (run(false), run(true));
    assert_eq!(plain.len(), pipelined.len());
    for (one, other) in plain.iter().zip(&pipelined) {
        assert_close("picture", one, other, 1e-2);
    }
}
