//! Pictures that lie on the program's own Direct3D 11 device. Needs a `d3d11.dll` that can share textures.

#![cfg(windows)]
#![allow(clippy::unwrap_used, reason = "a helper that fails must fail its test")]
#![allow(unsafe_code, reason = "devices and textures are made by pointers")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use texture_share::backend::spout::SpoutDirectory;
use texture_share::{
    DeviceLock, Directory, Event, GpuDevice, GpuTexture, PixelFormat, Receiver, Sender, SenderName,
    SenderWish, Sent, Stamp, Target, TexturePool, TextureWish, Video,
};
use windows::Win32::Foundation::HMODULE;
use windows::Win32::Graphics::Direct3D::D3D_DRIVER_TYPE_HARDWARE;
use windows::Win32::Graphics::Direct3D11::{
    D3D11_CREATE_DEVICE_BGRA_SUPPORT, D3D11_SDK_VERSION, D3D11_SUBRESOURCE_DATA,
    D3D11_TEXTURE2D_DESC, D3D11CreateDevice, ID3D11Device, ID3D11Texture2D,
};
use windows::Win32::Graphics::Dxgi::Common::{DXGI_FORMAT, DXGI_SAMPLE_DESC};
use windows::core::Interface;

const GENEROUS: Duration = Duration::from_secs(20);
const WIDTH: u32 = 64;
const HEIGHT: u32 = 48;
const BGRA: i32 = 87;

/// Counts who is in and how often somebody was.
#[derive(Debug, Default)]
struct Lock {
    inside: AtomicI64,
    times: AtomicI64,
}

impl DeviceLock for Lock {
    fn lock(&self) {
        assert_eq!(
            self.inside.fetch_add(1, Ordering::SeqCst),
            0,
            "locked twice"
        );
        self.times.fetch_add(1, Ordering::SeqCst);
    }

    fn unlock(&self) {
        assert_eq!(self.inside.fetch_sub(1, Ordering::SeqCst), 1);
    }
}

#[derive(Debug)]
struct Card {
    device: ID3D11Device,
    lock: Arc<Lock>,
}

impl Card {
    fn new() -> Self {
        let mut device = None;
        // SAFETY: all that is passed outlives the call; the result is owned.
        unsafe {
            D3D11CreateDevice(
                None,
                D3D_DRIVER_TYPE_HARDWARE,
                HMODULE::default(),
                D3D11_CREATE_DEVICE_BGRA_SUPPORT,
                None,
                D3D11_SDK_VERSION,
                Some(&mut device),
                None,
                None,
            )
        }
        .unwrap();
        Self {
            device: device.unwrap(),
            lock: Arc::default(),
        }
    }

    fn gpu(&self) -> GpuDevice {
        // SAFETY: the device is alive, and nobody else uses its context.
        unsafe { GpuDevice::from_raw(self.device.as_raw(), self.lock.clone()) }.unwrap()
    }

    /// A texture of its own, every byte of it `value`.
    fn texture(&self, width: u32, height: u32, format: i32, value: u8) -> GpuTexture {
        let desc = D3D11_TEXTURE2D_DESC {
            Width: width,
            Height: height,
            MipLevels: 1,
            ArraySize: 1,
            Format: DXGI_FORMAT(format),
            SampleDesc: DXGI_SAMPLE_DESC {
                Count: 1,
                Quality: 0,
            },
            BindFlags: 0x8,
            ..Default::default()
        };
        let bytes = vec![value; (width * height * 8) as usize];
        let data = D3D11_SUBRESOURCE_DATA {
            pSysMem: bytes.as_ptr().cast(),
            SysMemPitch: width * 8,
            SysMemSlicePitch: 0,
        };
        let mut texture: Option<ID3D11Texture2D> = None;
        // SAFETY: description and bytes outlive the call; the bytes are as many as the widest format needs.
        unsafe {
            self.device
                .CreateTexture2D(&desc, Some(&data), Some(&mut texture))
        }
        .unwrap();
        // SAFETY: the texture is alive.
        unsafe { GpuTexture::from_raw(texture.unwrap().as_raw(), 0) }.unwrap()
    }
}

fn name(text: &str) -> SenderName {
    SenderName::new(&format!("{text} {}", std::process::id())).unwrap()
}

fn sender(name: &SenderName, card: &Card, keyed_mutex: bool) -> Box<dyn Sender> {
    let wish = SenderWish {
        name: name.clone(),
        video: Video::new(WIDTH, HEIGHT, PixelFormat::Bgra8),
        make_active: true,
        texture: TextureWish {
            device: Some(card.gpu()),
            keyed_mutex,
        },
    };
    SpoutDirectory::default().sender(&wish).unwrap()
}

