//! The built-in model obeys the prompt: what is asserted is what a person would see.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod ground;

use ground::{ELEMENT, last_picture};

/// Mean red, green and blue of a test scene drawn with `properties`.
fn drawn(properties: &str) -> [f64; 3] {
    last_picture(&format!(
        "videotestsrc num-buffers=3 pattern=smpte ! video/x-raw,format=RGB,width=256,height=256,framerate=30/1 \
         ! {ELEMENT} {properties} ! fakesink name=out"
    ))
}

fn light(rgb: [f64; 3]) -> f64 {
    rgb.iter().sum::<f64>() / 3.0
}

#[test]
fn blueprint_is_blue() {
    let [red, green, blue] = drawn("prompt=blueprint");

    assert!(blue > red * 1.5 && blue > green, "{red} {green} {blue}");
}

#[test]
fn night_is_darker_than_a_photo() {
    let (night, photo) = (drawn("prompt=night"), drawn("prompt=photo"));

    assert!(light(night) < light(photo) * 0.75, "{night:?} {photo:?}");
}

#[test]
fn a_pencil_sketch_has_no_colour_and_much_paper() {
    let sketch = drawn("prompt=\"pencil sketch\"");
    let spread =
        sketch.iter().copied().fold(0.0, f64::max) - sketch.iter().copied().fold(255.0, f64::min);

    assert!(spread < 25.0, "{sketch:?}");
    assert!(light(sketch) > 130.0, "{sketch:?}");
}

#[test]
fn vintage_is_warm() {
    let [red, _, blue] = drawn("prompt=\"vintage photo\"");

    assert!(red > blue + 10.0, "{red} {blue}");
}

#[test]
fn the_weight_between_two_prompts_moves_the_picture_all_the_way() {
    let at = |night: f64| {
        let patch = format!(
            r#"parameters="{{\"prompts\":[{{\"text\":\"photo\",\"weight\":{}}},{{\"text\":\"night\",\"weight\":{night}}}]}}""#,
            1.0 - night
        );
        light(drawn(&patch))
    };
    let sweep: Vec<f64> = [0.0, 0.25, 0.5, 0.75, 1.0].into_iter().map(at).collect();

    assert!(
        sweep.is_sorted_by(|brighter, darker| brighter >= darker),
        "{sweep:?}"
    );
    assert!(sweep[0] > sweep[4] + 20.0, "{sweep:?}");
}

#[test]
fn text_to_video_draws_from_the_prompt_alone() {
    let blueprint = drawn("prompt=blueprint input-mode=text");
    let fire = drawn("prompt=fire input-mode=text");

    assert!(blueprint[2] > blueprint[0], "{blueprint:?}");
    assert!(fire[0] > fire[2], "{fire:?}");
}

#[test]
fn the_seed_decides_and_the_same_seed_repeats() {
    let text = |seed: u32| drawn(&format!("prompt=photo input-mode=text seed={seed}"));

    assert_eq!(text(1), text(1));
    assert_ne!(text(1), text(2));
}
