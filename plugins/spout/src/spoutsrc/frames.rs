//! Shared frames → buffers, and the pictures that stand in while there is no sender.

use std::sync::Arc;

use gst::prelude::*;
use gst_video::prelude::*;
use texture_share::{Frame, Pixels, Video};

use crate::d3d11;
use crate::video::{outgoing, to_card};

/// Memory of a sender as GStreamer wraps it; the last reference lets the sender have it back.
struct Shared(Box<dyn Pixels>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

/// How the present sender's frames become buffers.
#[derive(Debug)]
pub(super) struct Frames {
    video: Video,
    info: gst_video::VideoInfo,
    caps: gst::Caps,
    pool: gst::BufferPool,
    /// Where the receiver draws, if pictures stay on the graphics card.
    textures: Option<Arc<d3d11::Pool>>,
}

impl Frames {
    /// `None` for pixels that GStreamer has no word for, or when there is no memory for a pool.
    pub(super) fn new(video: &Video) -> Option<Self> {
        let info = outgoing(video)?;
        let caps = info.to_caps().ok()?;
        let pool = gst_video::VideoBufferPool::new();
        let mut config = pool.config();
        config.set_params(Some(&caps), u32::try_from(info.size()).ok()?, 0, 0);
        pool.set_config(config).ok()?;
        pool.set_active(true).ok()?;
        Some(Self {
            video: video.clone(),
            info,
            caps,
            pool: pool.upcast(),
            textures: None,
        })
    }

    /// The caps of the same frames on a graphics card; `None` for formats that are not kept there.
    pub(super) fn caps_on_card(&self) -> Option<gst::Caps> {
        to_card(&self.info)
    }

    /// The same frames on a graphics card: `caps` are [`Self::caps_on_card`], and `None` is said where `device` has no
    /// such textures.
    pub(super) fn on_card(&self, device: &d3d11::Device, caps: gst::Caps) -> Option<Self> {
        let textures = d3d11::Pool::new(device, &self.info, &caps)?;
        Some(Self {
            video: self.video.clone(),
            info: self.info.clone(),
            caps,
            pool: textures.buffers().clone(),
            textures: Some(textures),
        })
    }

    /// Where the receiver is to draw, if pictures stay on the graphics card.
    pub(super) fn textures(&self) -> Option<&Arc<d3d11::Pool>> {
        self.textures.as_ref()
    }

    pub(super) fn caps(&self) -> &gst::Caps {
        &self.caps
    }

    /// How long a frame is seen at the sender's rate.
    pub(super) fn duration(&self) -> Option<gst::ClockTime> {
        let (numer, denom) = self.video.framerate;
        let numer = u64::from(numer);
        // 0/1 is unknown, and dividing by it panics.
        (numer > 0).then(|| gst::ClockTime::SECOND.mul_div_floor(denom.into(), numer))?
    }

    /// The sender's memory as it is, or the texture that was drawn on; `None` if that one is gone.
    pub(super) fn wrap(&self, frame: Frame) -> Option<gst::Buffer> {
        let Some(pixels) = frame.pixels else {
            return self.textures.as_ref()?.take();
        };
        let mut buffer = gst::Buffer::new();
        let inner = buffer.make_mut();
        inner.append_memory(gst::Memory::from_slice(Shared(pixels)));
        let stride = self.video.stride.cast_signed();
        if stride != self.info.stride()[0] {
            // Only a layout GStreamer does not expect needs saying; refused only if it did not fit the buffer.
            let _ = gst_video::VideoMeta::add_full(
                inner,
                gst_video::VideoFrameFlags::empty(),
                self.info.format(),
                self.info.width(),
                self.info.height(),
                &[0],
                &[stride],
            );
        }
        Some(buffer)
    }

    /// A copy of the frame in ordinary memory, upside down if asked.
    pub(super) fn copy(&self, frame: &Frame, flip: bool) -> Result<gst::Buffer, gst::FlowError> {
        let bytes = frame.bytes();
        let stride = self.video.stride as usize;
        self.draw(|row, rows, to| {
            let row = if flip { rows - 1 - row } else { row };
            if let Some(from) = bytes.get(row * stride..row * stride + to.len()) {
                to.copy_from_slice(from);
            }
        })
    }

    /// An opaque black picture.
    pub(super) fn black(&self) -> Result<gst::Buffer, gst::FlowError> {
        let format = self.video.format;
        self.draw(|_, _, to| format.paint_black(to))
    }

    fn draw(
        &self,
        mut row: impl FnMut(usize, usize, &mut [u8]),
    ) -> Result<gst::Buffer, gst::FlowError> {
        let buffer = self.pool.acquire_buffer(None)?;
        let mut frame = gst_video::VideoFrame::from_buffer_writable(buffer, &self.info)
            .map_err(|_| gst::FlowError::Error)?;
        let (rows, len) = (
            self.video.height as usize,
            (self.video.width * self.video.format.bytes()) as usize,
        );
        let stride = usize::try_from(frame.plane_stride()[0]).map_err(|_| gst::FlowError::Error)?;
        let plane = frame.plane_data_mut(0).map_err(|_| gst::FlowError::Error)?;
        for (index, to) in plane.chunks_mut(stride).take(rows).enumerate() {
            if let Some(to) = to.get_mut(..len) {
                row(index, rows, to);
            }
        }
        Ok(frame.into_buffer())
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        // A pool that does not stop is freed with its last buffer all the same.
        let _ = self.pool.set_active(false);
    }
}

/// A sparse sample of a picture: 4096 words spread evenly, folded into one. A change as small as a cursor may escape.
pub(super) fn sample(pixels: &[u8]) -> u64 {
    let step = (pixels.len() / 4096).max(1);
    let mut folded = 0xcbf2_9ce4_8422_2325_u64 ^ pixels.len() as u64;
    // An odd step walks through all columns and channels.
    for byte in pixels.iter().step_by(step | 1) {
        folded = (folded ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    folded
}
