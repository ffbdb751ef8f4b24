//! Whole frames through ONNX Runtime against the reference implementation.
//!
//! Needs ONNX Runtime (`make setup-run`); fails without it.

use std::fs;

use super::*;
use crate::golden::{self, Golden, PROMPT, assert_close};
use crate::{Device, Folder, OrtBackend, Provider};

/// Other versions of ONNX Runtime and other CPUs move results by 1e-6; the smallest mistake we know
/// of (a table shifted by one timestep) costs 5e-3.
const PICTURE: f32 = 1e-4;
const TABLE: f32 = 1e-6;

fn load(dir: &std::path::Path) -> Model {
    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    let device = Device {
        provider: Provider::Cpu,
        index: 0,
    };
    Model::load(&Folder::open(dir).unwrap(), backend, device, &mut |_| {}).unwrap()
}

/// The golden model, told that it predicts something else.
fn predicting(prediction_type: &str) -> Model {
    let copy = golden::model_copy();
    let path = copy.path().join("scheduler/scheduler_config.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        text.replace("\"epsilon\"", &format!("\"{prediction_type}\"")),
    )
    .unwrap();
    load(copy.path())
}

/// Runs a scenario in both modes and compares every stage that the reference has stored.
fn matches_the_reference(name: &str) {
    let (scenario, stored) = (golden::scenario(name), Golden::open(name));
    let model = Arc::new(predicting(&scenario.prediction_type));
    let parameters = Parameters {
        prompts: vec![WeightedPrompt {
            text: PROMPT.into(),
            weight: 1.0,
        }],
        add_noise: scenario.do_add_noise,
        ..stepping(&scenario.timesteps)
    };
    let size = (scenario.hw.1, scenario.hw.0);
    for batching in [Batching::Stream, Batching::Sequential] {
        let mut engine =
            Engine::new(Arc::clone(&model), size, batching, parameters.clone()).unwrap();
        assert_close(
            "embedding",
            &engine.condition,
            &stored.floats("emb_prompt"),
            TABLE * 10.0,
        );
        if stored.bytes("frame0.input_rgb").is_none() {
            patch(&mut engine, r#"{"input_mode": "text"}"#);
        }
        engine.stream.set_noise(&stored.floats("init_noise"));
        let mut next_to_leave = scenario.timesteps.len() - 1;
        for frame in 0..scenario.frames {
            let tensor = |part: &str| stored.floats(&format!("frame{frame}.{part}"));
            if let Some(data) = stored.bytes(&format!("frame{frame}.input_rgb")) {
                let (width, height) = size;
                let stride = 3 * width as usize;
                let view = FrameView {
                    data: &data,
                    width,
                    height,
                    stride,
                    layout: Layout::RGB,
                };
                frame::read_frame(&view, size, &mut engine.image).unwrap();
                engine
                    .model
                    .encode(&engine.image, size, &mut engine.encoded)
                    .unwrap();
                assert_close(
                    "latent",
                    &engine.encoded.values,
                    &tensor("latent"),
                    TABLE * 10.0,
                );
                engine.stream.enter(&tensor("latent"));
            } else {
                let noise = tensor("input_noise");
                engine
                    .stream
                    .enter_noise(|sample| sample.copy_from_slice(&noise));
            }
            assert_close("x_t", engine.stream.entered(), &tensor("x_t"), TABLE);
            if engine.advance().unwrap() && next_to_leave < scenario.frames {
                let tensor = |part: &str| stored.floats(&format!("frame{next_to_leave}.{part}"));
                assert_close("x0", engine.stream.clean(), &tensor("x0"), PICTURE);
                assert_close("image", &engine.picture.values, &tensor("image"), PICTURE);
                let mut bytes = vec![0; engine.image.len()];
                let (width, height) = size;
                let (stride, layout) = (3 * width as usize, Layout::RGB);
                let mut view = FrameViewMut {
                    data: &mut bytes,
                    width,
                    height,
                    stride,
                    layout,
                };
                engine.write_picture(&mut view).unwrap();
                let expected = stored
                    .bytes(&format!("frame{next_to_leave}.output_rgb"))
                    .unwrap();
                let off = |(a, b): (&u8, &u8)| a.abs_diff(*b) > 1;
                assert_eq!(
                    bytes
                        .iter()
                        .zip(&expected)
                        .filter(|pair| off(*pair))
                        .count(),
                    0
                );
                next_to_leave += 1;
            }
        }
        assert!(next_to_leave > 0, "{name} has shown no picture");
    }
}

macro_rules! scenarios {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                matches_the_reference(stringify!($name));
            }
        )*
    };
}

scenarios!(
    turbo_1step_img2img,
    turbo_1step_txt2img,
    turbo_4step_scope_list,
    lcm_4step_txt2img,
    img2img_2step_none,
    img2img_2step_vpred,
    img2img_2step_noaddnoise,
);

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
        model.condition(&parameters).unwrap()
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
