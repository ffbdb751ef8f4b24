//! Packets with files attached, over sockets that never block.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType,
    accept_with, bind, connect, listen, recvmsg, sendmsg, shutdown, socket_with,
};

use super::message::LONGEST;

/// Connections that may wait for the sender to accept them.
const BACKLOG: i32 = 128;

fn new() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// Listens at `path`.
pub(super) fn listen_at(path: &Path) -> io::Result<OwnedFd> {
    let socket = new()?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Connects to who listens at `path`. `ConnectionRefused` means that nobody does any more; `WouldBlock` that somebody
/// does and has no time.
pub(super) fn connect_to(path: &Path) -> io::Result<OwnedFd> {
    let socket = new()?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}

/// The process at the other end, as the kernel knows it; 0 if it does not.
pub(super) fn peer(socket: &OwnedFd) -> u32 {
    let credentials = rustix::net::sockopt::socket_peercred(socket);
    credentials.map_or(0, |credentials| {
        credentials.pid.as_raw_nonzero().get().unsigned_abs()
    })
}

/// The next connection, `None` if there is none now.
pub(super) fn accept(listener: &OwnedFd) -> Option<OwnedFd> {
    accept_with(listener, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).ok()
}

/// Sends one message. `WouldBlock` when the other side has left too many unread.
pub(super) fn send(
    socket: impl AsFd,
    message: &[u8],
    file: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    let files = file.as_slice();
    if !files.is_empty() && !attached.push(SendAncillaryMessage::ScmRights(files)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    sendmsg(socket, &[IoSlice::new(message)], &mut attached, flags)?;
    Ok(())
}

/// Ends the connection, though others may have the socket open.
pub(super) fn hang_up(socket: impl AsFd) {
    // Refused only if the other side has hung up itself.
    let _ = shutdown(socket, Shutdown::Both);
}

/// What came in.
#[derive(Debug)]
pub(super) enum Packet {
    /// A message, with the file attached to it.
    Message(Vec<u8>, Option<OwnedFd>),
    /// Nothing now.
    Nothing,
    /// The other side is gone.
    End,
}

/// The next message. A message that is too long, or has more files attached than one, is cut: what is left is no
/// message and will be refused as such; the files are closed.
pub(super) fn receive(socket: impl AsFd) -> Packet {
    let mut bytes = vec![0; LONGEST];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    match recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut attached,
        flags,
    ) {
        Ok(message) if message.bytes == 0 => Packet::End,
        Ok(message) => {
            bytes.truncate(message.bytes);
            let mut file = None;
            for part in attached.drain() {
                if let RecvAncillaryMessage::ScmRights(files) = part {
                    file = files.last();
                }
            }
            Packet::Message(bytes, file)
        }
        Err(Errno::AGAIN | Errno::INTR) => Packet::Nothing,
        Err(_) => Packet::End,
    }
}

/// Waits until one of `files` has something to say, or `wait` is over; true for each that has.
pub(super) fn wait(files: &[BorrowedFd<'_>], wait: Option<Duration>) -> io::Result<Vec<bool>> {
    let mut polled: Vec<PollFd<'_>> = files
        .iter()
        .map(|file| PollFd::from_borrowed_fd(*file, PollFlags::IN))
        .collect();
    let timeout = wait.map(|wait| Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: wait.subsec_nanos().into(),
    });
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(polled
        .iter()
        .map(|file| !file.revents().is_empty())
        .collect())
}

/// Wakes a thread that waits, from another.
#[derive(Debug)]
pub(super) struct Bell {
    file: OwnedFd,
    /// So that asking whether it rang costs no system call.
    rung: AtomicBool,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        use rustix::event::EventfdFlags;
        let file = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self {
            file,
            rung: AtomicBool::new(false),
        })
    }

    pub(super) fn ring(&self) {
        self.rung.store(true, Ordering::Release);
        // A bell that is full has been rung.
        let _ = rustix::io::write(&self.file, &1_u64.to_ne_bytes());
    }

    /// Stops ringing; whether it rang.
    pub(super) fn silence(&self) -> bool {
        self.rung.swap(false, Ordering::AcqRel) && {
            // Nothing to read: it is being rung this moment, and wakes for nothing once more.
            let _ = rustix::io::read(&self.file, &mut [0; 8]);
            true
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_whole_with_its_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = listen_at(&path).unwrap();
        let ours = connect_to(&path).unwrap();
        let theirs = accept(&listener).unwrap();

        send(&ours, b"hello", Some(listener.as_fd())).unwrap();
        send(&ours, b"again", None).unwrap();

        assert!(matches!(receive(&theirs), Packet::Message(m, Some(_)) if m == b"hello"));
        assert!(matches!(receive(&theirs), Packet::Message(m, None) if m == b"again"));
        assert!(matches!(receive(&theirs), Packet::Nothing));
        drop(ours);
        assert!(matches!(receive(&theirs), Packet::End));
    }

    #[test]
    fn a_bell_ends_a_wait() {
        let bell = Bell::new().unwrap();
        bell.ring();
        bell.ring();

        assert_eq!(wait(&[bell.as_fd()], None).unwrap(), [true]);
        assert!(bell.silence());
        let short = Some(Duration::from_millis(1));
        assert_eq!(wait(&[bell.as_fd()], short).unwrap(), [false]);
    }

    #[test]
    fn a_listener_that_is_gone_refuses() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        drop(listen_at(&path).unwrap());

        let error = connect_to(&path).unwrap_err();

        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    }
}
