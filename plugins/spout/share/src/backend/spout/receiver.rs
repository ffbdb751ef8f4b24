//! A receiver: looks for its sender, opens its texture on the adapter that has it, and copies it when it is new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::access::Access;
use super::device::{Device, Texture};
use super::gpu::GpuTexture;
use super::kernel;
use super::{describe, failed, list, text};
use crate::counter::{Counter, Freshness};
use crate::directory::RawName;
use crate::record::Record;
use crate::{
    Adapter, Description, Event, Frame, PixelFormat, Pixels, Receiver, ShareError, Stamp, Target,
    TexturePool, Waker,
};

/// How often the count is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How often a sender that is not there is looked for.
const SEEK_EVERY: Duration = Duration::from_millis(20);

/// How often a sender that does not count is looked at: its frames cannot be told apart.
const UNCOUNTED: Duration = Duration::from_micros(16_667);

/// A count that has not moved for so long after its sender was found belongs to one that counts no more.
const UNMOVED: Duration = Duration::from_millis(200);

/// A sender that vanishes for less than this is starting again.
const GRACE: Duration = Duration::from_millis(67);

/// See the module.
#[derive(Debug)]
pub(super) struct SpoutReceiver {
    target: Target,
    adapter: Adapter,
    /// Whether its senders are told when it has taken a frame.
    in_step: bool,
    device: Option<Device>,
    link: Option<Link>,
    /// A handle that no adapter could open: not tried again.
    hopeless: Option<(RawName, u32)>,
    bell: Arc<Bell>,
}

