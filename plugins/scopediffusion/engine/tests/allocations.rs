//! A frame allocates nothing: counted, in a program of its own whose allocator counts.

#![allow(
    unsafe_code,
    reason = "an allocator is unsafe by nature; this one only counts and passes on"
)]
#![allow(clippy::unwrap_used, reason = "a test may fail where it stands")]

use std::alloc::{GlobalAlloc, Layout as Size, System};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use diffusion_engine::{
    Batching, Device, Engine, Folder, FrameView, FrameViewMut, Latents, Layout, Model, Opening,
    OrtBackend, Outcome, Pace, Parameters, Patch, Prompts, Provider,
};

struct Counting;

thread_local! {
    static COUNT: Cell<Option<u32>> = const { Cell::new(None) };
}

fn count() {
    // Refused only while the thread ends, when nobody counts.
    let _ = COUNT.try_with(|count| count.set(count.get().map(|count| count + 1)));
}

// SAFETY: every call is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, size: Size) -> *mut u8 {
        count();
        // SAFETY: the caller's word.
        unsafe { System.alloc(size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, size: Size) {
        // SAFETY: the caller's word.
        unsafe { System.dealloc(place, size) }
    }

    unsafe fn realloc(&self, place: *mut u8, size: Size, new: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's word.
        unsafe { System.realloc(place, size, new) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations that this thread makes in `work`.
fn allocations(work: impl FnOnce()) -> u32 {
    COUNT.set(Some(0));
    work();
    COUNT.take().unwrap_or(0)
}

#[test]
fn the_counter_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(Box::new(7)))), 1);
    assert_eq!(allocations(|| {}), 0);
}

const SIDE: u32 = 64;

fn engine(json: &str, batching: Batching, frame_buffer: u32, latents: Latents) -> Engine {
    let backend =
        OrtBackend::load(None).expect("the tests need ONNX Runtime: run `make setup-run`");
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/model-tiny");
    let opening = Opening {
        device: Device {
            provider: Provider::Cpu,
            index: 0,
        },
        latents,
        ..Opening::default()
    };
    let folder = Folder::open(&dir).unwrap();
    let model = Model::load(&folder, backend, opening, &[], &mut |_| {}).unwrap();
    let pace = Pace {
        batching,
        frame_buffer,
        pipelining: latents == Latents::Provider,
    };
    let mut engine =
        Engine::new(Arc::new(model), (SIDE, SIDE), pace, Parameters::default()).unwrap();
    let patch = Patch::from_json(json).unwrap();
    engine.apply(&patch, Prompts::Wait).unwrap();
    engine
}

/// One frame through, pictures written.
fn draw(engine: &mut Engine, frame: &[u8], out: &mut [u8]) {
    let view = FrameView {
        data: frame,
        width: SIDE,
        height: SIDE,
        stride: 4 * SIDE as usize,
        layout: Layout::BGRA,
    };
    let mut outcome = engine.process(Some(&view)).unwrap();
    while outcome == Outcome::Picture {
        let mut view = FrameViewMut {
            data: out,
            width: SIDE,
            height: SIDE,
            stride: 4 * SIDE as usize,
            layout: Layout::BGRA,
        };
        engine.write_picture(&mut view).unwrap();
        outcome = engine.catch_up().unwrap();
    }
}

#[test]
fn a_frame_allocates_nothing_in_any_mode() {
    allocates_nothing_with(Latents::Host);
}

#[test]
fn a_frame_whose_latents_stay_with_the_graphs_allocates_nothing_either() {
    allocates_nothing_with(Latents::Provider);
}

fn allocates_nothing_with(latents: Latents) {
    let (mut frame, mut out) = (
        vec![9; 4 * (SIDE * SIDE) as usize],
        vec![0; 4 * (SIDE * SIDE) as usize],
    );
    for (json, batching, buffer) in [
        (r#"{"noise_scale": 0.5}"#, Batching::Auto, 1),
        (
            r#"{"denoising_step_list": [800, 400, 200]}"#,
            Batching::Stream,
            1,
        ),
        (
            r#"{"denoising_step_list": [800, 400]}"#,
            Batching::Stream,
            2,
        ),
        (
            r#"{"cfg_type": "full", "guidance_scale": 2, "negative_prompt": "blurry"}"#,
            Batching::Sequential,
            1,
        ),
        (
            r#"{"cfg_type": "self", "guidance_scale": 2, "latent_feedback": 0.5}"#,
            Batching::Sequential,
            1,
        ),
        (
            r#"{"cfg_type": "initialize", "guidance_scale": 2, "denoising_step_list": [800, 400]}"#,
            Batching::Stream,
            1,
        ),
        (
            r#"{"similar_image_filter": true, "noise_controller": true}"#,
            Batching::Auto,
            1,
        ),
        (r#"{"input_mode": "text"}"#, Batching::Auto, 1),
    ] {
        let mut engine = engine(json, batching, buffer, latents);
        // The first rounds make the tensors of every number of rows that the batch goes through.
        for round in 0..10 {
            frame.fill(round);
            draw(&mut engine, &frame, &mut out);
        }

        let counted = allocations(|| {
            for round in 0..20 {
                frame.fill(10 * round);
                draw(&mut engine, &frame, &mut out);
            }
        });

        assert_eq!(counted, 0, "{json}");
    }
}
