//! What it does, by its first argument.

use std::fs::File;
use std::io::Write;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::objects::{Count, Map, Mutex, SLOT, Sync, names, text, write_names};
use crate::textures::{Device, Texture, keyed_turn, take};

/// Length of a sender's record.
const RECORD: usize = 280;

pub(crate) fn run(arguments: &[String]) {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["send", name, width, height, rest @ ..] => {
            send(name, width.parse().unwrap(), height.parse().unwrap(), rest);
        }
        ["receive", name, file, rest @ ..] => receive(name, file, rest),
        ["list", rest @ ..] => list(rest),
        ["die", name, rest @ ..] => die(name, rest),
        _ => panic!("send, receive, list or die"),
    }
}

/// The number of an option `name=`.
fn number(options: &[&str], name: &str, default: u32) -> u32 {
    let value = options
        .iter()
        .find_map(|option| option.strip_prefix(name)?.strip_prefix('='));
    value.map_or(default, |value| value.parse().unwrap())
}

fn guarded<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let mutex = Mutex::make(&format!("{name}_mutex"));
    mutex
        .held(work)
        .expect("nobody lets go of a list or record")
}

/// What a sender says of itself: handle, width, height, format.
fn record(name: &str) -> Option<[u32; 4]> {
    let mut map = Map::find(name)?;
    let bytes = guarded(name, || map.bytes()[..RECORD].to_vec());
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
    Some([word(0), word(4), word(8), word(12)])
}

