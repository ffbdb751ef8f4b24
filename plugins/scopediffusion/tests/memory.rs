//! Whose memory pictures are drawn into.

#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

mod ground;

use std::sync::{Arc, Mutex};

use ground::{caps, frame, strict};
use gst::prelude::*;

/// Bytes that the buffers of [`downstream`]'s pool have beyond a picture.
const SPARE: usize = 4096;

type Kept = Arc<Mutex<Vec<(gst::Buffer, usize)>>>;

/// A pad behind the element that offers a pool of `most` buffers (0: no limit) and keeps what it gets, with the bytes
/// that a picture has.
fn downstream(most: u32) -> (gst::Pad, Kept) {
    ground::init();
    let kept = Arc::new(Mutex::new(Vec::new()));
    let keep = kept.clone();
    let pad = gst::Pad::builder(gst::PadDirection::Sink)
        .name("sink")
        .chain_function(move |pad, _, buffer| {
            let caps = pad.current_caps().unwrap();
            let size = gst_video::VideoInfo::from_caps(&caps).unwrap().size();
            keep.lock().unwrap().push((buffer, size));
            Ok(gst::FlowSuccess::Ok)
        })
        .query_function(move |pad, parent, query| match query.view_mut() {
            gst::QueryViewMut::Allocation(query) => {
                let caps = query.get_owned().0.unwrap();
                let size = gst_video::VideoInfo::from_caps(&caps).unwrap().size() + SPARE;
                let pool = gst::BufferPool::new();
                query.add_allocation_pool(Some(&pool), u32::try_from(size).unwrap(), 0, most);
                true
            }
            _ => gst::Pad::query_default(pad, parent, query),
        })
        .build();
    (pad, kept)
}

/// Pushes `count` frames of 64×48 through a filter in front of `pad`, and takes everything down again.
fn push(pad: &gst::Pad, count: u64) {
    ground::init();
    let filter = gst::ElementFactory::make(ground::ELEMENT)
        .property_from_str("pacing", "strict")
        .build()
        .unwrap();
    let source = gst::Pad::builder(gst::PadDirection::Src)
        .name("src")
        .build();
    source.link(&filter.static_pad("sink").unwrap()).unwrap();
    filter.static_pad("src").unwrap().link(pad).unwrap();
    pad.set_active(true).unwrap();
    source.set_active(true).unwrap();
    filter.set_state(gst::State::Playing).unwrap();
    let caps = caps("RGB", 64, 48);
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    for event in [
        gst::event::StreamStart::new("frames"),
        gst::event::Caps::new(&caps),
        gst::event::Segment::new(&segment),
    ] {
        assert!(source.push_event(event));
    }
    for n in 0..count {
        source.push(frame(&caps, n)).unwrap();
    }
    filter.set_state(gst::State::Null).unwrap();
    source.set_active(false).unwrap();
    pad.set_active(false).unwrap();
}

/// How many bytes each buffer has beyond its picture.
fn spare(kept: &Kept) -> Vec<usize> {
    let kept = kept.lock().unwrap();
    let beyond = |(buffer, size): &(gst::Buffer, usize)| buffer.size() - size;
    kept.iter().map(beyond).collect()
}

#[test]
fn pictures_are_drawn_into_the_pool_downstream_offers() {
    let (pad, kept) = downstream(0);

    push(&pad, 3);

    assert_eq!(spare(&kept), [SPARE; 3]);
    let (last, _) = &kept.lock().unwrap()[2];
    assert_eq!(last.pts(), Some(gst::ClockTime::SECOND * 2 / 30));
    assert_eq!(last.duration(), Some(gst::ClockTime::SECOND / 30));
}

#[test]
fn a_pool_that_downstream_holds_wholly_stops_nothing() {
    let (pad, kept) = downstream(2);

    push(&pad, 4);

    assert_eq!(spare(&kept), [SPARE, SPARE, 0, 0]);
}

#[test]
fn without_one_pictures_take_turns_in_the_same_memory() {
    let mut harness = strict();
    let caps = caps("RGB", 64, 48);
    harness.set_src_caps(caps.clone());
    let mut addresses = (0..4).map(|n| {
        let picture = harness.push_and_pull(frame(&caps, n)).unwrap();
        picture.map_readable().unwrap().as_ptr() as usize
    });

    let first = addresses.next().unwrap();

    assert!(addresses.all(|address| address == first));
}

#[test]
fn the_source_draws_into_it_too() {
    let (pad, kept) = downstream(0);
    let source = gst::ElementFactory::make("scopediffusionsrc")
        .property_from_str("pacing", "strict")
        .property("num-buffers", 3)
        .property("width", 64u32)
        .property("height", 64u32)
        .build()
        .unwrap();
    source.static_pad("src").unwrap().link(&pad).unwrap();
    pad.set_active(true).unwrap();
    source.set_state(gst::State::Playing).unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while kept.lock().unwrap().len() < 3 && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    source.set_state(gst::State::Null).unwrap();
    pad.set_active(false).unwrap();

    assert_eq!(spare(&kept)[..3], [SPARE; 3]);
}
