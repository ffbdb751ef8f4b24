//! Prompts are encoded on a thread of their own, so that no frame waits for the text encoder.
//!
//! Only the newest wish counts: what is said while an encoding runs replaces what was said before.

use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use diffusion_engine::{EngineError, Model, Parameters};

#[derive(Debug, Default)]
struct Desk {
    wanted: Option<(Arc<Model>, Parameters)>,
    /// Somebody is there to look at `wanted` once more before leaving.
    busy: bool,
    thread: Option<JoinHandle<()>>,
}

/// The thread, which is there only while there is something to encode.
#[derive(Debug, Default)]
pub(crate) struct PromptEncoder {
    desk: Arc<Mutex<Desk>>,
}

impl PromptEncoder {
    /// Encodes the prompts of `parameters`; the model keeps them for whoever needs them next.
    ///
    /// `failed` hears why an encoding failed, on that thread.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub(crate) fn encode(
        &self,
        model: Arc<Model>,
        parameters: Parameters,
        failed: impl Fn(&EngineError) + Send + 'static,
    ) -> std::io::Result<()> {
        let mut desk = self.desk.lock().unwrap();
        desk.wanted = Some((model, parameters));
        if desk.busy {
            return Ok(());
        }
        let shared = self.desk.clone();
        let work = move || {
            loop {
                let (model, parameters) = {
                    let mut desk = shared.lock().unwrap();
                    match desk.wanted.take() {
                        Some(wanted) => wanted,
                        None => {
                            desk.busy = false;
                            return;
                        }
                    }
                };
                if let Err(error) = model.prepare(&parameters) {
                    failed(&error);
                }
            }
        };
        let name = "scope-prompts".into();
        desk.thread = Some(thread::Builder::new().name(name).spawn(work)?);
        desk.busy = true;
        Ok(())
    }

    /// Waits for the encoding under way, if there is one, and starts no other.
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
