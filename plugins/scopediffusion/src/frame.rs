//! GStreamer's frames ↔ the engine's.

use diffusion_engine::{FrameView, FrameViewMut, Layout};
use gst_video::prelude::*;
use gst_video::{VideoConverter, VideoFrameRef, VideoInfo};

/// Where red, green and blue lie in a packed RGB format.
pub(crate) fn layout(info: &VideoInfo) -> Layout {
    let format = info.format_info();
    let offset = |component: usize| format.poffset()[component] as usize;
    Layout {
        pixel_stride: format.pixel_stride()[0] as usize,
        red: offset(0),
        green: offset(1),
        blue: offset(2),
        alpha: format.has_alpha().then(|| offset(3)),
    }
}

/// The engine's view of a mapped frame.
pub(crate) fn view<'a>(frame: &'a VideoFrameRef<&'a gst::BufferRef>) -> Option<FrameView<'a>> {
    Some(FrameView {
        data: frame.plane_data(0).ok()?,
        width: frame.width(),
        height: frame.height(),
        stride: usize::try_from(frame.plane_stride()[0]).ok()?,
        layout: layout(frame.info()),
    })
}

/// The engine's writable view of a mapped frame.
pub(crate) fn view_mut<'a>(
    frame: &'a mut VideoFrameRef<&mut gst::BufferRef>,
) -> Option<FrameViewMut<'a>> {
    let (width, height) = (frame.width(), frame.height());
    let stride = usize::try_from(frame.plane_stride()[0]).ok()?;
    let layout = layout(frame.info());
    Some(FrameViewMut {
        data: frame.plane_data_mut(0).ok()?,
        width,
        height,
        stride,
        layout,
    })
}

/// Scales between the size of the caps and the size the model works at, by GStreamer's own converter.
#[derive(Debug)]
pub(crate) struct Scaler {
    model: VideoInfo,
    down: VideoConverter,
    up: VideoConverter,
    scratch: gst::Buffer,
}

impl Scaler {
    /// A scaler from frames of `caps` to frames of `width` × `height` pixels in the same format, and back.
    ///
    /// # Errors
    ///
    /// If GStreamer cannot convert between the two.
    pub(crate) fn new(
        caps: &VideoInfo,
        (width, height): (u32, u32),
    ) -> Result<Self, gst::glib::BoolError> {
        let model = VideoInfo::builder(caps.format(), width, height)
            .fps(caps.fps())
            .build()?;
        Ok(Self {
            down: VideoConverter::new(caps, &model, None)?,
            up: VideoConverter::new(&model, caps, None)?,
            scratch: gst::Buffer::with_size(model.size())?,
            model,
        })
    }

    /// Scales `frame` down and shows it to `look`.
    pub(crate) fn read<T>(
        &mut self,
        frame: &VideoFrameRef<&gst::BufferRef>,
        look: impl FnOnce(&VideoFrameRef<&gst::BufferRef>) -> T,
    ) -> Result<T, gst::glib::BoolError> {
        let scratch = self.scratch.make_mut();
        let mut small = VideoFrameRef::from_buffer_ref_writable(scratch, &self.model)?;
        self.down.frame_ref(frame, &mut small);
        drop(small);
        Ok(look(&VideoFrameRef::from_buffer_ref_readable(
            &self.scratch,
            &self.model,
        )?))
    }

    /// Lets `paint` fill a frame of the model's size, then scales it up into `frame`.
    pub(crate) fn write<T>(
        &mut self,
        frame: &mut VideoFrameRef<&mut gst::BufferRef>,
        paint: impl FnOnce(&mut VideoFrameRef<&mut gst::BufferRef>) -> T,
    ) -> Result<T, gst::glib::BoolError> {
        let mut small =
            VideoFrameRef::from_buffer_ref_writable(self.scratch.make_mut(), &self.model)?;
        let painted = paint(&mut small);
        drop(small);
        let small = VideoFrameRef::from_buffer_ref_readable(&self.scratch, &self.model)?;
        self.up.frame_ref(&small, frame);
        Ok(painted)
    }
}
