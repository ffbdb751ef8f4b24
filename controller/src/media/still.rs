//! One picture as a file.

use gst::prelude::*;
use webrtc_live::{MediaError, make, set};

use super::inlet::Frame;

/// The kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Still {
    /// Small; quality 1 to 100.
    Jpeg(u8),
    /// Exact.
    Png,
}

/// No encoder takes longer, however large the picture.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(5);

/// Encodes a picture; blocks for milliseconds.
pub(crate) fn encode(frame: Frame, still: Still) -> Result<Vec<u8>, MediaError> {
    let pipeline = gst::Pipeline::new();
    let source = gst_app::AppSrc::builder()
        .format(gst::Format::Time)
        .caps(&frame.caps)
        .build();
    let encoder = match still {
        Still::Jpeg(quality) => {
            let encoder = make("jpegenc")?;
            set(&encoder, "quality", &quality.to_string())?;
            encoder
        }
        Still::Png => make("pngenc")?,
    };
    let sink = gst_app::AppSink::builder().sync(false).build();
    let elements = [
        source.upcast_ref(),
        &make("videoconvert")?,
        &encoder,
        sink.upcast_ref(),
    ];
    pipeline.add_many(elements)?;
    gst::Element::link_many(elements)?;
    pipeline.set_state(gst::State::Playing)?;
    let mut buffer = frame.buffer;
    let stamped = buffer.make_mut();
    stamped.set_pts(gst::ClockTime::ZERO);
    stamped.set_dts(None);
    let pushed = source
        .push_buffer(buffer)
        .and_then(|_| source.end_of_stream());
    let encoded = pushed.ok().and_then(|_| sink.try_pull_sample(PATIENCE));
    let stopped = pipeline.set_state(gst::State::Null);
    let bytes = encoded
        .as_ref()
        .and_then(|sample| sample.buffer()?.map_readable().ok())
        .map(|bytes| bytes.to_vec());
    stopped?;
    bytes.ok_or_else(|| MediaError::Pipeline("the picture could not be encoded".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(still: Still) -> Vec<u8> {
        gst::init().unwrap();
        let caps = "video/x-raw,format=RGB,width=64,height=48,framerate=0/1";
        let frame = Frame {
            caps: caps.parse().unwrap(),
            buffer: gst::Buffer::from_slice(
                (0..64 * 48 * 3)
                    .map(|at| (at * 7) as u8)
                    .collect::<Vec<_>>(),
            ),
            mark: None,
        };
        encode(frame, still).unwrap()
    }

    #[test]
    fn a_picture_becomes_the_kind_of_file_it_is_to_be() {
        assert!(encoded(Still::Jpeg(85)).starts_with(&[0xFF, 0xD8, 0xFF]));
        assert!(encoded(Still::Png).starts_with(b"\x89PNG"));
        let (poor, good) = (encoded(Still::Jpeg(5)), encoded(Still::Jpeg(95)));
        assert!(good.len() > poor.len() * 2, "{} {}", good.len(), poor.len());
    }
}
