//! What is slow once per process, done before the first client comes.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use gst::prelude::*;

use super::error::make;

/// Factories of a session; the first element of each loads a shared library. Not those of H.264: they bring libraries
/// along, `avdec_h264` 30 MB of them, and nearly all clients speak VP8.
const FACTORIES: [&str; 8] = [
    "webrtcbin",
    "nicesrc",
    "dtlssrtpenc",
    "sctpenc",
    "rtpbin",
    "rtpvp8pay",
    "vp8enc",
    "appsrc",
];

/// Leaving the program may take two seconds; on an idle machine the work takes half of one.
const PATIENCE: Duration = Duration::from_millis(1200);

/// Loads the plugins, one a turn.
///
/// To be awaited where nothing else waits: each turn holds its thread while a library loads. On the main thread it
/// fills the holes that GStreamer's start left in the heap; a thread of its own would begin a heap of its own.
pub(crate) async fn libraries() {
    for name in FACTORIES {
        // What is missing is reported by the session that needs it.
        make(name).ok();
        tokio::task::yield_now().await;
    }
}

/// Makes the process's DTLS certificate, in a thread of its own: a 2048 bit RSA key takes as long as all the rest.
pub(crate) fn certificate() -> Warming {
    let (over, threads) = mpsc::channel();
    begin("certificate", over, || {
        if let Ok(decoder) = make("dtlsdec") {
            // Reading it makes it.
            decoder.property::<Option<String>>("pem");
        }
    });
    Warming(Mutex::new(threads))
}

/// Work under way, waited for when it is dropped, but not for long.
///
/// Trap: a process that leaves while a thread of its own is inside OpenSSL or the loader crashes: their memory goes first.
#[derive(Debug)]
pub(crate) struct Warming(Mutex<Receiver<Infallible>>);

impl Drop for Warming {
    fn drop(&mut self) {
        // Nothing is ever sent: the channel breaks when the last of the threads has ended.
        let threads = self.0.lock().unwrap();
        threads.recv_timeout(PATIENCE).ok();
    }
}

fn begin(name: &str, over: Sender<Infallible>, work: impl FnOnce() + Send + 'static) {
    let thread = std::thread::Builder::new().name(name.into());
    // Without a thread the first client does it, and waits for it.
    let worked = thread.spawn(move || {
        work();
        drop(over);
    });
    worked.ok();
}
