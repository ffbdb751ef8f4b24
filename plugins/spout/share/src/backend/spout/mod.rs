//! The Spout protocol on Windows: named textures of Direct3D 11, found through shared mappings.
//!
//! ```text
//!   SpoutSenderNames   the list of names          ActiveSenderName   one of them
//!   <name>             280 bytes: share handle, size, format; there as long as its sender lives
//!   <name>_SpoutAccessMutex   turns at the texture     <name>_Count_Semaphore   frames so far
//! ```
//!
//! Everything is created by ANSI names in the login session's namespace. Decision: frames are always counted, whatever
//! the registry says, so that receivers can tell them apart; and a lock whose owner died is taken over, not waited for.
//!
//! Source: leadedge/Spout2 2.007, and what its programs do on a live system.

use std::io;

use crate::record::Record;
use crate::{
    Adapter, Description, Directory, PixelFormat, Receiver, Sender, SenderName, SenderWish,
    ShareError, Target, Video,
};

mod access;
mod device;
mod gpu;
mod kernel;
mod keyed;
mod list;
mod receiver;
mod sender;
mod text;

pub use gpu::{DeviceLock, GpuDevice, GpuTexture};

/// The senders of this login session.
#[derive(Debug, Clone, Copy, Default)]
pub struct SpoutDirectory {
    /// Where the textures of senders and receivers are to lie.
    adapter: Adapter,
}

impl SpoutDirectory {
    /// With textures on this adapter.
    ///
    /// # Errors
    ///
    /// If this machine has no such adapter.
    pub fn open(adapter: Adapter) -> Result<Self, ShareError> {
        let present: Vec<_> = device::adapters()
            .filter_map(|found| device::identity(&found))
            .collect();
        let is_there = match adapter {
            Adapter::Auto => true,
            Adapter::Index(index) => (index as usize) < present.len(),
            Adapter::Luid(luid) => present.iter().any(|(own, _)| *own == luid),
        };
        if is_there {
            return Ok(Self { adapter });
        }
        let name =
            |(index, (luid, name)): (usize, &(i64, String))| format!("{index} ({luid:#x}, {name})");
        let names: Vec<_> = present.iter().enumerate().map(name).collect();
        let present = match names.is_empty() {
            true => "none at all".into(),
            false => names.join(", "),
        };
        Err(ShareError::NoAdapter { adapter, present })
    }
}

fn failed(doing: &'static str) -> impl FnOnce(windows::core::Error) -> ShareError {
    move |error| ShareError::System {
        doing: doing.into(),
        source: io::Error::other(error),
    }
}

/// A record as this crate says it; `None` for a name or format that it cannot say.
fn describe(name: &[u8], record: &Record) -> Option<Description> {
    let format = record.pixel_format()?;
    Some(Description {
        name: SenderName::of_other(&text::from_ansi(name)).ok()?,
        video: Video::new(record.width, record.height, format.received_as()),
        process: 0,
        program: text::from_ansi(&record.description),
    })
}

impl Directory for SpoutDirectory {
    fn backend(&self) -> &'static str {
        "spout"
    }

    fn senders(&self) -> Result<Vec<Description>, ShareError> {
        let living = list::living();
        let described = living.names().filter_map(|name| {
            let record = list::record(name).filter(Record::has_texture)?;
            describe(name, &record)
        });
        let mut senders: Vec<_> = described.collect();
        senders.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(senders)
    }

    fn active(&self) -> Result<Option<SenderName>, ShareError> {
        let name = list::active().map(|name| SenderName::of_other(&text::from_ansi(&name)));
        Ok(name.transpose()?)
    }

    fn set_active(&self, name: &SenderName) -> Result<bool, ShareError> {
        let name = text::to_ansi(name)?;
        if !list::living().contains(&name) {
            return Ok(false);
        }
        list::set_active(&name).map_err(failed("making a sender active"))?;
        Ok(true)
    }

    fn sender(&self, wish: &SenderWish) -> Result<Box<dyn Sender>, ShareError> {
        // BGRx and the receive-only formats have been mapped by whoever fills the wish.
        let sendable = [
            PixelFormat::Bgra8,
            PixelFormat::Rgba8,
            PixelFormat::Rgb10A2,
            PixelFormat::Rgba16,
        ];
        if !sendable.contains(&wish.video.format) {
            return Err(ShareError::BadVideo {
                width: wish.video.width,
                height: wish.video.height,
                reason: "its pixel format can only be received",
            });
        }
        Ok(Box::new(sender::SpoutSender::register(wish, self.adapter)?))
    }

    fn receiver(&self, target: Target) -> Result<Box<dyn Receiver>, ShareError> {
        if let Target::Named(name) = &target {
            text::to_ansi(name)?;
        }
        Ok(Box::new(receiver::SpoutReceiver::new(target, self.adapter)))
    }
}