fn send(name: &str, width: u32, height: u32, options: &[&str]) {
    let keyed = options.contains(&"keyed");
    let code = number(options, "code", 87);
    let device = Device::new();
    let (texture, handle) = device.share(width, height, code.cast_signed(), keyed);

    let mut info = Map::make(name, RECORD as u32);
    guarded(name, || {
        let bytes = info.bytes();
        for (at, word) in [handle, width, height, code, 0].into_iter().enumerate() {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
    });
    let mut senders = Map::make(
        "SpoutSenderNames",
        number(options, "slots", 64) * SLOT as u32,
    );
    guarded("SpoutSenderNames", || {
        let mut listed = names(senders.bytes());
        listed.push(name.into());
        write_names(senders.bytes(), listed);
    });
    let mut active = Map::make("ActiveSenderName", SLOT as u32);
    guarded("ActiveSenderName", || {
        write_names(&mut active.bytes()[..SLOT], vec![name.into()]);
    });
    let access = Mutex::make(&format!("{name}_SpoutAccessMutex"));
    let count =
        (!options.contains(&"uncounted")).then(|| Count::make(&format!("{name}_Count_Semaphore")));
    println!("registered {name}");

    let pause = Duration::from_secs(1) / number(options, "fps", 30);
    let mut skipped = 0;
    for frame in 0..number(options, "frames", 100) {
        let bytes: Vec<u8> = (0..height)
            .flat_map(|row| (0..width).map(move |column| [column as u8, row as u8]))
            .flat_map(|[column, row]| [column, row, frame as u8, 255])
            .collect();
        let draw = || {
            device.write(&texture, &bytes);
            if let Some(count) = &count {
                count.up();
            }
        };
        let drawn = match texture.keyed() {
            Some(mutex) => keyed_turn(&mutex, draw),
            None => access.held(draw).is_some(),
        };
        skipped += u32::from(!drawn);
        sleep(pause);
    }
    println!("skipped {skipped}");

    drop(info);
    guarded("SpoutSenderNames", || {
        let listed = names(senders.bytes());
        let rest: Vec<_> = listed.into_iter().filter(|other| other != name).collect();
        if let Some(next) = rest.first() {
            write_names(&mut active.bytes()[..SLOT], vec![next.clone()]);
        }
        write_names(senders.bytes(), rest);
    });
}

fn active_name() -> Option<String> {
    let mut map = Map::find("ActiveSenderName")?;
    let name = guarded("ActiveSenderName", || text(&map.bytes()[..SLOT]));
    Some(name).filter(|name| !name.is_empty())
}

fn receive(wanted: &str, file: &str, options: &[&str]) {
    let device = Device::new();
    let mut file = File::create(file).unwrap();
    let begun = Instant::now();
    let limit = Duration::from_secs(number(options, "seconds", 80).into());
    let frames = number(options, "frames", 20);
    let mut open: Option<(String, u32, Texture)> = None;
    let (mut received, mut last) = (0, 0);
    let mut sync = None;
    while frames == 0 || received < frames {
        if begun.elapsed() > limit {
            println!("gave up after {received} frames");
            std::process::exit(1);
        }
        sleep(Duration::from_millis(1));
        let name = match (wanted, &open) {
            ("-", Some((name, ..))) => Some(name.clone()),
            ("-", None) => active_name(),
            (name, _) => Some(name.to_owned()),
        };
        let Some((name, [handle, ..])) = name.and_then(|name| Some((name.clone(), record(&name)?)))
        else {
            if let Some((name, ..)) = open.take() {
                println!("lost {name}");
                if frames == 0 {
                    break;
                }
            }
            continue;
        };
        if open.as_ref().is_none_or(|(.., known, _)| *known != handle) {
            let Some(texture) = device.open(handle) else {
                continue;
            };
            let desc = &texture.desc;
            let keyed = if texture.keyed().is_some() {
                " keyed"
            } else {
                ""
            };
            println!(
                "opened {name} {}x{} {}{keyed}",
                desc.Width, desc.Height, desc.Format.0
            );
            if options.contains(&"sync") {
                sync = Some(Sync::make(&format!("{name}_Sync_Event")));
            }
            open = Some((name.clone(), handle, texture));
        }
        let Some((name, _, texture)) = &open else {
            continue;
        };
        let access = Mutex::make(&format!("{name}_SpoutAccessMutex"));
        let count = Count::make(&format!("{name}_Count_Semaphore"));
        let new = |count: i32| count != last;
        let mut seen = last;
        let bytes = device.read(texture, |copy| {
            let mut turn = || {
                seen = count.read();
                if new(seen) {
                    copy();
                }
                new(seen)
            };
            match texture.keyed() {
                Some(mutex) => {
                    let mut copied = false;
                    keyed_turn(&mutex, || copied = turn()) && copied
                }
                None => access.held(turn).unwrap_or(false),
            }
        });
        if let Some(bytes) = bytes {
            last = seen;
            received += 1;
            file.write_all(&bytes).unwrap();
            if let Some(sync) = &sync {
                sync.signal();
            }
        }
    }
    println!("received {received}, the last one number {last}");
}

fn list(options: &[&str]) {
    let mut senders = Map::make(
        "SpoutSenderNames",
        number(options, "slots", 64) * SLOT as u32,
    );
    println!("slots {}", senders.len() / SLOT);
    sleep(Duration::from_secs(number(options, "seconds", 0).into()));
    for name in guarded("SpoutSenderNames", || names(senders.bytes())) {
        let alive = if record(&name).is_some() {
            "alive"
        } else {
            "dead"
        };
        println!("{alive} {name}");
    }
    println!("active {}", active_name().unwrap_or_default());
}

/// Ends while it has a turn, as a program that crashes does.
fn die(name: &str, options: &[&str]) -> ! {
    let taken = if options.contains(&"keyed") {
        let [handle, ..] = record(name).expect("no such sender");
        let device = Device::new();
        let texture = device.open(handle).expect("its texture does not open");
        let mutex = texture.keyed().expect("its texture has no mutex");
        // Its sender has it most of the time, when pictures are drawn by the processor.
        let taken = (0..100).any(|_| take(&mutex));
        std::mem::forget(mutex);
        taken
    } else {
        let mutex = Mutex::make(&format!("{name}_SpoutAccessMutex"));
        let taken = (0..100).any(|_| mutex.take());
        std::mem::forget(mutex);
        taken
    };
    println!("died holding {taken}");
    std::process::exit(0);
}
