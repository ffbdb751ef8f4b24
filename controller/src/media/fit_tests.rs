//! What a processor sees of a picture of another shape, through the very elements that a session puts before it.

use gst::prelude::*;

use crate::processor::Fit;

const RED: [u8; 3] = [255, 0, 0];
const GREEN: [u8; 3] = [0, 255, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const BLACK: [u8; 3] = [0, 0, 0];

/// Side of the square that the processor works at.
const SIDE: usize = 64;

/// One frame, three times as wide as high, with a red, a green and a blue third, in `format`; how it comes out.
fn fitted(fit: Fit, format: &str) -> Vec<[u8; 3]> {
    gst::init().unwrap();
    let text = format!(
        "appsrc name=source format=time caps=video/x-raw,format=RGB,width=192,height=64,framerate=30/1 \
         ! videoconvert ! video/x-raw,format={format} ! videoconvert ! {} \
         ! video/x-raw,format=RGB,width={SIDE},height={SIDE},pixel-aspect-ratio=1/1 ! appsink name=sink sync=false",
        fit.stages((64, 64))
    );
    let pipeline = gst::parse::launch(&text)
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    let source = pipeline.by_name("source").unwrap();
    let source = source.downcast::<gst_app::AppSrc>().unwrap();
    let sink = pipeline.by_name("sink").unwrap();
    let sink = sink.downcast::<gst_app::AppSink>().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let row = [RED, GREEN, BLUE].map(|colour| [colour; 64]);
    let frame = vec![row; 64]
        .as_flattened()
        .as_flattened()
        .as_flattened()
        .to_vec();
    source.push_buffer(gst::Buffer::from_slice(frame)).unwrap();
    let sample = sink.pull_sample().unwrap();
    let map = sample.buffer().unwrap().map_readable().unwrap();
    let (pixels, _) = map.as_chunks::<3>();
    let pixels = pixels.to_vec();
    drop(map);
    pipeline.set_state(gst::State::Null).unwrap();
    pixels
}

#[track_caller]
fn is_at(picture: &[[u8; 3]], column: usize, row: usize, colour: [u8; 3]) {
    let seen = picture[row * SIDE + column];
    let near = seen
        .iter()
        .zip(colour)
        .all(|(seen, wanted)| seen.abs_diff(wanted) < 24);
    assert!(near, "{seen:?} is not {colour:?} at {column}, {row}");
}

#[test]
fn cropping_shows_the_middle_undistorted_in_whatever_format_it_comes() {
    // The last three are what a shared picture or a decoder may have, and a cropper may not know.
    for format in [
        "BGRA",
        "RGBx",
        "I420",
        "RGB10A2_LE",
        "RGBA64_LE",
        "P010_10LE",
    ] {
        let picture = fitted(Fit::Crop, format);
        for (column, row) in [(2, 2), (61, 2), (32, 32), (2, 61), (61, 61)] {
            is_at(&picture, column, row, GREEN);
        }
    }
}

#[test]
fn a_letterbox_shows_all_of_it_between_black_bars() {
    let picture = fitted(Fit::Letterbox, "BGRA");

    for (column, colour) in [(5, RED), (32, GREEN), (58, BLUE)] {
        is_at(&picture, column, 32, colour);
        is_at(&picture, column, 5, BLACK);
        is_at(&picture, column, 58, BLACK);
    }
}

#[test]
fn stretching_shows_all_of_it_everywhere() {
    let picture = fitted(Fit::Stretch, "BGRA");

    for (column, colour) in [(5, RED), (32, GREEN), (58, BLUE)] {
        is_at(&picture, column, 3, colour);
        is_at(&picture, column, 60, colour);
    }
}
