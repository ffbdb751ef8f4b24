//! Named video sharing between applications on one machine.
//!
//! ```text
//!  sender ── a name, a size, a pixel format ──►  directory  ◄── who is there, who is active ── receiver
//!     └───────────── newest frame, in memory that both sides see, never waiting for anybody ─────────┘
//! ```
//!
//! Three traits, few verbs each: a [`Directory`] lists senders and opens both ends, a [`Sender`] shows frames, a
//! [`Receiver`] looks at the newest one. What goes over the wire is decided in pure files ([`name`], [`record`],
//! [`directory`], [`counter`], [`pixels`]); the backends in [`backend`] carry it out: `spout` on Windows, `shm` on Linux.
//!
//! Decision: a sender never waits and a receiver never queues. Whoever is late misses frames, and is told how many.

#![deny(unsafe_code)]
#![warn(
    missing_docs,
    clippy::wildcard_enum_match_arm,
    clippy::missing_errors_doc,
    clippy::missing_panics_doc
)]

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

mod adapter;
pub mod backend;
pub mod counter;
pub mod directory;
mod error;
#[cfg(not(windows))]
mod gpu;
pub mod name;
pub mod pixels;
pub mod record;
mod video;

pub use adapter::{Adapter, AdapterError};
#[cfg(windows)]
pub use backend::spout::{DeviceLock, GpuDevice, GpuTexture};
pub use backend::{Backend, open, publish};
pub use error::ShareError;
#[cfg(not(windows))]
pub use gpu::{GpuDevice, GpuTexture};
pub use name::{NameError, SenderName};
pub use pixels::PixelFormat;
pub use video::{LONGEST_SIDE, Picture, Stamp, Video};

/// Everybody who shares video in this login session.
pub trait Directory: Send + Sync + fmt::Debug {
    /// Which backend this is, as the elements' property spells it.
    fn backend(&self) -> &'static str;

    /// The senders that are alive, sorted by name. One that does not answer within a moment is left out.
    ///
    /// # Errors
    ///
    /// If the place where senders register cannot be used.
    fn senders(&self) -> Result<Vec<Description>, ShareError>;

    /// The sender a receiver without a name gets.
    ///
    /// # Errors
    ///
    /// If the place where senders register cannot be used.
    fn active(&self) -> Result<Option<SenderName>, ShareError>;

    /// Makes a living sender the active one; false if there is none of that name.
    ///
    /// # Errors
    ///
    /// If the place where senders register cannot be used.
    fn set_active(&self, name: &SenderName) -> Result<bool, ShareError>;

    /// Registers a sender. A name that is taken gets `_1`, `_2`, … appended.
    ///
    /// # Errors
    ///
    /// If the video has no size, or the system refuses memory or a place in the directory.
    fn sender(&self, wish: &SenderWish) -> Result<Box<dyn Sender>, ShareError>;

    /// A receiver that looks for its target from now on; the target need not exist yet.
    ///
    /// # Errors
    ///
    /// If the place where senders register cannot be used.
    fn receiver(&self, target: Target) -> Result<Box<dyn Receiver>, ShareError>;
}

/// What a sender asks for at registration.
#[derive(Debug, Clone)]
pub struct SenderWish {
    /// The name, before `_1` and so on.
    pub name: SenderName,
    /// What will be sent.
    pub video: Video,
    /// Whether receivers without a name get this sender from now on.
    pub make_active: bool,
    /// What its texture is to be like, where it has one.
    pub texture: TextureWish,
}

/// What a sender's texture is to be like. Backends that share ordinary memory have none.
#[derive(Debug, Clone, Default)]
pub struct TextureWish {
    /// Where it is to lie: on the device that the pictures come from. None is one of the backend's own.
    pub device: Option<GpuDevice>,
    /// Turns are taken by a mutex in the texture itself, not by a named one.
    pub keyed_mutex: bool,
}

/// One end that shows frames. Dropping it takes the name off the directory.
pub trait Sender: Send + fmt::Debug {
    /// The name it got.
    fn name(&self) -> &SenderName;

    /// Changes size or format. Equal geometry changes nothing and no receiver notices.
    ///
    /// # Errors
    ///
    /// If the video has no size or the system refuses memory.
    fn configure(&mut self, video: &Video) -> Result<(), ShareError>;

    /// Shows a frame. Memory lent by [`Sender::lender`] is shown without a copy. Never waits for a receiver.
    ///
    /// # Errors
    ///
    /// If the frame is shorter than the video says, or the device that holds the picture fails.
    fn send(&mut self, picture: &Picture<'_>, stamp: &Stamp) -> Result<Sent, ShareError>;

    /// Where textures made from now on are to lie; what is there already stays. For backends that have textures.
    fn prefer(&mut self, device: GpuDevice) {
        let _ = device;
    }

    /// Shows a picture that lies in a texture, by one copy on the graphics card. `None` when this texture cannot be
    /// shown so, because it lies on another device or is written otherwise: then its bytes are to be sent.
    ///
    /// # Errors
    ///
    /// If the device that holds the picture fails.
    fn send_texture(
        &mut self,
        texture: &GpuTexture,
        stamp: &Stamp,
    ) -> Result<Option<Sent>, ShareError> {
        let _ = (texture, stamp);
        Ok(None)
    }

    /// Tells when receivers are ready for the next frame.
    fn gate(&self) -> Arc<dyn Gate>;

    /// Whether a receiver may still be looking at a frame that was sent from lent memory.
    fn is_shown(&self, ticket: u64) -> bool;

    /// Gives out memory that receivers see directly; `None` where the backend has none.
    fn lender(&self) -> Option<Arc<dyn Lender>>;

    /// How many receivers are connected; `None` where the backend cannot know.
    fn receivers(&self) -> Option<usize>;

    /// What has happened since registration.
    fn figures(&self) -> Figures;
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Copied once into memory that receivers see.
    Copied,
    /// It already lay there. The memory must not be written while [`Sender::is_shown`] says so of this ticket.
    Lent {
        /// Names the frame.
        ticket: u64,
    },
    /// Receivers hold every piece of memory there may be.
    Dropped,
}

/// Counts of one sender.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Frames shown.
    pub sent: u64,
    /// Of these, shown without a copy.
    pub lent: u64,
    /// Of these, copied on the graphics card.
    pub by_gpu: u64,
    /// Frames that found no free memory.
    pub dropped: u64,
    /// Frames of memory in use.
    pub buffers: usize,
    /// Receivers that were shown the door for holding frames without end or for breaking the protocol.
    pub expelled: u64,
}

