//! How an engine behaves, on a model made of plain arithmetic.

use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;
use crate::backend::fake;
use crate::parameters::WeightedPrompt;
use crate::{CfgType, FrameView, FrameViewMut, InputMode, Layout};

mod golden;
mod half;
mod modes;
mod pipelining;
mod provider;

const SIZE: (u32, u32) = (16, 8);

fn stepping(timesteps: &[u16]) -> Parameters {
    Parameters {
        denoising_steps: Some(timesteps.to_vec()),
        ..Parameters::default()
    }
}

fn pace(batching: Batching) -> Pace {
    let frame_buffer = 1;
    Pace {
        batching,
        frame_buffer,
        ..Pace::default()
    }
}

fn engine(batching: Batching, parameters: Parameters) -> Engine {
    Engine::new(fake::model(), SIZE, pace(batching), parameters).unwrap()
}

fn patch(engine: &mut Engine, json: &str) {
    let patch = Patch::from_json(json).unwrap();
    engine.apply(&patch, Prompts::Wait).unwrap();
}

/// A picture that is different for every number.
fn picture(number: u8) -> Vec<u8> {
    (0..16 * 8 * 3)
        .map(|k| {
            (k as u8)
                .wrapping_mul(7)
                .wrapping_add(number.wrapping_mul(31))
        })
        .collect()
}

fn process(engine: &mut Engine, number: u8) -> Outcome {
    let data = picture(number);
    let view = FrameView {
        data: &data,
        width: 16,
        height: 8,
        stride: 48,
        layout: Layout::RGB,
    };
    engine.process(Some(&view)).unwrap()
}

fn written(engine: &Engine) -> Vec<u8> {
    let mut data = vec![0; 16 * 8 * 3];
    let layout = Layout::RGB;
    let mut view = FrameViewMut {
        data: &mut data,
        width: 16,
        height: 8,
        stride: 48,
        layout,
    };
    engine.write_picture(&mut view).unwrap();
    data
}

/// Everything that comes out for some frames, end of stream included.
fn all_pictures(engine: &mut Engine, frames: u8, text: bool) -> Vec<Vec<f32>> {
    let mut pictures = Vec::new();
    for number in 0..frames {
        let outcome = if text {
            engine.process(None).unwrap()
        } else {
            process(engine, number)
        };
        if outcome == Outcome::Picture {
            pictures.push(engine.drawn.values.clone());
        }
    }
    while engine.drain().unwrap() == Outcome::Picture {
        pictures.push(engine.drawn.values.clone());
    }
    pictures
}

fn falling_steps() -> impl Strategy<Value = Vec<u16>> {
    proptest::collection::vec(0_u16..1000, 1..=4).prop_map(|mut steps| {
        steps.sort_unstable_by(|a, b| b.cmp(a));
        steps
    })
}

fn any_cfg_type() -> impl Strategy<Value = CfgType> {
    prop_oneof![
        Just(CfgType::None),
        Just(CfgType::Full),
        Just(CfgType::SelfNegative),
        Just(CfgType::Initialize),
    ]
}

/// One model for each kind of prediction.
static MODELS: LazyLock<Vec<(&str, Arc<Model>)>> = LazyLock::new(|| {
    let model = |prediction| {
        let folder = fake::folder(prediction);
        (
            prediction,
            Arc::new(Model::assemble(&folder, fake::graphs(), "cpu").unwrap()),
        )
    };
    ["epsilon", "v_prediction", "sample"].map(model).into()
});

proptest! {
    #[test]
    fn stream_batch_and_sequential_mode_agree_exactly(
        steps in falling_steps(),
        prediction in prop_oneof![Just("epsilon"), Just("v_prediction"), Just("sample")],
        frames in 0_u8..9,
        seed: u64,
        add_noise: bool,
        text: bool,
        frame_buffer in 1_u32..4,
        cfg_type in any_cfg_type(),
        guidance_scale in 0.5_f32..2.5,
        delta in 0.0_f32..=1.0,
        latent_feedback in prop_oneof![Just(0.0), 0.0_f32..0.95],
    ) {
        let model = &MODELS.iter().find(|(name, _)| *name == prediction).unwrap().1;
        let parameters = Parameters {
            seed, add_noise, cfg_type, guidance_scale, delta, latent_feedback, motion: 0.3,
            negative_prompt: "blurry".into(),
            ..stepping(&steps)
        };
        let run = |batching| {
            let pace = Pace { batching, frame_buffer, ..Pace::default() };
            let mut engine =
                Engine::new(Arc::clone(model), SIZE, pace, parameters.clone()).unwrap();
            all_pictures(&mut engine, frames, text)
        };

        let (stream, sequential) = (run(Batching::Stream), run(Batching::Sequential));

        prop_assert_eq!(stream.len(), usize::from(frames));
        prop_assert!(stream == sequential);
    }
}