#[derive(Debug)]
struct Link {
    name: RawName,
    handle: u32,
    /// The device that the texture was opened on.
    device: Device,
    texture: Texture,
    /// Made when bytes are first asked for.
    staging: Option<Texture>,
    /// Where pictures are drawn instead.
    pool: Option<Arc<dyn TexturePool>>,
    /// How a sender learns that a frame was taken.
    sync: Option<kernel::Event>,
    format: PixelFormat,
    video: crate::Video,
    access: Access,
    counter: Counter,
    sequence: u64,
    found: Instant,
    looked: Option<Instant>,
    gone: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Bell(AtomicBool);

impl Waker for Bell {
    fn wake(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// A frame in memory of our own.
#[derive(Debug)]
struct Copied(Vec<u8>);

impl AsRef<[u8]> for Copied {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Pixels for Copied {}

impl SpoutReceiver {
    pub(super) fn new(target: Target, adapter: Adapter) -> Self {
        Self {
            target,
            adapter,
            in_step: false,
            device: None,
            link: None,
            hopeless: None,
            bell: Arc::default(),
        }
    }

    fn wanted(&self) -> Option<RawName> {
        match (&self.target, &self.link) {
            // Once connected, it stays with its sender.
            (Target::Active { .. }, Some(link)) => Some(link.name.clone()),
            (Target::Active { own: true }, None) => list::active(),
            (Target::Active { own: false }, None) => {
                let other = |name: &RawName| !list::is_own(name);
                list::active()
                    .filter(other)
                    .or_else(|| list::living().names().find(|name| other(name)).cloned())
            }
            (Target::Named(name), _) => text::to_ansi(name).ok(),
        }
    }

    fn look(&mut self) -> Result<Option<Event>, ShareError> {
        let Some(name) = self.wanted() else {
            return Ok(None);
        };
        let Some(record) = list::record(&name).filter(Record::has_texture) else {
            return Ok(self.missing());
        };
        let known = self.link.as_mut().filter(|link| link.name == name);
        match known {
            Some(link) if link.handle == record.share_handle => {
                link.gone = None;
                self.frame()
            }
            _ if self.hopeless == Some((name.clone(), record.share_handle)) => Ok(None),
            known => {
                let what = match known {
                    Some(_) => Event::Resized,
                    None => Event::Connected,
                };
                self.connect(name, &record)
                    .map(|description| Some(what(description)))
            }
        }
    }

    fn missing(&mut self) -> Option<Event> {
        self.hopeless = None;
        let link = self.link.as_mut()?;
        if link.gone.get_or_insert_with(Instant::now).elapsed() < GRACE {
            return None;
        }
        self.link = None;
        Some(Event::Lost)
    }

    fn connect(&mut self, name: RawName, record: &Record) -> Result<Description, ShareError> {
        let before = self.link.take().filter(|link| link.name == name);
        let counter = before.map_or_else(Counter::default, |link| link.counter.resumed());
        let opened = self.open(record.handle());
        let Some((device, texture)) = opened else {
            self.hopeless = Some((name.clone(), record.share_handle));
            return Err(ShareError::Unreachable {
                sender: text::from_ansi(&name),
                adapter: self.adapter,
            });
        };
        let (width, height, code) = texture.geometry();
        let format = PixelFormat::from_dxgi(code).ok_or_else(|| ShareError::Protocol {
            sender: text::from_ansi(&name),
            reason: format!(
                "its pixels are written in DXGI format {code}, which is not known here"
            ),
        })?;
        let sync = match self.in_step {
            true => Some(kernel::Event::create(&name).map_err(failed("making the sync event"))?),
            false => None,
        };
        if let Some(sync) = &sync {
            sync.signal();
        }
        let access = Access::new(&name).map_err(failed("opening the sender's mutex"))?;
        let described = Record {
            width,
            height,
            format: format.received_as().dxgi(),
            ..record.clone()
        };
        let description = describe(&name, &described).ok_or_else(|| ShareError::Protocol {
            sender: text::from_ansi(&name),
            reason: "its name or format is not understood".into(),
        })?;
        self.device = Some(device.clone());
        self.link = Some(Link {
            name,
            handle: record.share_handle,
            device,
            texture,
            staging: None,
            pool: None,
            sync,
            format,
            video: description.video.clone(),
            access,
            counter,
            sequence: 0,
            found: Instant::now(),
            looked: None,
            gone: None,
        });
        Ok(description)
    }

    /// The present device first; a sender on another adapter is looked for on each, if any will do.
    fn open(&self, handle: i64) -> Option<(Device, Texture)> {
        let present = self.device.clone();
        let present = present.or_else(|| Device::on(self.adapter).ok());
        let others = (self.adapter == Adapter::Auto).then(Device::each);
        present
            .into_iter()
            .chain(others.into_iter().flatten())
            .find_map(|device| device.open(handle).ok().map(|texture| (device, texture)))
    }

    fn frame(&mut self) -> Result<Option<Event>, ShareError> {
        let Some(link) = &mut self.link else {
            return Ok(None);
        };
        let (missed, pixels) = match link.pool.clone() {
            Some(pool) => {
                // Asked before the turn: a pool may have to make a texture first.
                let Some(texture) = pool.next() else {
                    return Ok(None);
                };
                let Some(missed) = link.copy(Some(&texture))? else {
                    return Ok(None);
                };
                (missed, None)
            }
            None => {
                let Some(missed) = link.copy(None)? else {
                    return Ok(None);
                };
                (missed, Some(link.pixels()?))
            }
        };
        if let Some(sync) = &link.sync {
            sync.signal();
        }
        link.sequence += 1 + u64::from(missed);
        Ok(Some(Event::Frame(Frame {
            pixels,
            sequence: link.sequence,
            missed: missed.into(),
            stamp: Stamp::default(),
            over_quota: false,
        })))
    }
}

impl Link {
    /// Copies the texture if it may be new, to `drawn` or to where it can be read; how many frames were missed before it.
    fn copy(&mut self, drawn: Option<&GpuTexture>) -> Result<Option<u32>, ShareError> {
        let due = self
            .looked
            .is_none_or(|looked| looked.elapsed() >= UNCOUNTED);
        if drawn.is_none() && self.staging.is_none() {
            let staging = self.device.staging(&self.texture);
            self.staging = Some(staging.map_err(failed("making a staging texture"))?);
        }
        // A texture whose mutex is spoilt is of no more use; its sender makes a new one.
        let Some(turn) = self.access.turn(&self.texture) else {
            return Ok(None);
        };
        // Looked at and copied in one turn, so that the count belongs to the picture.
        let missed = match self.counter.observe(turn.count()) {
            Freshness::New { missed } => missed,
            Freshness::Unknown if due => 0,
            Freshness::Unmoved if due && self.found.elapsed() > UNMOVED => 0,
            Freshness::Same | Freshness::Unknown | Freshness::Unmoved => return Ok(None),
        };
        match (drawn, &self.staging) {
            (Some(texture), _) => self.device.take(&self.texture, texture),
            (None, Some(staging)) => self.device.copy(&self.texture, staging),
            (None, None) => {}
        }
        drop(turn);
        self.looked = Some(Instant::now());
        Ok(Some(missed))
    }

    /// The bytes of what was copied last.
    fn pixels(&self) -> Result<Box<dyn Pixels>, ShareError> {
        let (format, stride) = (self.format, self.video.stride as usize);
        let mut bytes = vec![0; self.video.frame_len()];
        let row_len = (self.video.width * format.bytes()) as usize;
        if let Some(staging) = &self.staging {
            self.device
                .read(staging, row_len, |index, row| {
                    if let Some(to) = bytes.get_mut(index * stride..(index + 1) * stride) {
                        format.receive_row(row, to);
                    }
                })
                .map_err(failed("reading the shared texture"))?;
        }
        Ok(Box::new(Copied(bytes)))
    }

    /// Draws on textures of `pool` from now on, if they can take this sender's pictures as they are.
    fn draw_on(&mut self, pool: Arc<dyn TexturePool>) -> bool {
        let device = pool.device().0;
        let handle = i64::from(self.handle.cast_signed());
        let (Ok(texture), Some(sample)) = (device.open(handle), pool.next()) else {
            return false;
        };
        if !device.can_copy(&texture, &sample) || self.format.received_as() != self.format {
            return false;
        }
        self.device = device;
        self.texture = texture;
        self.staging = None;
        self.pool = Some(pool);
        true
    }
}

impl Receiver for SpoutReceiver {
    fn next(&mut self, wait: Duration) -> Result<Event, ShareError> {
        let until = Instant::now() + wait;
        loop {
            if let Some(event) = self.look()? {
                return Ok(event);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || self.bell.0.swap(false, Ordering::AcqRel) {
                return Ok(Event::Idle);
            }
            let pause = if self.link.is_some() {
                LOOK_EVERY
            } else {
                SEEK_EVERY
            };
            sleep(pause.min(left));
        }
    }

    fn draw_on(&mut self, pool: Option<Arc<dyn TexturePool>>) -> bool {
        let Some(link) = &mut self.link else {
            return pool.is_none();
        };
        match pool {
            Some(pool) => link.draw_on(pool),
            None => {
                link.pool = None;
                true
            }
        }
    }

    fn keep_in_step(&mut self, on: bool) {
        self.in_step = on;
    }

    fn waker(&self) -> Arc<dyn Waker> {
        self.bell.clone()
    }
}
