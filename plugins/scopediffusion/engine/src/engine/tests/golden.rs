//! Whole frames through ONNX Runtime against the reference implementation.
//!
//! Needs ONNX Runtime (`make setup-run`); fails without it.

use std::fs;

use super::super::waiting::Entry;
use super::*;
use crate::frame;
use crate::golden::{self, Golden, PROMPT, assert_close};
use crate::{Device, Folder, Latents, Opening, OrtBackend, Provider};

/// Other versions of ONNX Runtime and other CPUs move results by 1e-6; the smallest mistake we know
/// of (a table shifted by one timestep) costs 5e-3.
const PICTURE: f32 = 1e-4;
const TABLE: f32 = 1e-6;

fn load(dir: &std::path::Path) -> Model {
    load_with(dir, Provider::Cpu, Latents::Auto)
}

pub(super) fn load_with(dir: &std::path::Path, provider: Provider, latents: Latents) -> Model {
    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    let opening = Opening {
        device: Device { provider, index: 0 },
        latents,
        ..Opening::default()
    };
    let folder = Folder::open(dir).unwrap();
    Model::load(&folder, backend, opening, &[], &mut |_| {}).unwrap()
}

/// A golden model, told that it predicts something else.
fn predicting(model: &std::path::Path, prediction_type: &str, latents: Latents) -> Model {
    let copy = golden::copy_of(model);
    let path = copy.path().join("scheduler/scheduler_config.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("\"epsilon\"", &format!("\"{prediction_type}\"")),
    )
    .unwrap();
    load_with(copy.path(), Provider::Cpu, latents)
}

/// Runs a scenario in both modes and compares every stage that the reference has stored.
///
/// - `dir`: where the scenario lies; `model`: the model below it.
fn matches_the_reference(dir: &std::path::Path, model: &str, name: &str, latents: Latents) {
    let (scenario, stored) = (golden::scenario_in(dir, name), Golden::open_in(dir, name));
    let prediction = &scenario.prediction_type;
    let model = Arc::new(predicting(&dir.join(model), prediction, latents));
    let parameters = Parameters {
        prompts: vec![WeightedPrompt {
            text: PROMPT.into(),
            weight: 1.0,
        }],
        negative_prompt: golden::NEGATIVE.into(),
        add_noise: scenario.do_add_noise,
        cfg_type: scenario.cfg_type(),
        guidance_scale: scenario.guidance_scale,
        delta: scenario.delta,
        ..stepping(&scenario.timesteps)
    };
    let size = (scenario.hw.1, scenario.hw.0);
    for batching in [Batching::Stream, Batching::Sequential] {
        let pace = Pace {
            batching,
            frame_buffer: scenario.frame_buffer as u32,
            ..Pace::default()
        };
        let mut engine = Engine::new(Arc::clone(&model), size, pace, parameters.clone()).unwrap();
        conditions_match(&engine, &stored);
        if stored.bytes("frame0.input_rgb").is_none() {
            patch(&mut engine, r#"{"input_mode": "text"}"#);
        }
        engine.stream.set_noise(&stored.floats("init_noise"));
        let mut shown = 0;
        for frame in 0..scenario.frames {
            let tensor = |part: &str| stored.floats(&format!("frame{frame}.{part}"));
            if let Some(data) = stored.bytes(&format!("frame{frame}.input_rgb")) {
                enter_frames(&mut engine, &data, &tensor("latent"));
            } else {
                let noise = tensor("input_noise");
                let enter = |sample: &mut [f32]| sample.copy_from_slice(&noise);
                engine.stream.enter_noise(enter).unwrap();
                engine.waiting.join(Entry::Frame);
            }
            let on_provider = engine.stream.is_on_provider();
            assert_eq!(on_provider, latents == Latents::Provider);
            if !on_provider {
                assert_close("x_t", &engine.stream.entered(), &tensor("x_t"), TABLE);
            }
            engine.advance().unwrap();
            // With one round for each frame its rows still lie there.
            let one_round =
                scenario.timesteps.len() == 1 || (batching == Batching::Stream && frame > 0);
            if on_provider && one_round {
                assert_close("x_t", &engine.stream.entered(), &tensor("x_t"), TABLE);
            }
            while engine.give().unwrap() == Outcome::Picture {
                picture_matches(&engine, &stored, shown, &scenario);
                shown += 1;
            }
        }
        while engine.drain().unwrap() == Outcome::Picture {
            picture_matches(&engine, &stored, shown, &scenario);
            shown += 1;
        }
        assert_eq!(shown, scenario.frames * scenario.frame_buffer, "{name}");
    }
}

fn conditions_match(engine: &Engine, stored: &Golden) {
    let close = |what: &str, actual: &[f32], tensor: &str| {
        assert_close(what, actual, &stored.floats(tensor), TABLE * 10.0);
    };
    let (shown, negative) = (engine.conditions.shown(), engine.conditions.negative());
    close("embedding", &shown.tokens, "emb_prompt");
    if !shown.pooled.is_empty() {
        close("pooled", &shown.pooled, "pooled_prompt");
    }
    if !negative.tokens.is_empty() {
        close("negative", &negative.tokens, "emb_negative");
        if !negative.pooled.is_empty() {
            close("negative pooled", &negative.pooled, "pooled_negative");
        }
    }
}

/// Lets frames in that enter together, comparing their latents on the way.
fn enter_frames(engine: &mut Engine, data: &[u8], latents: &[f32]) {
    let (width, height) = engine.size;
    let stride = 3 * width as usize;
    let frames = data.chunks(stride * height as usize);
    for (data, latent) in frames.zip(latents.chunks(engine.values())) {
        let layout = Layout::RGB;
        let view = FrameView {
            data,
            width,
            height,
            stride,
            layout,
        };
        frame::read_frame(&view, engine.size, &mut engine.frame).unwrap();
        engine
            .model
            .encode(
                &engine.frame,
                engine.size,
                &mut engine.encoded,
                &engine.watch,
            )
            .unwrap();
        assert_close("latent", &engine.encoded.values, latent, TABLE * 10.0);
        engine.stream.enter_latent(latent);
        engine.waiting.join(Entry::Frame);
    }
}

/// Compares picture `shown`, counted over all frames, if the reference has got as far.
///
/// The reference shows rubbish until its rows are full, and the engine does not; and it stops
/// before its rows are empty.
fn picture_matches(engine: &Engine, stored: &Golden, shown: usize, scenario: &golden::Scenario) {
    let (buffer, delay) = (scenario.frame_buffer, scenario.timesteps.len() - 1);
    let (frame, place) = (shown / buffer + delay, shown % buffer);
    if frame >= scenario.frames {
        return;
    }
    let part = |name: &str, length: usize| -> Vec<f32> {
        let all = stored.floats(&format!("frame{frame}.{name}"));
        all[place * length..][..length].to_vec()
    };
    let (width, height) = engine.size;
    let pixels = 3 * (width * height) as usize;
    assert_close(
        "image",
        &engine.drawn.values,
        &part("image", pixels),
        PICTURE,
    );
    if buffer == 1 {
        let clean = part("x0", engine.values());
        let ours = match engine.stream.is_on_provider() {
            true => &engine.clean,
            false => engine.stream.clean(0),
        };
        assert_close("x0", ours, &clean, PICTURE);
    }
    let mut bytes = vec![0; pixels];
    let (stride, layout) = (3 * width as usize, Layout::RGB);
    let mut view = FrameViewMut {
        data: &mut bytes,
        width,
        height,
        stride,
        layout,
    };
    engine.write_picture(&mut view).unwrap();
    let expected = stored.bytes(&format!("frame{frame}.output_rgb")).unwrap();
    let expected = &expected[place * pixels..][..pixels];
    let off = bytes
        .iter()
        .zip(expected)
        .filter(|(a, b)| a.abs_diff(**b) > 1);
    assert_eq!(off.count(), 0, "bytes of picture {shown}");
}

macro_rules! scenarios {
    ($dir:expr, $model:literal, $($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                for latents in [Latents::Host, Latents::Provider] {
                    matches_the_reference(&$dir, $model, stringify!($name), latents);
                }
            }
        )*
    };
}

