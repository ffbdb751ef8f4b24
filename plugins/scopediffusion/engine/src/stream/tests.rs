use super::*;
use crate::golden::{Golden, assert_close, scenario};
use crate::guidance::CfgType;
use crate::schedule::SchedulerConfig;

/// Runs a scenario with the network's stored answers, so that only our arithmetic is tested.
fn steps_match_the_reference(name: &str) {
    let (scenario, stored) = (scenario(name), Golden::open(name));
    let prediction = serde_json::from_value(scenario.prediction_type.clone().into()).unwrap();
    let config = SchedulerConfig {
        prediction_type: prediction,
        ..Default::default()
    };
    let schedule = Schedule::new(&config).unwrap();
    let (noise, steps) = (stored.floats("init_noise"), scenario.timesteps.len());
    let size = noise.len() / steps / scenario.frame_buffer;
    let shape = Shape {
        batched: true,
        frame_buffer: scenario.frame_buffer,
        size,
    };
    let mut stream = Stream::new(&schedule, &scenario.timesteps, shape);
    stream.set_noise(&noise);
    stream.skip_priming();
    stream.add_noise = scenario.do_add_noise;
    stream.guidance = scenario.guidance();
    let group = scenario.frame_buffer * size;
    for frame in 0..scenario.frames {
        let tensor = |part: &str| stored.floats(&format!("frame{frame}.{part}"));
        let (rows, times) = (tensor("unet_sample"), tensor("unet_timestep"));
        let answer = tensor("unet_out");
        if stored.bytes(&format!("frame{frame}.latent")).is_some() {
            tensor("latent").chunks(size).for_each(|z| stream.enter(z));
        } else {
            let enter = |sample: &mut [f32]| sample.copy_from_slice(&tensor("x_t"));
            stream.enter_noise(enter).unwrap();
        }
        assert_close("x_t", &stream.entered(), &tensor("x_t"), 1e-6);
        // The reference runs rows that hold no frame yet: in both halves the last ones.
        let texts_at = times.len() - steps * scenario.frame_buffer;
        let left = stream
            .advance(false, &mut |call, out| {
                let (n, count) = (call.negative, call.timesteps.len());
                let cut = |all: &[f32], width: usize| {
                    let texts = texts_at * width..(texts_at + count - n) * width;
                    [&all[..n * width], &all[texts]].concat()
                };
                assert_close("rows", call.sample, &cut(&rows, size), 1e-5);
                assert_close("t", call.timesteps, &cut(&times, 1), 0.0);
                host(out).values = cut(&answer, size);
                Ok(())
            })
            .unwrap();
        let kept = matches!(
            stream.guidance.way(),
            CfgType::SelfNegative | CfgType::Initialize
        );
        for step in (1..steps.min(frame + 2)).filter(|_| kept) {
            let expected = &tensor("stock_after")[(step - 1) * group..][..group];
            assert_close("stock", stream.stock(step), expected, 1e-4);
        }
        assert_eq!(left > 0, frame + 1 >= steps);
        for place in 0..left {
            let expected = &tensor("x0")[place * size..][..size];
            assert_close("x0", stream.clean(place), expected, 1e-4);
        }
    }
}

#[test]
fn steps_match_the_reference_for_every_stored_scenario() {
    for name in [
        "turbo_1step_img2img",
        "turbo_1step_txt2img",
        "turbo_4step_scope_list",
        "lcm_4step_txt2img",
        "img2img_2step_none",
        "img2img_2step_self",
        "img2img_3step_self",
        "img2img_2step_initialize",
        "img2img_2step_full",
        "img2img_2step_vpred",
        "img2img_2step_noaddnoise",
        "img2img_1step_self_fixed",
        "img2img_2step_fb2",
    ] {
        steps_match_the_reference(name);
    }
}

fn stream(timesteps: &[u16], frame_buffer: usize) -> Stream {
    let schedule = Schedule::new(&SchedulerConfig::default()).unwrap();
    let shape = Shape {
        batched: true,
        frame_buffer,
        size: 1,
    };
    let mut stream = Stream::new(&schedule, timesteps, shape);
    let seeds = [WeightedSeed {
        seed: 0,
        weight: 1.0,
    }];
    stream.set_seeds(&seeds, Interpolation::Linear).unwrap();
    stream
}

fn host(out: Out<'_>) -> &mut Tensor {
    match out {
        Out::Host(out) => out,
        Out::Provider(..) => panic!("these latents are on the host"),
    }
}

fn nothing(call: &Call<'_>, out: Out<'_>) -> Result<(), EngineError> {
    host(out).values = vec![0.0; call.sample.len()];
    Ok(())
}

#[test]
fn a_failing_network_loses_one_frame_only() {
    let mut stream = stream(&[749, 499], 1);
    let failure = || EngineError::BadFrame {
        reason: "for the test".into(),
    };
    stream.skip_priming();
    stream.enter(&[1.0]);
    stream.advance(false, &mut nothing).unwrap();

    stream.enter(&[2.0]);
    assert!(stream.advance(false, &mut |_, _| Err(failure())).is_err());

    let left = stream.advance(false, &mut nothing).unwrap();
    assert_eq!(left, 1, "the first frame is still in flight");
    assert_eq!(stream.occupied(), 0);
}

#[test]
fn the_first_frame_goes_through_at_once_and_the_batch_fills_behind_it() {
    let mut stream = stream(&[749, 499, 249], 1);
    let left = |stream: &mut Stream| {
        stream.enter(&[1.0]);
        stream.advance(false, &mut nothing).unwrap()
    };

    let first: Vec<_> = (0..5).map(|_| left(&mut stream)).collect();

    assert_eq!(first, [1, 0, 0, 1, 1]);
}

#[test]
fn rows_that_hold_no_frame_are_not_run() {
    let mut stream = stream(&[749, 499, 249], 1);
    stream.skip_priming();
    let mut rows = Vec::new();
    for entering in [true, true, false, true, false, false] {
        if entering {
            stream.enter(&[1.0]);
        }
        let count = &mut rows;
        let round = stream.advance(false, &mut |call, out| {
            count.push(call.timesteps.to_vec());
            nothing(call, out)
        });
        round.unwrap();
    }

    let expected: [&[f32]; 6] = [
        &[749.0],
        &[749.0, 499.0],
        &[499.0, 249.0],
        &[749.0, 249.0],
        &[499.0],
        &[249.0],
    ];
    assert_eq!(rows, expected);
}

#[test]
fn a_group_that_is_not_full_may_go_all_the_same() {
    let mut stream = stream(&[749], 2);
    stream.enter(&[1.0]);
    assert!(!stream.is_full());

    assert_eq!(stream.advance(false, &mut nothing).unwrap(), 1);
}