#[test]
fn the_first_picture_of_the_stream_batch_comes_at_once_and_the_rest_with_a_delay() {
    let mut engine = engine(Batching::Stream, stepping(&[999, 749, 499]));

    assert_eq!(engine.delay(), 2);
    let outcomes: Vec<_> = (0..5).map(|number| process(&mut engine, number)).collect();

    use Outcome::{Filling, Picture};
    assert_eq!(outcomes, [Picture, Filling, Filling, Picture, Picture]);
    assert_eq!(engine.drain().unwrap(), Picture);
    assert_eq!(engine.drain().unwrap(), Picture);
    assert_eq!(engine.drain().unwrap(), Filling);
}

#[test]
fn sequential_mode_has_no_delay() {
    let mut engine = engine(Batching::Sequential, stepping(&[999, 749, 499]));

    assert_eq!(engine.delay(), 0);
    assert_eq!(process(&mut engine, 0), Outcome::Picture);
    assert_eq!(engine.drain().unwrap(), Outcome::Filling);
}

#[test]
fn auto_means_sequential_on_the_cpu_and_stream_on_a_gpu() {
    let on = |provider: &str| {
        let graphs = fake::graphs();
        let model = Model::assemble(&fake::folder("epsilon"), graphs, provider).unwrap();
        Engine::new(
            Arc::new(model),
            SIZE,
            Pace::default(),
            stepping(&[749, 499]),
        )
        .unwrap()
        .delay()
    };

    assert_eq!((on("cpu"), on("cuda")), (0, 1));
}

#[test]
fn a_network_that_cannot_batch_runs_sequentially() {
    let mut graphs = fake::graphs();
    graphs.unet = Box::new(fake::Fake {
        most_rows: 1,
        ..fake::unet()
    });
    let model = Arc::new(Model::assemble(&fake::folder("epsilon"), graphs, "cuda").unwrap());

    let engine = Engine::new(
        Arc::clone(&model),
        SIZE,
        pace(Batching::Stream),
        stepping(&[749, 499]),
    );

    assert!(!model.facts().batchable);
    assert_eq!(engine.unwrap().delay(), 0);
}