scenarios!(
    golden::dir(),
    "model-tiny",
    turbo_1step_img2img,
    turbo_1step_txt2img,
    turbo_4step_scope_list,
    lcm_4step_txt2img,
    img2img_2step_none,
    img2img_2step_vpred,
    img2img_2step_noaddnoise,
    img2img_2step_self,
    img2img_3step_self,
    img2img_2step_initialize,
    img2img_2step_full,
    img2img_1step_self_fixed,
    img2img_2step_fb2,
);

mod xl {
    use super::*;

    scenarios!(
        golden::xl_dir(),
        "model-tiny-xl",
        turbo_1step_img2img,
        img2img_2step_self,
        img2img_2step_full,
        lcm_4step_txt2img,
    );

    #[test]
    fn the_folder_is_discovered_from_its_files() {
        let model = load(&golden::xl_dir().join("model-tiny-xl"));
        let facts = model.facts();

        assert_eq!(facts.family, crate::Family::StableDiffusionXl);
        assert_eq!((facts.token_width, facts.size_multiple), (40, 16));
        assert!(facts.batchable && facts.has_pooled && facts.has_time_ids);
    }

    #[test]
    fn an_empty_negative_prompt_says_nothing() {
        let model = load(&golden::xl_dir().join("model-tiny-xl"));
        let negative = |text: &str| {
            let negative_prompt = text.to_string();
            model
                .negative(&Parameters {
                    negative_prompt,
                    ..Parameters::default()
                })
                .unwrap()
        };

        assert!(
            negative("")
                .tokens
                .iter()
                .chain(&negative("").pooled)
                .all(|v| *v == 0.0)
        );
        assert!(negative("blurry").pooled.iter().any(|v| *v != 0.0));
    }
}

