//! A sender: a shared texture, its record, and its turns.

use std::sync::Arc;
use std::time::Duration;

use super::access::Access;
use super::device::{Device, Texture};
use super::gpu::{GpuDevice, GpuTexture};
use super::kernel::Event;
use super::list::Entry;
use super::{failed, text};
use crate::directory::RawName;
use crate::record::Record;
use crate::{
    Adapter, Figures, Gate, Lender, Picture, Sender, SenderName, SenderWish, Sent, ShareError,
    Stamp, Video,
};

/// Bit 30 of a record's partner id: the texture could be shared with OpenGL, too.
const COULD_SHARE: u32 = 1 << 30;

/// See the module.
#[derive(Debug)]
pub(super) struct SpoutSender {
    name: SenderName,
    device: Device,
    texture: Texture,
    keyed: bool,
    video: Video,
    /// Where the next texture is to lie.
    preferred: Option<Device>,
    /// What receivers are told once there is a picture in the new texture, and the old one, which they use until then.
    replaced: Option<(Record, Texture)>,
    entry: Entry,
    access: Access,
    figures: Figures,
    /// Rows as the texture wants them, for pictures that cannot be drawn as they are.
    scratch: Vec<u8>,
}

fn texture(device: &Device, video: &Video, keyed: bool) -> Result<(Texture, Record), ShareError> {
    video.check()?;
    let format = video.format.dxgi();
    let (texture, handle) = device
        .shared(video.width, video.height, format, keyed)
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
    pub(super) fn register(wish: &SenderWish, adapter: Adapter) -> Result<Self, ShareError> {
        text::to_ansi(&wish.name)?;
        let device = match &wish.texture.device {
            Some(device) => device.0.clone(),
            None => Device::on(adapter).map_err(failed("opening a Direct3D 11 device"))?,
        };
        let keyed = wish.texture.keyed_mutex;
        let (texture, record) = texture(&device, &wish.video, keyed)?;
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
            keyed,
            video: wish.video.clone(),
            preferred: None,
            replaced: None,
            entry,
            access,
            figures: Figures {
                buffers: 1,
                ..Figures::default()
            },
            scratch: Vec::new(),
        })
    }

    /// A new texture, of which receivers learn by its number when the first picture is in it.
    fn renew(&mut self, video: &Video) -> Result<(), ShareError> {
        if let Some(device) = self.preferred.take() {
            self.device = device;
        }
        let (texture, record) = texture(&self.device, video, self.keyed)?;
        let old = std::mem::replace(&mut self.texture, texture);
        // Changed again before there was a picture: it is still the first one that receivers use.
        let old = self.replaced.take().map_or(old, |(_, older)| older);
        self.replaced = Some((record, old));
        Ok(())
    }

    /// Draws in a turn of our own, and counts the frame in it, so that nobody takes the old picture for the new one.
    fn draw(
        &mut self,
        draw: impl FnOnce(&Device, &Texture) -> windows::core::Result<()>,
    ) -> Result<bool, ShareError> {
        let Some(turn) = self.access.turn(&self.texture) else {
            self.figures.dropped += 1;
            if self.access.take_spoilt() {
                self.renew(&self.video.clone())?;
            }
            return Ok(false);
        };
        let written = draw(&self.device, &self.texture);
        turn.written();
        written.map_err(failed("drawing into the shared texture"))?;
        if let Some((record, _old)) = self.replaced.take() {
            self.entry.update(&record);
        }
        self.figures.sent += 1;
        Ok(true)
    }
}

/// Frame sync by the event that a receiver makes.
#[derive(Debug)]
struct SpoutGate(RawName);

impl Gate for SpoutGate {
    fn wait(&self, wait: Duration) -> bool {
        Event::open(&self.0).is_none_or(|event| event.wait(wait))
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
            self.renew(video)?;
        }
        self.video = video.clone();
        Ok(())
    }

    fn send(&mut self, picture: &Picture<'_>, _stamp: &Stamp) -> Result<Sent, ShareError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let (bytes, stride) = match picture.opaque {
            false if picture.is_long_enough(&self.video) => (picture.bytes, picture.stride),
            _ => {
                scratch.resize(self.video.frame_len(), 0);
                picture.copy_to(&self.video, &mut scratch)?;
                (scratch.as_slice(), self.video.stride as usize)
            }
        };
        let drawn = self.draw(|device, texture| device.write(texture, bytes, stride));
        self.scratch = scratch;
        Ok(if drawn? { Sent::Copied } else { Sent::Dropped })
    }

    fn prefer(&mut self, device: GpuDevice) {
        self.preferred = Some(device.0);
    }

    fn send_texture(
        &mut self,
        texture: &GpuTexture,
        _stamp: &Stamp,
    ) -> Result<Option<Sent>, ShareError> {
        if !self.device.can_copy(&self.texture, texture) {
            return Ok(None);
        }
        let drawn = self.draw(|device, shared| {
            device.give(texture, shared);
            Ok(())
        })?;
        self.figures.by_gpu += u64::from(drawn);
        Ok(Some(if drawn { Sent::Copied } else { Sent::Dropped }))
    }

    fn gate(&self) -> Arc<dyn Gate> {
        Arc::new(SpoutGate(self.entry.name.clone()))
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
