//! Raw pictures, and making one fit the caps of another.

use gst_video::{VideoConverter, VideoFrameRef, VideoInfo};

/// A raw picture with the description of its memory.
#[derive(Debug, Clone)]
pub(crate) struct Picture {
    pub(crate) buffer: gst::Buffer,
    pub(crate) info: VideoInfo,
}

/// Scales and converts pictures to one description, quickest when they fit already.
#[derive(Debug, Default)]
pub(crate) struct Fitter(Option<Fitted>);

#[derive(Debug)]
struct Fitted {
    from: VideoInfo,
    /// As `from`, at the rate of `to`.
    described: VideoInfo,
    to: VideoInfo,
    converter: VideoConverter,
}

impl Fitter {
    /// The picture as `to` describes it, without timestamps unless it fitted as it was.
    ///
    /// # Errors
    ///
    /// The buffer is smaller than its caps say, or GStreamer cannot convert between the two.
    pub(crate) fn fit(
        &mut self,
        picture: &Picture,
        to: &VideoInfo,
    ) -> Result<gst::Buffer, gst::glib::BoolError> {
        if same(&picture.info, to) {
            return Ok(picture.buffer.clone());
        }
        if !self
            .0
            .as_ref()
            .is_some_and(|fitted| fitted.from == picture.info && fitted.to == *to)
        {
            // Trap: a converter refuses two rates, although a picture has none.
            let described = with_rate_of(&picture.info, to)?;
            let converter = VideoConverter::new(&described, to, None)?;
            self.0 = Some(Fitted {
                from: picture.info.clone(),
                described,
                to: to.clone(),
                converter,
            });
        }
        let Some(fitted) = &self.0 else {
            return Err(gst::glib::bool_error!("no converter"));
        };
        let mut buffer = gst::Buffer::with_size(to.size())?;
        {
            let source =
                VideoFrameRef::from_buffer_ref_readable(&picture.buffer, &fitted.described)?;
            let mut target = VideoFrameRef::from_buffer_ref_writable(buffer.make_mut(), to)?;
            fitted.converter.frame_ref(&source, &mut target);
        }
        Ok(buffer)
    }
}

fn with_rate_of(info: &VideoInfo, other: &VideoInfo) -> Result<VideoInfo, gst::glib::BoolError> {
    VideoInfo::builder(info.format(), info.width(), info.height())
        .fps(other.fps())
        .par(info.par())
        .colorimetry(&info.colorimetry())
        .build()
}

/// A frame rate changes nothing in the memory.
fn same(one: &VideoInfo, other: &VideoInfo) -> bool {
    one.format() == other.format()
        && (one.width(), one.height()) == (other.width(), other.height())
        && one.colorimetry() == other.colorimetry()
        && one.interlace_mode() == other.interlace_mode()
}

/// A black picture.
///
/// # Errors
///
/// No memory, or a format without black.
pub(crate) fn black(info: &VideoInfo) -> Result<Picture, gst::glib::BoolError> {
    let small = VideoInfo::builder(gst_video::VideoFormat::Rgb, 16, 16).build()?;
    let buffer = gst::Buffer::from_slice([0; 3 * 256]);
    let buffer = Fitter::default().fit(
        &Picture {
            buffer,
            info: small,
        },
        info,
    )?;
    Ok(Picture {
        buffer,
        info: info.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(format: gst_video::VideoFormat, width: u32, height: u32) -> VideoInfo {
        VideoInfo::builder(format, width, height).build().unwrap()
    }

    #[test]
    fn a_picture_that_fits_is_the_same_buffer() {
        gst::init().unwrap();
        let info = info(gst_video::VideoFormat::Rgb, 8, 8);
        let picture = black(&info).unwrap();

        let fitted = Fitter::default().fit(&picture, &info).unwrap();

        assert_eq!(fitted.as_ptr(), picture.buffer.as_ptr());
    }

    #[test]
    fn black_is_black_in_every_format() {
        gst::init().unwrap();
        for format in [
            gst_video::VideoFormat::Rgb,
            gst_video::VideoFormat::I420,
            gst_video::VideoFormat::Yuy2,
        ] {
            let picture = black(&info(format, 20, 10)).unwrap();
            let rgb = info(gst_video::VideoFormat::Rgb, 5, 5);

            let shown = Fitter::default().fit(&picture, &rgb).unwrap();

            assert!(
                shown.map_readable().unwrap().iter().all(|byte| *byte < 3),
                "{format:?}"
            );
        }
    }

    #[test]
    fn a_rate_does_not_stand_in_the_way() {
        gst::init().unwrap();
        let source = VideoInfo::builder(gst_video::VideoFormat::I420, 8, 8)
            .fps(gst::Fraction::new(0, 1))
            .build();
        let target = VideoInfo::builder(gst_video::VideoFormat::Rgb, 4, 4)
            .fps(gst::Fraction::new(30, 1))
            .build();

        assert!(
            Fitter::default()
                .fit(&black(&source.unwrap()).unwrap(), &target.unwrap())
                .is_ok()
        );
    }

    #[test]
    fn a_short_buffer_is_an_error() {
        gst::init().unwrap();
        let lie = Picture {
            buffer: gst::Buffer::with_size(10).unwrap(),
            info: info(gst_video::VideoFormat::Rgb, 8, 8),
        };

        assert!(
            Fitter::default()
                .fit(&lie, &info(gst_video::VideoFormat::I420, 4, 4))
                .is_err()
        );
    }
}