#[test]
fn pausing_holds_the_last_picture() {
    let mut engine = engine(Batching::Sequential, stepping(&[499]));
    process(&mut engine, 1);
    let held = written(&engine);

    patch(&mut engine, r#"{"paused": true}"#);
    assert_eq!(process(&mut engine, 2), Outcome::Picture);
    assert_eq!(written(&engine), held);

    patch(&mut engine, r#"{"paused": false}"#);
    process(&mut engine, 2);
    assert_ne!(written(&engine), held);
}

#[test]
fn text_mode_does_not_look_at_frames() {
    let parameters = Parameters {
        input_mode: InputMode::Text,
        motion: 0.0,
        ..stepping(&[999])
    };
    let mut engine = engine(Batching::Auto, parameters);

    process(&mut engine, 1);
    let first = written(&engine);
    process(&mut engine, 2);

    assert_eq!(
        written(&engine),
        first,
        "without motion the picture is frozen"
    );
}

#[test]
fn text_mode_moves_a_little_every_frame() {
    let parameters = Parameters {
        input_mode: InputMode::Text,
        motion: 0.1,
        ..stepping(&[999])
    };
    let mut engine = engine(Batching::Auto, parameters);

    let pictures = all_pictures(&mut engine, 12, true);

    assert!(pictures.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn prompts_seed_and_steps_change_the_picture() {
    let shown = |json: &str| {
        let mut engine = engine(Batching::Sequential, stepping(&[749]));
        patch(&mut engine, json);
        process(&mut engine, 1);
        engine.drawn.values
    };
    let plain = shown("{}");

    for json in [
        r#"{"prompt": "night"}"#,
        r#"{"seed": 7}"#,
        r#"{"denoising_step_list": [750, 250]}"#,
        r#"{"noise_scale": 0.3}"#,
        r#"{"input_mode": "text"}"#,
    ] {
        assert_ne!(shown(json), plain, "{json}");
    }
}

#[test]
fn only_the_ratio_of_the_weights_counts() {
    let shown = |a: f32, b: f32| {
        let prompt = |text: &str, weight| WeightedPrompt {
            text: text.into(),
            weight,
        };
        let prompts = vec![prompt("night", a), prompt("snow", b)];
        let mut engine = engine(
            Batching::Auto,
            Parameters {
                prompts,
                ..stepping(&[749])
            },
        );
        process(&mut engine, 1);
        written(&engine)
    };

    assert_eq!(shown(1.0, 3.0), shown(2.0, 6.0));
    assert_ne!(shown(1.0, 3.0), shown(3.0, 1.0));
}

#[test]
fn a_transition_moves_from_prompt_to_prompt() {
    let mut engine = engine(Batching::Sequential, stepping(&[749]));
    let show = |engine: &mut Engine| {
        process(engine, 1);
        engine.drawn.values.clone()
    };
    let before = show(&mut engine);

    let json = r#"{"transition": {"target_prompts": ["night"], "num_steps": 2}}"#;
    patch(&mut engine, json);
    let way: Vec<_> = (0..9).map(|_| show(&mut engine)).collect();
    let mut there = self::engine(Batching::Sequential, stepping(&[749]));
    patch(&mut there, r#"{"prompts": ["night"]}"#);
    let after = show(&mut there);

    assert_eq!(
        way[0], before,
        "two steps of four frames begin where the picture was"
    );
    assert!(way[..8].windows(2).all(|pair| pair[0] != pair[1]));
    assert_eq!(way[7], after);
    assert_eq!(way[8], after);
}

#[test]
fn a_new_prompt_cancels_a_transition() {
    let mut engine = engine(Batching::Sequential, stepping(&[749]));
    patch(
        &mut engine,
        r#"{"transition": {"target_prompts": ["night"], "num_steps": 9}}"#,
    );
    process(&mut engine, 1);

    patch(&mut engine, r#"{"prompts": ["snow"]}"#);

    assert!(!engine.conditions.fades());
    let condition = engine.model.condition(engine.parameters()).unwrap();
    assert_eq!(*engine.conditions.shown(), condition);
}

#[test]
fn saying_the_same_prompts_again_does_not_disturb_a_transition() {
    let mut engine = engine(Batching::Sequential, stepping(&[749]));
    patch(
        &mut engine,
        r#"{"transition": {"target_prompts": ["night"], "num_steps": 9}}"#,
    );

    patch(&mut engine, r#"{"prompts": ["night"], "seed": 3}"#);

    assert!(engine.conditions.fades());
}

#[test]
fn a_change_of_the_step_count_keeps_the_noise_of_the_rows_that_stay() {
    let shown = |first: &str| {
        let mut engine = engine(Batching::Sequential, Parameters::default());
        patch(&mut engine, first);
        patch(&mut engine, r#"{"denoising_step_list": [500]}"#);
        process(&mut engine, 1);
        written(&engine)
    };

    assert_eq!(
        shown("{}"),
        shown(r#"{"denoising_step_list": [1000, 750, 500, 250]}"#)
    );
}

#[test]
fn a_change_of_the_step_count_loses_no_frame() {
    let mut engine = engine(Batching::Stream, stepping(&[749, 499]));
    process(&mut engine, 0);
    process(&mut engine, 1);

    assert_eq!(engine.in_flight(), 1);
    let shown = written(&engine);
    patch(&mut engine, r#"{"denoising_step_list": [1000, 750, 500]}"#);

    assert_eq!((engine.delay(), engine.in_flight()), (2, 1));
    assert_eq!(process(&mut engine, 2), Outcome::Picture);
    assert_eq!(
        written(&engine),
        shown,
        "frame 1 shows the last picture again"
    );
    assert_eq!(process(&mut engine, 3), Outcome::Picture, "that of frame 2");
    assert_ne!(written(&engine), shown);
    let outcomes = [4, 5].map(|number| process(&mut engine, number));
    assert_eq!(outcomes, [Outcome::Filling, Outcome::Picture]);
}

#[test]
fn a_reset_forgets_the_frames_in_flight() {
    let mut engine = engine(Batching::Stream, stepping(&[749, 499]));
    process(&mut engine, 0);
    process(&mut engine, 1);

    engine.reset();

    assert!(!engine.has_picture());
    assert_eq!(engine.in_flight(), 0);
    assert_eq!(engine.drain().unwrap(), Outcome::Filling);
    assert_eq!(
        process(&mut engine, 2),
        Outcome::Picture,
        "like a first frame"
    );
}

#[test]
fn resetting_the_cache_keeps_the_picture_that_is_shown() {
    let mut engine = engine(Batching::Stream, stepping(&[749, 499]));
    process(&mut engine, 0);
    process(&mut engine, 1);

    patch(&mut engine, r#"{"reset_cache": true}"#);

    assert!(engine.has_picture());
    assert_eq!(engine.in_flight(), 1, "which shows it again");
}

#[test]
fn a_size_that_does_not_fit_is_refused_with_the_rule() {
    for size in [(15, 8), (16, 0), (8, 1 << 20)] {
        let refused = Engine::new(fake::model(), size, Pace::default(), Parameters::default());
        let error = refused.unwrap_err();
        assert!(
            matches!(error, EngineError::SizeNotDivisible { .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("multiple of 8 up to 4096"),
            "{error}"
        );
    }
}

#[test]
fn a_frame_of_another_size_is_refused_and_the_engine_goes_on() {
    let mut engine = engine(Batching::Stream, stepping(&[749, 499]));
    process(&mut engine, 0);
    process(&mut engine, 1);
    let data = picture(1);
    let view = FrameView {
        data: &data,
        width: 8,
        height: 16,
        stride: 24,
        layout: Layout::RGB,
    };

    assert!(matches!(
        engine.process(Some(&view)),
        Err(EngineError::BadFrame { .. })
    ));
    assert_eq!(process(&mut engine, 2), Outcome::Picture);
}

#[test]
fn there_is_nothing_to_write_before_the_first_picture() {
    let engine = engine(Batching::Auto, Parameters::default());
    let mut data = vec![0; 16 * 8 * 3];
    let layout = Layout::RGB;
    let mut view = FrameViewMut {
        data: &mut data,
        width: 16,
        height: 8,
        stride: 48,
        layout,
    };

    assert!(matches!(
        engine.write_picture(&mut view),
        Err(EngineError::BadFrame { .. })
    ));
}
