//! The built-in model obeys the prompt: what is asserted is what a person would see.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod ground;

use ground::{ELEMENT, last_picture, last_sample};

/// Mean red, green and blue of a test scene drawn with `properties`.
fn drawn(properties: &str) -> [f64; 3] {
    last_picture(&format!(
        "videotestsrc num-buffers=3 pattern=smpte ! video/x-raw,format=RGB,width=256,height=256,framerate=30/1 \
         ! {ELEMENT} {properties} ! fakesink name=out"
    ))
}

/// Green of every pixel, 0 to 255, row by row: enough to see lines and blocks. 256 pixels a row.
fn green(pattern: &str, prompt: &str) -> Vec<f64> {
    let sample = last_sample(&format!(
        "videotestsrc num-buffers=3 {pattern} ! video/x-raw,format=RGB,width=256,height=256,framerate=30/1 \
         ! {ELEMENT} prompt=\"{prompt}\" ! video/x-raw,format=RGB ! fakesink name=out"
    ));
    let map = sample.buffer().unwrap().map_readable().unwrap();
    map.chunks_exact(3)
        .map(|pixel| f64::from(pixel[1]))
        .collect()
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

/// Mean step between neighbours of a row: inside blocks of 8 pixels (grid lines left out), and from block to block.
fn steps(picture: &[f64]) -> (f64, f64) {
    let mean = |wanted: &dyn Fn(usize) -> bool, reach: usize| {
        let steps: Vec<f64> = picture
            .chunks_exact(256)
            .enumerate()
            .filter(|(y, _)| (1..6).contains(&(y % 8)))
            .flat_map(|(_, row)| {
                (0..256 - reach)
                    .filter(|&x| wanted(x % 8))
                    .map(|x| (row[x + reach] - row[x]).abs())
            })
            .collect();
        steps.iter().sum::<f64>() / steps.len() as f64
    };
    (mean(&|x| (1..5).contains(&x), 1), mean(&|x| x == 3, 8))
}

#[test]
fn pixel_art_is_made_of_blocks() {
    let scene = "pattern=zone-plate kx2=12 ky2=12";
    let (inside, between) = steps(&green(scene, "pixel art"));
    let (inside_photo, between_photo) = steps(&green(scene, "photo"));

    assert!(
        inside * 2.0 < inside_photo && inside / between < 0.4 * inside_photo / between_photo,
        "pixel art {inside} {between}, photo {inside_photo} {between_photo}"
    );
}

#[test]
fn a_comic_is_drawn_in_ink() {
    let dark = |prompt| {
        let picture = green(
            "pattern=ball foreground-color=0xff909090 background-color=0xffe0e0e0",
            prompt,
        );
        picture.iter().filter(|&&green| green < 50.0).count()
    };
    let (comic, photo) = (dark("comic"), dark("photo"));

    assert!(photo < 60 && comic > 100, "comic {comic}, photo {photo}");
}
