//! Work beside the stream of which only the newest counts: encoding prompts, loading a model anew.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

#[derive(Debug)]
struct Desk<T> {
    wanted: Option<T>,
    /// Somebody is there to look at `wanted` once more before leaving.
    busy: bool,
    thread: Option<JoinHandle<()>>,
}

/// A thread that is there only while there is something to do.
///
/// What is wanted while it works replaces what was wanted before.
#[derive(Debug)]
pub(crate) struct NewestFirstServed<T> {
    desk: Arc<Mutex<Desk<T>>>,
}

impl<T> Default for NewestFirstServed<T> {
    fn default() -> Self {
        Self {
            desk: Arc::new(Mutex::new(Desk {
                wanted: None,
                busy: false,
                thread: None,
            })),
        }
    }
}

impl<T: Send + 'static> NewestFirstServed<T> {
    /// Does `work` on `wanted`, unless something newer comes first.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub(crate) fn want(
        &self,
        name: &str,
        wanted: T,
        work: impl Fn(T) + Send + 'static,
    ) -> std::io::Result<()> {
        let mut desk = self.desk.lock().unwrap();
        desk.wanted = Some(wanted);
        if desk.busy {
            return Ok(());
        }
        let shared = self.desk.clone();
        let serve = move || {
            loop {
                let wanted = {
                    let mut desk = shared.lock().unwrap();
                    match desk.wanted.take() {
                        Some(wanted) => wanted,
                        None => {
                            desk.busy = false;
                            return;
                        }
                    }
                };
                work(wanted);
            }
        };
        desk.thread = Some(thread::Builder::new().name(name.into()).spawn(serve)?);
        desk.busy = true;
        Ok(())
    }

    /// Waits for the work under way, if there is any, and starts no other.
    pub(crate) fn finish(&self) {
        let thread = {
            let mut desk = self.desk.lock().unwrap();
            desk.wanted = None;
            desk.thread.take()
        };
        if let Some(thread) = thread {
            // It can only have panicked over a poisoned lock, and then the next lock says so.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_is_wanted_meanwhile_replaces_what_was_wanted_before() {
        let served = NewestFirstServed::default();
        let (done, seen) = channel();
        let (go, wait) = channel::<()>();
        let work = move |number: u32| {
            done.send(number).unwrap();
            wait.recv().unwrap();
        };

        served.want("test", 1, work).unwrap();
        assert_eq!(seen.recv(), Ok(1));
        for number in 2..=5 {
            served.want("test", number, |_| unreachable!()).unwrap();
        }
        go.send(()).unwrap();
        assert_eq!(seen.recv(), Ok(5));
        go.send(()).unwrap();
        served.finish();

        assert!(seen.try_recv().is_err());
    }
}