#[test]
fn the_text_encoder_reads_as_the_reference_does() {
    let (model, stored) = (load(&golden::model_dir()), Golden::open("common"));
    let blended = |method, weights: [f32; 2]| {
        let prompt = |text: &str, weight| WeightedPrompt {
            text: text.into(),
            weight,
        };
        let prompts = vec![
            prompt(PROMPT, weights[0]),
            prompt("watercolor landscape, sunset", weights[1]),
        ];
        let parameters = Parameters {
            prompts,
            prompt_interpolation: method,
            ..Parameters::default()
        };
        model.condition(&parameters).unwrap().tokens
    };

    use crate::Interpolation::{Linear, Slerp};
    let (linear, slerp) = (blended(Linear, [0.7, 0.3]), blended(Slerp, [0.7, 0.3]));
    assert_close(
        "linear",
        &linear,
        &stored.floats("blend_scope_linear_07_03"),
        TABLE * 10.0,
    );
    assert_close(
        "slerp",
        &slerp,
        &stored.floats("blend_slerp_token_03"),
        TABLE * 10.0,
    );
}

#[test]
fn the_golden_folder_is_discovered_from_its_files() {
    let model = load(&golden::model_dir());
    let facts = model.facts();

    assert_eq!(
        (
            facts.latent_channels,
            facts.scale_factor,
            facts.size_multiple
        ),
        (4, 8, 16)
    );
    assert_eq!(
        (facts.name.as_str(), facts.provider.as_str()),
        ("model-tiny", "cpu")
    );
    assert!(facts.batchable && facts.turbo);
    assert_eq!((facts.token_width, facts.fixed_size), (32, None));
}

#[test]
fn an_interrupt_ends_a_frame_under_way_and_the_next_one_is_drawn() {
    let model = Arc::new(load(&golden::model_dir()));
    let mut engine = Engine::new(model, (512, 512), Pace::default(), stepping(&[499])).unwrap();
    let data = vec![100; 3 * 512 * 512];
    let view = FrameView {
        data: &data,
        width: 512,
        height: 512,
        stride: 3 * 512,
        layout: Layout::RGB,
    };
    let interrupt = engine.interrupt();

    // Before, in the middle of (wherever that is on this machine), and after.
    for wait in [0, 1, 3, 10, 30] {
        let stopped = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::park_timeout(std::time::Duration::from_millis(wait));
                interrupt.stop();
            });
            loop {
                if let Err(error) = engine.process(Some(&view)) {
                    break error;
                }
            }
        });
        assert_eq!(stopped, EngineError::Interrupted);
        assert_eq!(engine.in_flight(), 0);
        interrupt.go_on();
        assert_eq!(engine.process(Some(&view)), Ok(Outcome::Picture));
    }
    assert!(engine.spent().denoise > std::time::Duration::ZERO);
}

/// The pictures of some frames on a provider.
fn pictures_on(provider: Provider, batching: Batching) -> Vec<Vec<f32>> {
    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    let device = Device { provider, index: 0 };
    let folder = Folder::open(&golden::model_dir()).unwrap();
    let model = Model::load(&folder, backend, device, &[], &mut |_| {}).unwrap();
    let parameters = Parameters {
        cfg_type: crate::CfgType::Full,
        guidance_scale: 1.5,
        ..stepping(&[749, 359])
    };
    let size = (96, 64);
    let mut engine = Engine::new(Arc::new(model), size, pace(batching), parameters).unwrap();
    let mut pictures = Vec::new();
    for k in 0..5 {
        let data = golden::picture(k, size);
        let view = FrameView {
            data: &data,
            width: 96,
            height: 64,
            stride: 3 * 96,
            layout: Layout::RGB,
        };
        if engine.process(Some(&view)).unwrap() == Outcome::Picture {
            pictures.push(engine.drawn.values.clone());
        }
    }
    while engine.drain().unwrap() == Outcome::Picture {
        pictures.push(engine.drawn.values.clone());
    }
    assert_eq!(pictures.len(), 5);
    pictures
}

/// Half precision and other kernels move results; a mistake in the algorithm costs ten times this.
const PICTURE_ON_GPU: f32 = 5e-2;

fn draws_as_the_cpu_does(provider: Provider) {
    let expected = pictures_on(Provider::Cpu, Batching::Sequential);
    for batching in [Batching::Stream, Batching::Sequential] {
        let pictures = pictures_on(provider, batching);
        for (picture, expected) in pictures.iter().zip(&expected) {
            assert_close("picture", picture, expected, PICTURE_ON_GPU);
        }
    }
}

#[test]
fn the_stream_batch_draws_as_sequential_mode_does_on_the_cpu() {
    let (stream, sequential) = (
        pictures_on(Provider::Cpu, Batching::Stream),
        pictures_on(Provider::Cpu, Batching::Sequential),
    );
    for (one, other) in stream.iter().zip(&sequential) {
        assert_close("picture", one, other, PICTURE);
    }
}

#[test]
#[ignore = "needs CUDA"]
fn gpu_cuda_draws_as_the_cpu_does() {
    draws_as_the_cpu_does(Provider::Cuda);
}

#[test]
#[ignore = "needs CUDA"]
fn gpu_tensorrt_draws_as_the_cpu_does() {
    draws_as_the_cpu_does(Provider::TensorRt);
}