fn receiver(name: &SenderName) -> Box<dyn Receiver> {
    SpoutDirectory::default()
        .receiver(Target::Named(name.clone()))
        .unwrap()
}

#[track_caller]
fn next(receiver: &mut dyn Receiver) -> Event {
    let begun = Instant::now();
    loop {
        match receiver.next(Duration::from_millis(200)).unwrap() {
            Event::Idle => assert!(begun.elapsed() < GENEROUS, "nothing came"),
            event => return event,
        }
    }
}

#[test]
fn a_texture_is_copied_on_its_device_in_turns_and_under_its_lock() {
    for keyed in [false, true] {
        let (name, card) = (name(&format!("card {keyed}")), Card::new());
        let mut sender = sender(&name, &card, keyed);
        // As large as the picture, and larger as the textures of pools are.
        for (value, wider) in [(7, 0), (8, 32)] {
            let texture = card.texture(WIDTH + wider, HEIGHT + wider, BGRA, value);
            let sent = sender.send_texture(&texture, &Stamp::default()).unwrap();
            assert_eq!(sent, Some(Sent::Copied));
            let mut receiver = receiver(&name);
            assert!(matches!(next(&mut *receiver), Event::Connected(_)));
            let Event::Frame(frame) = next(&mut *receiver) else {
                panic!("no frame");
            };
            assert_eq!(frame.bytes(), vec![value; (WIDTH * HEIGHT * 4) as usize]);
        }
        assert_eq!(sender.figures().by_gpu, 2);
        assert_eq!(card.lock.times.load(Ordering::SeqCst), 2);
        assert_eq!(card.lock.inside.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_texture_that_does_not_fit_is_not_copied() {
    let (name, card, other) = (name("misfit"), Card::new(), Card::new());
    let mut sender = sender(&name, &card, false);
    for texture in [
        other.texture(WIDTH, HEIGHT, BGRA, 1),
        card.texture(WIDTH - 1, HEIGHT, BGRA, 1),
        card.texture(WIDTH, HEIGHT, 28, 1),
        card.texture(WIDTH, HEIGHT, 10, 1),
    ] {
        assert_eq!(
            sender.send_texture(&texture, &Stamp::default()).unwrap(),
            None
        );
    }
    assert_eq!(sender.figures().sent, 0);
}

#[derive(Debug)]
struct Pool {
    card: Card,
    texture: GpuTexture,
}

impl TexturePool for Pool {
    fn device(&self) -> GpuDevice {
        self.card.gpu()
    }

    fn next(&self) -> Option<GpuTexture> {
        Some(self.texture.clone())
    }
}

fn pool(format: i32) -> Arc<Pool> {
    let card = Card::new();
    let texture = card.texture(WIDTH, HEIGHT, format, 0);
    Arc::new(Pool { card, texture })
}

#[test]
fn frames_are_drawn_on_a_pools_textures_until_there_is_none() {
    let (name, card) = (name("drawn"), Card::new());
    let mut sender = sender(&name, &card, false);
    let mut send = |value| {
        let texture = card.texture(WIDTH, HEIGHT, BGRA, value);
        sender.send_texture(&texture, &Stamp::default()).unwrap();
    };
    send(1);
    let mut receiver = receiver(&name);
    assert!(!receiver.draw_on(Some(pool(BGRA))), "nobody is there yet");
    assert!(matches!(next(&mut *receiver), Event::Connected(_)));
    assert!(!receiver.draw_on(Some(pool(28))), "another order of bytes");

    let pool = pool(BGRA);
    assert!(receiver.draw_on(Some(pool.clone())));
    let Event::Frame(frame) = next(&mut *receiver) else {
        panic!("no frame");
    };
    assert!(frame.pixels.is_none() && frame.bytes().is_empty());
    assert_eq!(pool.card.lock.times.load(Ordering::SeqCst), 1);
    // What was drawn there is what was sent: shown on by a sender of the pool's device.
    let again = SenderName::new(&format!("again {}", std::process::id())).unwrap();
    let mut second = self::sender(&again, &pool.card, false);
    let sent = second
        .send_texture(&pool.texture, &Stamp::default())
        .unwrap();
    assert_eq!(sent, Some(Sent::Copied));
    let mut third = self::receiver(&again);
    assert!(matches!(next(&mut *third), Event::Connected(_)));
    let Event::Frame(frame) = next(&mut *third) else {
        panic!("no frame");
    };
    assert_eq!(frame.bytes(), vec![1; (WIDTH * HEIGHT * 4) as usize]);

    assert!(receiver.draw_on(None));
    send(2);
    let Event::Frame(frame) = next(&mut *receiver) else {
        panic!("no frame");
    };
    assert_eq!(frame.bytes(), vec![2; (WIDTH * HEIGHT * 4) as usize]);
}
