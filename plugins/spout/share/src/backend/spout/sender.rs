//! A sender: a shared texture, its record, and its turns.

use std::sync::Arc;

use super::access::Access;
use super::device::{Device, Texture};
use super::list::Entry;
use super::{failed, text};
use crate::record::Record;
use crate::{
    Figures, Lender, Picture, Sender, SenderName, SenderWish, Sent, ShareError, Stamp, Video,
};

/// Bit 30 of a record's partner id: the texture could be shared with OpenGL, too.
const COULD_SHARE: u32 = 1 << 30;

/// See the module.
#[derive(Debug)]
pub(super) struct SpoutSender {
    name: SenderName,
    device: Device,
    texture: Texture,
    video: Video,
    entry: Entry,
    access: Access,
    figures: Figures,
    /// Rows as the texture wants them, for pictures that cannot be drawn as they are.
    scratch: Vec<u8>,
}

fn texture(device: &Device, video: &Video) -> Result<(Texture, Record), ShareError> {
    video.check()?;
    let format = video.format.dxgi();
    let (texture, handle) = device
        .shared(video.width, video.height, format)
        .map_err(failed("making a shared texture"))?;
    let program = std::env::current_exe().unwrap_or_default();
    let record = Record {
        share_handle: handle,
        width: video.width,
        height: video.height,
        format,
        usage: 0,
        description: text::path(&program.to_string_lossy()),
        partner_id: COULD_SHARE,
    };
    Ok((texture, record))
}

impl SpoutSender {
    pub(super) fn register(wish: &SenderWish) -> Result<Self, ShareError> {
        text::to_ansi(&wish.name)?;
        let device = Device::any().map_err(failed("opening a Direct3D 11 device"))?;
        let (texture, record) = texture(&device, &wish.video)?;
        let numbered = |count: u32| match count {
            0 => text::to_ansi(&wish.name).ok(),
            count => text::to_ansi(&wish.name.numbered(count)).ok(),
        };
        let entry = Entry::register(numbered, &record, wish.make_active)
            .map_err(failed("registering the sender"))?;
        let access = Access::new(&entry.name).map_err(failed("making the sender's mutex"))?;
        Ok(Self {
            name: SenderName::of_other(&text::from_ansi(&entry.name))?,
            device,
            texture,
            video: wish.video.clone(),
            entry,
            access,
            figures: Figures {
                buffers: 1,
                ..Figures::default()
            },
            scratch: Vec::new(),
        })
    }
}

impl Sender for SpoutSender {
    fn name(&self) -> &SenderName {
        &self.name
    }

    fn configure(&mut self, video: &Video) -> Result<(), ShareError> {
        video.check()?;
        // Some receivers open a texture anew only when its size changes: never a new one of equal geometry.
        if !self.video.same_geometry(video) {
            let (texture, record) = texture(&self.device, video)?;
            self.texture = texture;
            self.entry.update(&record);
        }
        self.video = video.clone();
        Ok(())
    }

    fn send(&mut self, picture: &Picture<'_>, _stamp: &Stamp) -> Result<Sent, ShareError> {
        let (bytes, stride) = match picture.opaque {
            false if picture.is_long_enough(&self.video) => (picture.bytes, picture.stride),
            _ => {
                self.scratch.resize(self.video.frame_len(), 0);
                picture.copy_to(&self.video, &mut self.scratch)?;
                (self.scratch.as_slice(), self.video.stride as usize)
            }
        };
        let Some(turn) = self.access.turn() else {
            self.figures.dropped += 1;
            return Ok(Sent::Dropped);
        };
        let written = self.device.write(&self.texture, bytes, stride);
        // Counted in the turn, so that nobody takes the old picture for the new one.
        turn.written();
        written.map_err(failed("drawing into the shared texture"))?;
        self.figures.sent += 1;
        Ok(Sent::Copied)
    }

    fn is_shown(&self, _ticket: u64) -> bool {
        false
    }

    fn lender(&self) -> Option<Arc<dyn Lender>> {
        None
    }

    fn receivers(&self) -> Option<usize> {
        None
    }

    fn figures(&self) -> Figures {
        self.figures
    }
}
