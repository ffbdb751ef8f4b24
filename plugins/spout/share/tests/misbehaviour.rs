//! Peers that lie, make noise or hang up at the wrong moment harm nobody.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketType, accept, bind, connect, listen, recvmsg, sendmsg, socket,
};
use texture_share::backend::shm::{Folder, ShmDirectory};
use texture_share::{
    Directory, Event, Picture, PixelFormat, Receiver, Sender, SenderName, SenderWish, ShareError,
    Stamp, Target, TextureWish, Video,
};

const GENEROUS: Duration = Duration::from_secs(10);

struct Place {
    _outer: tempfile::TempDir,
    folder: Folder,
    directory: ShmDirectory,
}

fn place() -> Place {
    let outer = tempfile::tempdir().unwrap();
    let folder = Folder::at(&outer.path().join("spout")).unwrap();
    let directory = ShmDirectory::of(folder.clone());
    Place {
        _outer: outer,
        folder,
        directory,
    }
}

impl Place {
    fn sender(&self) -> Box<dyn Sender> {
        let wish = SenderWish {
            name: SenderName::new("x").unwrap(),
            video: Video::new(8, 8, PixelFormat::Bgra8),
            make_active: true,
            texture: TextureWish::default(),
        };
        self.directory.sender(&wish).unwrap()
    }

    fn receiver(&self) -> Box<dyn Receiver> {
        let target = Target::Named(SenderName::new("x").unwrap());
        self.directory.receiver(target).unwrap()
    }

    /// Where `x` listens.
    fn socket(&self) -> PathBuf {
        let sender = self.sender();
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        let path = entries
            .map(|entry| entry.unwrap().path())
            .find(|path| !path.ends_with("active"))
            .unwrap();
        drop(sender);
        path
    }
}

fn small() -> Video {
    Video::new(8, 8, PixelFormat::Bgra8)
}

fn packet_socket() -> OwnedFd {
    socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).unwrap()
}

fn send(to: &OwnedFd, bytes: &[u8], file: Option<BorrowedFd<'_>>) -> bool {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut attached = SendAncillaryBuffer::new(&mut space);
    if let Some(file) = &file {
        attached.push(SendAncillaryMessage::ScmRights(std::slice::from_ref(file)));
    }
    sendmsg(
        to,
        &[IoSlice::new(bytes)],
        &mut attached,
        SendFlags::NOSIGNAL,
    )
    .is_ok()
}

fn receive(from: &OwnedFd) -> Vec<u8> {
    let mut bytes = vec![0; 2000];
    let mut none = RecvAncillaryBuffer::default();
    let got = recvmsg(
        from,
        &mut [IoSliceMut::new(&mut bytes)],
        &mut none,
        RecvFlags::empty(),
    );
    bytes.truncate(got.map_or(0, |got| got.bytes));
    bytes
}

/// A hello for 8×8 BGRA, as the protocol's drawing says.
fn hello(width: u32, height: u32, stride: u32) -> Vec<u8> {
    let mut bytes = b"\x01SPOUTSHM\x02\x00\x00\x00".to_vec();
    for word in [1, width, height, 87, stride, 0, 1] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(b"\x01x\x00\x00");
    bytes
}

const SUBSCRIBE: &[u8] = b"SPOUTSHM\x02\x00\x01";

fn sealed(len: u64, seals: SealFlags) -> OwnedFd {
    let file = memfd_create("lie", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
    ftruncate(&file, len).unwrap();
    fcntl_add_seals(&file, seals).unwrap();
    file
}

/// A false sender: says `messages` to the first receiver that comes and asks; then what the receiver makes of it.
fn meet(messages: &[(Vec<u8>, Option<OwnedFd>)]) -> Result<Event, ShareError> {
    let place = place();
    let path = place.socket();
    let listener = packet_socket();
    bind(&listener, &SocketAddrUnix::new(&path).unwrap()).unwrap();
    listen(&listener, 8).unwrap();
    let mut receiver = place.receiver();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let caller = accept(&listener).unwrap();
            assert_eq!(receive(&caller), SUBSCRIBE);
            for (message, file) in messages {
                send(&caller, message, file.as_ref().map(AsFd::as_fd));
            }
            // Until the receiver hangs up, or for long enough.
            std::thread::sleep(Duration::from_millis(300));
        });
        let begun = Instant::now();
        loop {
            match receiver.next(Duration::from_secs(1)) {
                Ok(Event::Connected(_)) => {}
                Ok(Event::Idle) if begun.elapsed() < GENEROUS => return Ok(Event::Idle),
                other => return other,
            }
        }
    })
}