/// Frame sync: tells when the receivers of one sender have taken its last frame.
pub trait Gate: Send + Sync + fmt::Debug {
    /// Waits until they have, for `wait` at most; whether they have. True where nobody receives.
    fn wait(&self, wait: Duration) -> bool;
}

/// Shows a sender's frames to programs that do not look for senders: as a camera in the system's media graph.
pub trait Publisher: Send + Sync + fmt::Debug {
    /// Shows a frame; one that has not been taken yet is replaced. Waits for nobody.
    fn show(&self, frame: Published);

    /// How many frames somebody was there to see.
    fn shown(&self) -> u64;
}

/// A frame to be published, held until the next one.
#[derive(Debug)]
pub struct Published {
    /// From the first byte of the top row.
    pub pixels: Box<dyn Pixels>,
    /// Bytes from one row to the next.
    pub stride: usize,
    /// The fourth byte of each pixel means nothing.
    pub opaque: bool,
    /// Size, format and rate; its stride does not count.
    pub video: Video,
    /// When it was taken.
    pub stamp: Stamp,
}

/// Lends the memory of one sender.
pub trait Lender: Send + Sync + fmt::Debug {
    /// Memory for one frame of the sender's present video; `None` when all of it is in use.
    fn lend(&self) -> Option<Box<dyn Loan>>;
}

/// Memory for one frame. Dropping it gives it back.
pub trait Loan: AsMut<[u8]> + Send + fmt::Debug {}

/// Which sender a receiver wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Whichever is active at the time of connecting.
    Active {
        /// Whether senders of this very process count. Where they do, a program that shows what it receives may end
        /// up looking at itself.
        own: bool,
    },
    /// The one of this name, whenever it appears.
    Named(SenderName),
}

/// One end that looks at frames.
pub trait Receiver: Send + fmt::Debug {
    /// What happened, or [`Event::Idle`] when nothing did for `wait`.
    ///
    /// # Errors
    ///
    /// If the place where senders register cannot be used, or a sender breaks the protocol. The receiver stays usable.
    fn next(&mut self, wait: Duration) -> Result<Event, ShareError>;

    /// Frames are copied into textures of `pool` from now on, until the next [`Event::Connected`] or
    /// [`Event::Resized`]; without one they come as bytes. False if the present sender's pictures cannot be drawn so:
    /// they come as they did.
    fn draw_on(&mut self, pool: Option<Arc<dyn TexturePool>>) -> bool {
        pool.is_none()
    }

    /// Tells the sender whenever a frame was taken, for senders that wait for it. Those that see it by themselves need
    /// no telling.
    fn keep_in_step(&mut self, on: bool) {
        let _ = on;
    }

    /// Wakes a thread that is inside [`Receiver::next`].
    fn waker(&self) -> Arc<dyn Waker>;
}

/// Textures for received pictures.
pub trait TexturePool: Send + Sync + fmt::Debug {
    /// Where they lie.
    fn device(&self) -> GpuDevice;

    /// The texture for the next frame, the same one until the frame was received; `None` while all are in use.
    fn next(&self) -> Option<GpuTexture>;
}

/// Ends a wait from another thread.
pub trait Waker: Send + Sync + fmt::Debug {
    /// The present or next [`Receiver::next`] returns [`Event::Idle`] at once.
    fn wake(&self);
}

/// What a receiver meets.
#[derive(Debug)]
pub enum Event {
    /// A sender was found.
    Connected(Description),
    /// It changed size or format.
    Resized(Description),
    /// The newest frame.
    Frame(Frame),
    /// The sender is gone.
    Lost,
    /// Nothing yet.
    Idle,
}

/// A sender as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Its name.
    pub name: SenderName,
    /// What it sends.
    pub video: Video,
    /// Its process; 0 where unknown.
    pub process: u32,
    /// Its program; empty where unknown.
    pub program: String,
}

/// One frame of a sender.
#[derive(Debug)]
pub struct Frame {
    /// The picture, laid out as the sender's [`Video`] says; `None` if it was drawn on a texture of the pool.
    pub pixels: Option<Box<dyn Pixels>>,
    /// Counts up by one with every frame the sender sent.
    pub sequence: u64,
    /// Frames that passed since the last one received here.
    pub missed: u64,
    /// When it was taken.
    pub stamp: Stamp,
    /// The receiver holds as many frames as it may: copy this one and let it go.
    pub over_quota: bool,
}

impl Frame {
    /// The bytes of the picture; none if it was drawn on a texture.
    pub fn bytes(&self) -> &[u8] {
        self.pixels
            .as_ref()
            .map_or(&[], |pixels| (**pixels).as_ref())
    }
}

/// Read-only memory of one picture. Dropping it lets the sender use it again.
pub trait Pixels: AsRef<[u8]> + Send + Sync + fmt::Debug {}
