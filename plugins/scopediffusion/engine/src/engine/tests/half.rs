//! A folder as a GPU wants it (16-bit floats, 32-bit ids, one size, weights in a file beside) next to the same in 32 bits.
//!
//! Needs ONNX Runtime (`make setup-run`); fails without it.

use super::*;
use crate::golden::{self, assert_close};
use crate::{Device, Folder, OrtBackend, Provider};

const SIDE: u32 = 128;

fn model_of(dir: &std::path::Path, provider: Provider) -> Arc<Model> {
    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    let device = Device { provider, index: 0 };
    let folder = Folder::open(dir).unwrap();
    Arc::new(Model::load(&folder, backend, device, &[], &mut |_| {}).unwrap())
}

fn half(provider: Provider) -> Arc<Model> {
    let dir = golden::model_dir().with_file_name("model-tiny-half");
    model_of(&dir, provider)
}

/// The pictures of some frames, and the bytes of the last.
pub(super) fn shown(model: &Arc<Model>, cfg_type: CfgType) -> (Vec<Vec<f32>>, Vec<u8>) {
    let parameters = Parameters {
        cfg_type,
        guidance_scale: 1.5,
        negative_prompt: "blurry".into(),
        ..stepping(&[749, 359])
    };
    let size = (SIDE, SIDE);
    let pace = pace(Batching::Stream);
    let mut engine = Engine::new(Arc::clone(model), size, pace, parameters).unwrap();
    let mut pictures = Vec::new();
    for k in 0..4 {
        let data = golden::picture(k, size);
        let view = FrameView {
            data: &data,
            width: SIDE,
            height: SIDE,
            stride: 3 * SIDE as usize,
            layout: Layout::RGB,
        };
        if engine.process(Some(&view)).unwrap() == Outcome::Picture {
            pictures.push(engine.drawn.values.clone());
        }
    }
    (pictures, engine.picture)
}

#[test]
fn a_folder_in_16_bits_of_one_size_draws_as_the_one_in_32() {
    let half = half(Provider::Cpu);
    let whole = model_of(&golden::model_dir(), Provider::Cpu);
    for cfg_type in [CfgType::None, CfgType::Full, CfgType::SelfNegative] {
        let (pictures, bytes) = shown(&half, cfg_type);
        let (expected, expected_bytes) = shown(&whole, cfg_type);

        assert_eq!(pictures.len(), 3);
        for (picture, expected) in pictures.iter().zip(&expected) {
            assert_close("picture", picture, expected, 5e-2);
        }
        let far = bytes.iter().zip(&expected_bytes);
        let far = far.filter(|(a, b)| a.abs_diff(**b) > 8).count();
        assert_eq!(far, 0, "{cfg_type:?}");
    }
}

#[test]
fn what_the_files_fix_is_a_fact() {
    let model = half(Provider::Cpu);

    assert_eq!(model.facts().fixed_size, Some((SIDE, SIDE)));
    assert_eq!(model.facts().fixed_rows, Some(1));
    assert!(model.facts().batchable, "row by row");
    let wrong = Engine::new(model, (64, 64), pace(Batching::Auto), Parameters::default());
    let wrong = wrong.unwrap_err().to_string();
    assert!(wrong.contains("128x128 only"), "{wrong}");
}

/// One size: its work is recorded as CUDA graphs, which the first frames make and the others use.
#[test]
#[ignore = "needs CUDA"]
fn gpu_cuda_records_a_model_of_one_size_and_draws_as_the_cpu_does() {
    let (cuda, cpu) = (half(Provider::Cuda), half(Provider::Cpu));

    for cfg_type in [CfgType::None, CfgType::Full] {
        let (pictures, _) = shown(&cuda, cfg_type);
        let (expected, _) = shown(&cpu, cfg_type);
        assert_eq!(pictures.len(), expected.len());
        for (picture, expected) in pictures.iter().zip(&expected) {
            assert_close("picture", picture, expected, 5e-2);
        }
    }

    let (used, total) = cuda.device_memory().expect("the GPU tells its memory");
    assert!(0 < used && used <= total, "{used} of {total} bytes");
    for (graph, placement) in &cuda.facts().placement {
        let on_cuda = placement.iter().any(|(name, _)| name.starts_with("CUDA"));
        assert!(on_cuda, "{graph}: {placement:?}");
    }
}

/// Two streams of one model take turns on its CUDA stream.
#[test]
#[ignore = "needs CUDA"]
fn gpu_cuda_serves_two_streams_at_once() {
    let cuda = half(Provider::Cuda);
    let (alone, _) = shown(&cuda, CfgType::None);

    std::thread::scope(|scope| {
        let both = [(); 2].map(|()| scope.spawn(|| shown(&cuda, CfgType::None).0));
        for stream in both {
            assert_eq!(stream.join().unwrap(), alone);
        }
    });
}
