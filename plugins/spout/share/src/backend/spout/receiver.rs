//! A receiver: looks for its sender, opens its texture on the adapter that has it, and copies it when it is new.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::access::Access;
use super::device::{Device, Texture};
use super::{describe, failed, list, text};
use crate::counter::{Counter, Freshness};
use crate::directory::RawName;
use crate::record::Record;
use crate::{
    Description, Event, Frame, PixelFormat, Pixels, Receiver, ShareError, Stamp, Target, Waker,
};

/// How often the count is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// How often a sender that is not there is looked for.
const SEEK_EVERY: Duration = Duration::from_millis(20);

/// How often a sender that does not count is looked at: its frames cannot be told apart.
const UNCOUNTED: Duration = Duration::from_micros(16_667);

/// A sender that vanishes for less than this is starting again.
const GRACE: Duration = Duration::from_millis(67);

/// See the module.
#[derive(Debug)]
pub(super) struct SpoutReceiver {
    target: Target,
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
    texture: Texture,
    staging: Texture,
    format: PixelFormat,
    video: crate::Video,
    access: Access,
    counter: Counter,
    sequence: u64,
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
    pub(super) fn new(target: Target) -> Self {
        Self {
            target,
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
        self.link = None;
        let opened = self.open(record.handle());
        let Some((device, texture)) = opened else {
            self.hopeless = Some((name.clone(), record.share_handle));
            return Err(ShareError::Unreachable {
                sender: text::from_ansi(&name),
            });
        };
        let (width, height, code) = texture.geometry();
        let format = PixelFormat::from_dxgi(code).ok_or_else(|| ShareError::Protocol {
            sender: text::from_ansi(&name),
            reason: format!(
                "its pixels are written in DXGI format {code}, which is not known here"
            ),
        })?;
        let staging = device
            .staging(&texture)
            .map_err(failed("making a staging texture"))?;
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
        self.device = Some(device);
        self.link = Some(Link {
            name,
            handle: record.share_handle,
            texture,
            staging,
            format,
            video: description.video.clone(),
            access,
            counter: Counter::default(),
            sequence: 0,
            looked: None,
            gone: None,
        });
        Ok(description)
    }

    /// The present device first; a sender on another adapter is looked for on each.
    fn open(&self, handle: i64) -> Option<(Device, Texture)> {
        let present = self.device.clone().or_else(|| Device::any().ok());
        present
            .into_iter()
            .chain(Device::each())
            .find_map(|device| device.open(handle).ok().map(|texture| (device, texture)))
    }

    fn frame(&mut self) -> Result<Option<Event>, ShareError> {
        let (Some(device), Some(link)) = (&self.device, &mut self.link) else {
            return Ok(None);
        };
        let Some(missed) = link.copy(device) else {
            return Ok(None);
        };
        let (format, stride) = (link.format, link.video.stride as usize);
        let mut bytes = vec![0; link.video.frame_len()];
        let row_len = (link.video.width * format.bytes()) as usize;
        device
            .read(&link.staging, row_len, |index, row| {
                if let Some(to) = bytes.get_mut(index * stride..(index + 1) * stride) {
                    format.receive_row(row, to);
                }
            })
            .map_err(failed("reading the shared texture"))?;
        link.sequence += 1 + u64::from(missed);
        Ok(Some(Event::Frame(Frame {
            pixels: Box::new(Copied(bytes)),
            sequence: link.sequence,
            missed: missed.into(),
            stamp: Stamp::default(),
            over_quota: false,
        })))
    }
}

impl Link {
    /// Copies the texture if it may be new; how many frames were missed before it.
    fn copy(&mut self, device: &Device) -> Option<u32> {
        let due = self
            .looked
            .is_none_or(|looked| looked.elapsed() >= UNCOUNTED);
        let keyed = self.texture.is_keyed();
        let turn = match keyed {
            true => None,
            false => Some(self.access.turn()?),
        };
        let own_turn = keyed.then(|| self.texture.keyed_turn());
        if matches!(own_turn, Some(None)) {
            return None;
        }
        // Looked at and copied in one turn, so that the count belongs to the picture.
        let count = turn.as_ref().map_or(0, |turn| turn.count());
        let missed = match self.counter.observe(count) {
            Freshness::New { missed } => missed,
            Freshness::Same => return None,
            Freshness::Unknown if due => 0,
            Freshness::Unknown => return None,
        };
        device.copy(&self.texture, &self.staging);
        self.looked = Some(Instant::now());
        Some(missed)
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

    fn waker(&self) -> Arc<dyn Waker> {
        self.bell.clone()
    }
}