#[track_caller]
fn broke(messages: &[(Vec<u8>, Option<OwnedFd>)], reason: &str) {
    match meet(messages) {
        Err(error @ ShareError::Protocol { .. }) => {
            assert!(error.to_string().contains(reason), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

fn mailbox() -> OwnedFd {
    sealed(4096, SealFlags::SHRINK)
}

#[test]
fn a_sender_of_noise_is_named() {
    broke(&[(vec![0xff; 64], None)], "unknown message 255");
    broke(&[(b"\x01nonsense".to_vec(), None)], "");
    broke(&[(vec![7; 4000], None)], "unknown message 7");
}

#[test]
fn a_sender_that_hangs_up_in_mid_hello_is_waited_for() {
    assert!(matches!(meet(&[]), Ok(Event::Idle)));
    broke(&[(hello(8, 8, 32)[..20].to_vec(), None)], "early");
}

#[test]
fn a_sender_that_lies_about_its_size_is_refused() {
    broke(&[(hello(0, 8, 32), None)], "cannot be shared");
    broke(&[(hello(8, 8, 4), None)], "cannot be shared");
    broke(&[(hello(8, 8, 32), None)], "without a mailbox");
    let small = sealed(4096, SealFlags::SHRINK);
    broke(
        &[
            (hello(4096, 4096, 16_384), Some(mailbox())),
            (vec![2, 0, 0, 0], Some(small)),
        ],
        "were promised",
    );
}

#[test]
fn memory_that_could_be_cut_off_under_us_is_refused() {
    broke(
        &[(hello(8, 8, 32), Some(sealed(4096, SealFlags::GROW)))],
        "not sealed",
    );
    let unsealed = sealed(1 << 20, SealFlags::GROW);
    broke(
        &[
            (hello(8, 8, 32), Some(mailbox())),
            (vec![2, 0, 0, 0], Some(unsealed)),
        ],
        "not sealed",
    );
    let plain: OwnedFd = tempfile::tempfile().unwrap().into();
    broke(&[(hello(8, 8, 32), Some(plain))], "not a memfd");
    broke(
        &[(hello(8, 8, 32), Some(mailbox())), (vec![2, 0, 0, 0], None)],
        "without a file",
    );
}

#[test]
fn a_frame_in_memory_never_shown_is_refused() {
    let mailbox = mailbox();
    let token: u64 = 1 << 24 | 99;
    rustix::io::pwrite(&mailbox, &token.to_le_bytes(), 0).unwrap();

    broke(&[(hello(8, 8, 32), Some(mailbox))], "unknown memory 99");
}

/// Sends 20 frames; they must reach an honest receiver whatever the others do.
fn all_is_well(place: &Place, sender: &mut dyn Sender) {
    let mut receiver = place.receiver();
    assert!(matches!(receiver.next(GENEROUS), Ok(Event::Connected(_))));
    while let Ok(Event::Frame(_)) = receiver.next(Duration::ZERO) {}
    for value in 1..=20 {
        sender
            .send(&Picture::of(&[value; 256], &small()), &Stamp::default())
            .unwrap();
        match receiver.next(GENEROUS) {
            Ok(Event::Frame(frame)) => assert_eq!(frame.bytes(), [value; 256]),
            other => panic!("{other:?}"),
        }
    }
}

fn caller(path: &PathBuf) -> OwnedFd {
    let caller = packet_socket();
    connect(&caller, &SocketAddrUnix::new(path).unwrap()).unwrap();
    caller
}

#[test]
fn callers_that_make_noise_or_say_nothing_do_not_disturb_a_sender() {
    let place = place();
    let path = place.socket();
    let mut sender = place.sender();

    let silent: Vec<_> = (0..50).map(|_| caller(&path)).collect();
    let noisy: Vec<_> = (0..50_u8)
        .map(|at| {
            let noisy = caller(&path);
            send(&noisy, &vec![at; 1 + usize::from(at) * 30], None);
            noisy
        })
        .collect();
    drop(caller(&path));
    let half = caller(&path);
    send(&half, &SUBSCRIBE[..5], None);
    drop(half);

    all_is_well(&place, &mut *sender);
    drop((silent, noisy));
    all_is_well(&place, &mut *sender);
}

#[test]
fn a_receiver_that_talks_back_is_expelled() {
    let place = place();
    let path = place.socket();
    let mut sender = place.sender();
    let chatty = caller(&path);
    send(&chatty, SUBSCRIBE, None);
    assert!(receive(&chatty).starts_with(b"\x01SPOUTSHM"));
    all_is_well(&place, &mut *sender);

    send(&chatty, b"hello?", None);

    let begun = Instant::now();
    while sender.figures().expelled == 0 {
        assert!(begun.elapsed() < GENEROUS);
        std::thread::yield_now();
    }
    all_is_well(&place, &mut *sender);
}

#[test]
fn a_receiver_that_never_reads_costs_nothing() {
    let place = place();
    let path = place.socket();
    let mut sender = place.sender();
    let lazy = caller(&path);
    send(&lazy, SUBSCRIBE, None);
    assert!(receive(&lazy).starts_with(b"\x01SPOUTSHM"));

    for round in 0..2000_u32 {
        let side = 8 + round % 5;
        let video = Video::new(side, side, PixelFormat::Bgra8);
        sender.configure(&video).unwrap();
        let bytes = vec![1; video.frame_len()];
        let picture = Picture::of(&bytes, &video);
        sender.send(&picture, &Stamp::default()).unwrap();
    }
    sender
        .configure(&Video::new(8, 8, PixelFormat::Bgra8))
        .unwrap();

    all_is_well(&place, &mut *sender);
    assert!(sender.figures().buffers <= 6, "{:?}", sender.figures());
}

#[test]
fn a_program_of_another_version_is_told_which_one_this_is() {
    let place = place();
    let path = place.socket();
    let _sender = place.sender();
    let old = caller(&path);
    send(&old, b"SPOUTSHM\x63\x00\x01", None);

    assert!(receive(&old).starts_with(b"\x01SPOUTSHM\x02\x00"));
}

#[test]
fn a_locked_folder_is_an_error_that_says_so() {
    let place = place();
    let file = std::fs::File::open(place.folder.path()).unwrap();
    rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive).unwrap();
    let wish = SenderWish {
        name: SenderName::new("x").unwrap(),
        video: Video::new(8, 8, PixelFormat::Bgra8),
        make_active: true,
        texture: TextureWish::default(),
    };

    let error = place.directory.sender(&wish).unwrap_err();

    assert!(matches!(error, ShareError::FolderBusy { .. }), "{error}");
}
