use super::*;
use crate::backend::Element;
use crate::backend::fake::{self, Fake};
use crate::model::Model;

/// Why the model is refused whose graphs `change` has changed.
fn refusal(change: impl FnOnce(&mut Graphs)) -> String {
    let mut graphs = fake::graphs();
    change(&mut graphs);
    let error = Model::assemble(&fake::folder("epsilon"), graphs, "cpu").unwrap_err();
    assert!(
        matches!(error, EngineError::ModelUnsupported { .. }),
        "{error:?}"
    );
    error.to_string()
}

fn unet(change: impl FnOnce(&mut Fake)) -> String {
    let mut unet = fake::unet();
    change(&mut unet);
    refusal(|graphs| graphs.unet = Box::new(unet))
}

#[test]
fn a_unet_of_another_kind_is_refused_with_its_kind() {
    assert!(unet(|u| u.inputs[0].shape[1] = Some(9)).contains("edits or fills"));
    assert!(unet(|u| u.inputs[0].shape[0] = Some(200)).contains("exactly 200 rows"));
    assert!(unet(|u| u.inputs[2].shape[1] = Some(81)).contains("image prompts"));
    assert!(unet(|u| u.inputs[2].shape[2] = Some(768)).contains("its unet takes 768"));
    let wants =
        |name: &'static str| unet(move |u| u.inputs.push(fake::port(name, Element::F32, 2)));
    assert!(wants("text_embeds").contains("no text encoder gives them"));
    assert!(wants("kvo_cache_in_0").contains("`kvo_cache_in_0` (cached attention)"));
    assert!(wants("mystery").ends_with("its unet also wants `mystery`"));
}

#[test]
fn a_graph_without_its_inputs_or_outputs_is_refused() {
    assert!(unet(|u| u.inputs[1].name = "when".into()).contains("no input `timestep`"));
    assert!(unet(|u| u.outputs.clear()).contains("its unet has no output"));
    assert!(unet(|u| u.inputs[0].element = Element::Other).contains("unknown type"));
}

#[test]
fn absurd_sizes_are_refused_before_memory_is_asked_for() {
    for side in [0, 1 << 40, usize::MAX] {
        let reason = unet(|u| {
            u.inputs[0].shape[2] = Some(side);
            u.inputs[0].shape[3] = Some(side);
        });
        assert!(reason.contains("its latents have 4 channels"), "{reason}");
    }
    assert!(unet(|u| u.inputs[0].shape[1] = Some(usize::MAX)).contains("its latents have"));
}

#[test]
fn results_of_a_wrong_shape_are_refused() {
    let reason = refusal(|graphs| {
        graphs.decoder = Box::new(Fake {
            formula: |_| (vec![1, 3, 65, 64], vec![0.0; 3 * 65 * 64]),
            ..fake::decoder()
        });
    });
    assert!(
        reason.contains("makes a picture of [1, 3, 65, 64]"),
        "{reason}"
    );
    let reason = refusal(|graphs| {
        graphs.text_encoders = vec![Box::new(Fake {
            formula: |_| (vec![1, 2], vec![0.0; 2]),
            ..fake::text_encoder()
        })];
    });
    assert!(
        reason.contains("its text_encoder does not run: it gave a tensor of [1, 2]"),
        "{reason}"
    );
    let reason = unet(|u| u.formula = |_| (vec![1], vec![0.0]));
    assert!(reason.contains("its unet does not run"), "{reason}");
    let reason = refusal(|graphs| {
        graphs.encoder = Box::new(Fake {
            formula: |_| (vec![], vec![]),
            ..fake::encoder()
        });
    });
    assert!(reason.contains("its vae_encoder does not run"), "{reason}");
}

#[test]
fn weights_that_are_no_numbers_are_found_at_load() {
    let reason = unet(|u| {
        u.formula = |feeds| {
            (
                feeds[0].shape.to_vec(),
                vec![f32::NAN; feeds[0].shape.iter().product()],
            )
        }
    });

    assert!(
        reason.contains("its unet computes values that are no numbers"),
        "{reason}"
    );
}

#[test]
fn an_encoder_of_mean_and_variance_is_read_for_its_mean() {
    let mut graphs = fake::graphs();
    graphs.encoder = Box::new(Fake {
        formula: |feeds| {
            let (h, w) = (feeds[0].shape[2] / 4, feeds[0].shape[3] / 4);
            let (mean, variance) = (vec![2.0; 4 * h * w], vec![-9.0; 4 * h * w]);
            (vec![1, 8, h, w], [mean, variance].concat())
        },
        ..fake::encoder()
    });
    let model = Model::assemble(&fake::folder("epsilon"), graphs, "cpu").unwrap();

    let mut latent = Tensor::default();
    model
        .encode(&[0; 3 * 16 * 8], (16, 8), &mut latent, &Watch::default())
        .unwrap();

    assert_eq!(
        latent,
        Tensor {
            shape: vec![1, 4, 2, 4],
            values: vec![1.0; 32]
        }
    );
}
