//! A sender: a name in the folder, a doorman, and a shelf of frames.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::folder::{Folder, is_alive};
use super::listing;
use super::memory::Canvas;
use super::service::{PATIENCE, Service};
use super::shelf::Shelf;
use super::socket::listen_at;
use crate::directory::active_after;
use crate::{
    Description, Figures, Gate, Lender, Loan, Picture, Sender, SenderName, SenderWish, Sent,
    ShareError, Stamp, Video,
};

/// Names tried before giving up: `name`, `name_1`, …
const NAMES: u32 = 1000;

/// See the module.
#[derive(Debug)]
pub(super) struct ShmSender {
    folder: Folder,
    name: SenderName,
    socket: PathBuf,
    /// The socket's own number: what lies at its path later may be somebody else's.
    inode: u64,
    shelf: Arc<Mutex<Shelf>>,
    service: Option<Service>,
}

fn failed(doing: impl Into<String>) -> impl FnOnce(io::Error) -> ShareError {
    let doing = doing.into();
    move |source| ShareError::System { doing, source }
}

impl ShmSender {
    pub(super) fn register(folder: &Folder, wish: &SenderWish) -> Result<Self, ShareError> {
        wish.video.check()?;
        let locked = folder.lock()?;
        let candidates = std::iter::once(wish.name.clone())
            .chain((1..NAMES).map(|count| wish.name.numbered(count)));
        for name in candidates {
            let socket = folder.socket(&name);
            if is_alive(&socket) {
                continue;
            }
            locked.remove_dead(&socket);
            let doing = || format!("listening at `{}`", socket.display());
            let (address, _open) = Folder::address(&socket).map_err(failed(doing()))?;
            let listener = listen_at(&address).map_err(failed(doing()))?;
            let inode = fs::metadata(&socket).map_err(failed(doing()))?.ino();
            if wish.make_active {
                locked
                    .set_active(Some(&socket))
                    .map_err(failed("making the sender active"))?;
            }
            let shelf = Arc::new(Mutex::new(Shelf::new(Description {
                name: name.clone(),
                video: wish.video.clone(),
                process: std::process::id(),
                program: std::env::current_exe()
                    .map(|path| path.to_string_lossy().into_owned())
                    .unwrap_or_default(),
            })));
            let service = Service::start(listener, shelf.clone())
                .map_err(failed("starting the thread that serves receivers"))?;
            tracing::debug!("sender `{name}` listens at {}", socket.display());
            return Ok(Self {
                folder: folder.clone(),
                name,
                socket,
                inode,
                shelf,
                service: Some(service),
            });
        }
        Err(ShareError::System {
            doing: format!("finding a free name like `{}`", wish.name),
            source: io::ErrorKind::AddrInUse.into(),
        })
    }

    /// Takes the name off the folder and hands `active` on, by Spout's rule.
    fn sign_off(&self) -> Result<(), ShareError> {
        // Read first: our socket refuses already, and whoever meets it takes it and the link to it away.
        let before = self.folder.active();
        let rest: Vec<_> = listing::describe_all(&self.folder)?
            .into_iter()
            .map(|description| self.folder.socket(&description.name))
            .collect();
        let locked = self.folder.lock()?;
        if fs::metadata(&self.socket).is_ok_and(|found| found.ino() == self.inode) {
            fs::remove_file(&self.socket).map_err(failed("removing the sender's socket"))?;
        }
        let active = self.folder.active().or(before);
        let others: Vec<_> = rest
            .into_iter()
            .filter(|socket| *socket != self.socket)
            .collect();
        if let Some(next) = active_after(&self.socket, active.as_ref(), &others) {
            locked
                .set_active(Some(next))
                .map_err(failed("handing on the active sender"))?;
        } else if active.as_ref() == Some(&self.socket) {
            locked
                .set_active(None)
                .map_err(failed("clearing the active sender"))?;
        }
        Ok(())
    }
}

impl Drop for ShmSender {
    fn drop(&mut self) {
        // The door first: receivers learn of the end, and nobody comes in any more.
        self.service = None;
        self.shelf.lock().unwrap().viewers.clear();
        if let Err(error) = self.sign_off() {
            // The socket refuses from now on, so whoever meets it removes it.
            tracing::warn!("sender `{}` could not sign off: {error}", self.name);
        }
    }
}

/// A canvas for a frame, making room by expelling a receiver that is stuck.
fn canvas(shelf: &Mutex<Shelf>) -> io::Result<Option<Canvas>> {
    let now = Instant::now();
    let mut shelf = shelf.lock().unwrap();
    if let Some(canvas) = shelf.canvas(now)? {
        return Ok(Some(canvas));
    }
    match now
        .checked_sub(PATIENCE)
        .map(|before| shelf.expel_stuck(before))
    {
        None | Some(0) => Ok(None),
        Some(stuck) => {
            tracing::warn!("{stuck} receivers that held frames without end were disconnected");
            shelf.canvas(now)
        }
    }
}

impl Sender for ShmSender {
    fn name(&self) -> &SenderName {
        &self.name
    }

    fn configure(&mut self, video: &Video) -> Result<(), ShareError> {
        video.check()?;
        let mut shelf = self.shelf.lock().unwrap();
        if shelf.description.video != *video {
            let description = Description {
                video: video.clone(),
                ..shelf.description.clone()
            };
            match shelf.description.video.same_geometry(video) {
                true => shelf.description = description,
                false => shelf.reshape(description),
            }
        }
        Ok(())
    }

    fn send(&mut self, picture: &Picture<'_>, stamp: &Stamp) -> Result<Sent, ShareError> {
        let video = {
            let mut shelf = self.shelf.lock().unwrap();
            let as_it_is = picture.as_it_is(&shelf.description.video);
            if let Some(index) = as_it_is.and_then(|bytes| shelf.slot_of(bytes)) {
                shelf.figures.lent += 1;
                let ticket = shelf.publish(index, stamp);
                return Ok(Sent::Lent { ticket });
            }
            shelf.description.video.clone()
        };
        let canvas = canvas(&self.shelf).map_err(failed("getting memory for a frame"))?;
        let Some(mut canvas) = canvas else {
            self.shelf.lock().unwrap().figures.dropped += 1;
            return Ok(Sent::Dropped);
        };
        picture.copy_to(&video, canvas.as_mut())?;
        let mut shelf = self.shelf.lock().unwrap();
        if let Some(index) = shelf.slot_of(canvas.as_mut()) {
            shelf.publish(index, stamp);
        }
        Ok(Sent::Copied)
    }

    fn gate(&self) -> Arc<dyn Gate> {
        Arc::new(ShmGate(self.shelf.clone()))
    }

    fn is_shown(&self, ticket: u64) -> bool {
        self.shelf.lock().unwrap().is_shown(ticket)
    }

    fn lender(&self) -> Option<Arc<dyn Lender>> {
        Some(Arc::new(ShmLender(self.shelf.clone())))
    }

    fn receivers(&self) -> Option<usize> {
        Some(self.shelf.lock().unwrap().viewers.len())
    }

    fn figures(&self) -> Figures {
        self.shelf.lock().unwrap().figures
    }
}

#[derive(Debug)]
struct ShmLender(Arc<Mutex<Shelf>>);

impl Lender for ShmLender {
    fn lend(&self) -> Option<Box<dyn Loan>> {
        match canvas(&self.0) {
            Ok(canvas) => canvas.map(|canvas| Box::new(canvas) as Box<dyn Loan>),
            Err(error) => {
                tracing::warn!("no memory to lend: {error}");
                None
            }
        }
    }
}

impl Loan for Canvas {}

/// How often a sender that waits for its receivers looks whether they have taken the frame: nobody tells it.
const GLANCE: Duration = Duration::from_micros(200);

#[derive(Debug)]
struct ShmGate(Arc<Mutex<Shelf>>);

impl Gate for ShmGate {
    fn wait(&self, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        loop {
            if self.0.lock().unwrap().is_taken() {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            thread::sleep(GLANCE.min(left));
        }
    }
}
