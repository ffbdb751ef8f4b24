//! A graph's tensors for one set of shapes: allocated once, bound once, run many times.
//!
//! ```text
//!  CPU     engine writes ──► input ──► graph ──► output ──► engine reads            no copy
//!  device  pinned ──► input ──► graph ──► output ──► pinned                one wait at the end
//! ```
//!
//! Pictures come and go as bytes. On a device a graph of [`crate::onnx::picture`] stands in front of
//! an encoder and behind a decoder, with the tensor between the two bound to both; on the CPU
//! [`crate::frame`] writes and reads the graph's own tensor.
//!
//! Decision: runs go to the C interface by themselves. `ort`'s own makes a list of the outputs at
//! every run, and ours are known.

#![allow(
    unsafe_code,
    reason = "runs a binding without the allocations that ort makes for it"
)]

use std::fmt;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Instant;

use ::ort::AsPointer;
use ::ort::session::{IoBinding, RunOptions, Session};
use ::ort::value::{TensorElementType, ValueType};

use super::super::{Feed, Form, Output, Read, Values};
use super::placement;
use super::queue::Queue;
use super::slot::{Place, Slot};
use crate::frame;
use crate::onnx::picture;
use crate::watch::Watch;

/// What a run says when it fails: the runtime's own words.
pub(super) type Failure = String;

#[expect(clippy::needless_pass_by_value, reason = "handed to map_err")]
pub(super) fn text(error: ::ort::Error) -> Failure {
    error.message().to_string()
}

/// The sessions of one graph.
#[derive(Debug)]
pub(crate) struct Sessions {
    pub(super) main: Session,
    /// From or into bytes, on a device.
    pub(super) picture: Option<Session>,
    /// Whether `main` records its work as CUDA graphs.
    pub(super) recording: bool,
    /// CUDA graphs that were numbered so far.
    pub(super) numbered: u64,
    /// Where they compute. Last, so that the device's stream outlives them.
    pub(super) place: Place,
}

/// The sessions of a graph, for whoever runs them.
pub(crate) type Handle = Arc<Mutex<Sessions>>;

/// The sessions, once nobody else runs them.
pub(super) fn lock(handle: &Handle) -> MutexGuard<'_, Sessions> {
    handle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tensors for one set of shapes.
#[derive(Debug)]
pub(super) struct Bound {
    inputs: Vec<Input>,
    outputs: Vec<Given>,
    binding: IoBinding,
    recorded: Option<Recorded>,
    /// When it was used last.
    pub(super) used: u64,
}

#[derive(Debug)]
struct Input {
    name: String,
    slot: Slot,
    /// Whether it is fed pictures.
    as_bytes: bool,
    /// The same as bytes, where a graph makes one of the other.
    picture: Option<(Slot, IoBinding)>,
}

#[derive(Debug)]
struct Given {
    name: String,
    form: Form,
    slot: Slot,
    picture: Option<Picture>,
    /// The same as bytes, where no graph makes them.
    bytes: Vec<u8>,
}

/// An output as bytes, and whether all of it was numbers.
#[derive(Debug)]
struct Picture {
    bytes: Slot,
    fault: Slot,
    binding: IoBinding,
}

/// A CUDA graph has its tensors' addresses in it, so each set of shapes has one of its own.
struct Recorded {
    options: RunOptions,
    /// Threads that have recorded it: the runtime keeps one for each.
    by: Vec<ThreadId>,
}

impl fmt::Debug for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorded").field("by", &self.by).finish()
    }
}

/// Name of the option that says which CUDA graph a run belongs to; -1 is none.
const GRAPH_ID: &str = "gpu_graph_id";

impl Bound {
    /// Allocates for `feeds`, writes them, and runs once to find out what comes out.
    pub(super) fn new(
        sessions: &mut Sessions,
        feeds: &[Feed<'_>],
        wanted: &[(&str, Form)],
    ) -> Result<Self, Failure> {
        let mut bound = Self {
            inputs: Vec::with_capacity(feeds.len()),
            outputs: Vec::with_capacity(wanted.len()),
            binding: sessions.main.create_binding().map_err(text)?,
            recorded: None,
            used: 0,
        };
        let host = sessions.place.host();
        for feed in feeds {
            let kind = kind_of(&sessions.main, feed.name)?;
            // A tensor on the device would be copied once, when it is bound, and then never again.
            let place = match placement::is_on_host(&sessions.main, feed.name) {
                true => &host,
                false => &sessions.place,
            };
            let slot = Slot::new(place, kind, feed.shape)?;
            let bind = bound.binding.bind_input(feed.name, slot.tensor());
            bind.map_err(text)?;
            let mut input = Input {
                name: feed.name.into(),
                slot,
                as_bytes: matches!(feed.values, Values::Bytes(_)),
                picture: None,
            };
            if let (true, Some(session)) = (input.as_bytes, &sessions.picture) {
                input.take_bytes(session, place)?;
            }
            bound.inputs.push(input);
        }
        bound.write(feeds, 0)?;
        bound.take_pictures_in(sessions, None)?;
        bound.discover(sessions, wanted)?;
        if sessions.recording {
            let mut options = RunOptions::new().map_err(text)?;
            options.disable_device_sync().map_err(text)?;
            sessions.numbered += 1;
            let number = sessions.numbered.to_string();
            options.set(GRAPH_ID, number).map_err(text)?;
            let by = Vec::new();
            bound.recorded = Some(Recorded { options, by });
        }
        Ok(bound)
    }

    /// Runs for the first time, and allocates what comes out.
    fn discover(
        &mut self,
        sessions: &mut Sessions,
        wanted: &[(&str, Form)],
    ) -> Result<(), Failure> {
        let place = &sessions.place;
        let mut options = RunOptions::new().map_err(text)?;
        if sessions.recording {
            options.set(GRAPH_ID, "-1").map_err(text)?;
        }
        for (name, _) in wanted {
            let bind = self.binding.bind_output_to_device(*name, place.memory());
            bind.map_err(text)?;
        }
        let run = sessions
            .main
            .run_binding_with_options(&self.binding, &options);
        let found = run.map_err(text)?;
        for (name, form) in wanted {
            let value = found.get(*name).ok_or(format!("it has no `{name}`"))?;
            let ValueType::Tensor { ty, shape, .. } = value.dtype() else {
                return Err(format!("its output `{name}` is no tensor"));
            };
            let side = |side: &i64| usize::try_from(*side).unwrap_or(0);
            let sides: Vec<usize> = shape.iter().map(side).collect();
            let mut slot = Slot::new(place, *ty, &sides)?;
            slot.take(value)?;
            self.outputs.push(Given {
                name: (*name).into(),
                form: *form,
                slot,
                picture: None,
                bytes: Vec::new(),
            });
        }
        drop(found);
        for output in &mut self.outputs {
            let bind = self
                .binding
                .bind_output(output.name.as_str(), output.slot.tensor_mut());
            bind.map_err(text)?;
            if output.form == Form::Bytes {
                let found = output.slot.shape();
                let shape = interleaved(found).ok_or(format!("it makes a picture of {found:?}"))?;
                match &sessions.picture {
                    Some(session) => output.give_bytes(session, &shape, place)?,
                    None => output.bytes.resize(shape.iter().product(), 0),
                }
            }
        }
        self.give_pictures_out(sessions, None)
    }

    /// Whether it was made for such feeds and outputs.
    pub(super) fn fits(&self, feeds: &[Feed<'_>], wanted: &[(&str, Form)]) -> bool {
        let as_fed = |(input, feed): (&Input, &Feed<'_>)| {
            input.name == feed.name
                && input.slot.shape() == feed.shape
                && input.as_bytes == matches!(feed.values, Values::Bytes(_))
        };
        let as_wanted = |(output, (name, form)): (&Given, &(&str, Form))| {
            output.name == *name && output.form == *form
        };
        self.inputs.len() == feeds.len()
            && self.outputs.len() == wanted.len()
            && self.inputs.iter().zip(feeds).all(as_fed)
            && self.outputs.iter().zip(wanted).all(as_wanted)
    }

    /// Whether the next run of this thread records a CUDA graph.
    pub(super) fn records_next(&self) -> bool {
        let here = thread::current().id();
        let recorded = self.recorded.as_ref();
        recorded.is_some_and(|recorded| !recorded.by.contains(&here))
    }

    /// Writes the feeds; those that are there already stay.
    ///
    /// - `from`: leaves the first ones alone, which somebody else writes.
    pub(super) fn write(&mut self, feeds: &[Feed<'_>], from: usize) -> Result<(), Failure> {
        for (input, feed) in self.inputs.iter_mut().zip(feeds).skip(from) {
            let written = match (&mut input.picture, feed.values) {
                (Some((bytes, _)), values) => bytes.write(values, feed.stamp),
                (None, Values::Bytes(bytes)) => input.slot.write_picture(bytes),
                (None, values) => input.slot.write(values, feed.stamp),
            };
            written.map_err(|reason| format!("input `{}`: {reason}", feed.name))?;
        }
        Ok(())
    }

    /// Runs everything once.
    pub(super) fn run(
        &mut self,
        sessions: &mut Sessions,
        options: Option<&RunOptions>,
        watch: &Watch,
    ) -> Result<(), Failure> {
        self.take_pictures_in(sessions, options)?;
        let began = Instant::now();
        let own = self.recorded.as_ref().map(|recorded| &recorded.options);
        let run = execute(&mut sessions.main, &self.binding, own.or(options));
        if sessions.place.queue().is_none() {
            // On a device the call only sets it going: whoever waits for it looks at the clock.
            watch.add(began.elapsed());
        }
        run?;
        if self.records_next()
            && let Some(recorded) = &mut self.recorded
        {
            recorded.by.push(thread::current().id());
        }
        self.give_pictures_out(sessions, options)
    }

    /// Sets the way of the outputs back to the host going, and waits for it.
    pub(super) fn fetch(&self, queue: Option<&Queue>) -> Result<(), Failure> {
        let Some(queue) = queue else {
            return Ok(());
        };
        for output in &self.outputs {
            match &output.picture {
                Some(picture) => {
                    picture.bytes.fetch()?;
                    picture.fault.fetch()?;
                }
                None => output.slot.fetch()?,
            }
        }
        queue.wait()
    }

    /// Shows the outputs.
    pub(super) fn show(&mut self, read: &mut Read<'_>) -> Result<(), Failure> {
        for (at, output) in self.outputs.iter_mut().enumerate() {
            let Given {
                slot,
                bytes,
                picture,
                ..
            } = output;
            let of_output = |reason| format!("output `{}`: {reason}", output.name);
            let shown = match (picture, output.form) {
                (Some(picture), _) => Output::Picture {
                    shape: slot.shape(),
                    sound: picture.fault.read()?.1.iter().all(|fault| *fault == 0.0),
                    bytes: picture.bytes.bytes(),
                },
                (None, Form::Bytes) => {
                    let (shape, values) = slot.read().map_err(of_output)?;
                    let sound = frame::gather(values, bytes);
                    Output::Picture {
                        shape,
                        bytes,
                        sound,
                    }
                }
                (None, Form::Real) => {
                    let (shape, values) = slot.read().map_err(of_output)?;
                    Output::Real { shape, values }
                }
            };
            read(at, shown);
        }
        Ok(())
    }

    fn take_pictures_in(
        &self,
        sessions: &mut Sessions,
        options: Option<&RunOptions>,
    ) -> Result<(), Failure> {
        let pictures = self
            .inputs
            .iter()
            .filter_map(|input| input.picture.as_ref());
        for ((_, binding), session) in pictures.zip(&mut sessions.picture) {
            execute(session, binding, options)?;
        }
        Ok(())
    }

    fn give_pictures_out(
        &self,
        sessions: &mut Sessions,
        options: Option<&RunOptions>,
    ) -> Result<(), Failure> {
        let pictures = self
            .outputs
            .iter()
            .filter_map(|output| output.picture.as_ref());
        for (picture, session) in pictures.zip(&mut sessions.picture) {
            execute(session, &picture.binding, options)?;
        }
        Ok(())
    }
}

/// What others bind to graphs of their own.
impl Bound {
    /// The tensor of an input, for a graph that writes it.
    pub(super) fn input(&mut self, at: usize) -> &mut Slot {
        &mut self.inputs[at].slot
    }

    /// The tensor of the first output.
    pub(super) fn output(&mut self) -> &mut Slot {
        &mut self.outputs[0].slot
    }

    /// The first output as bytes, and its fault, where a graph makes them.
    pub(super) fn picture(&self) -> Option<(&Slot, &Slot)> {
        let picture = self.outputs[0].picture.as_ref()?;
        Some((&picture.bytes, &picture.fault))
    }
}

impl Input {
    fn take_bytes(&mut self, session: &Session, place: &Place) -> Result<(), Failure> {
        let shape = interleaved(self.slot.shape());
        let shape = shape.ok_or(format!("its input `{}` is no picture", self.name))?;
        let bytes = Slot::new(place, TensorElementType::Uint8, &shape)?;
        let mut binding = session.create_binding().map_err(text)?;
        let bind = binding.bind_input(picture::BYTES, bytes.tensor());
        bind.map_err(text)?;
        let bind = binding.bind_output(picture::VALUES, self.slot.tensor_mut());
        bind.map_err(text)?;
        self.picture = Some((bytes, binding));
        Ok(())
    }
}

impl Given {
    fn give_bytes(
        &mut self,
        session: &Session,
        shape: &[usize],
        place: &Place,
    ) -> Result<(), Failure> {
        let mut bytes = Slot::new(place, TensorElementType::Uint8, shape)?;
        let mut fault = Slot::new(place, TensorElementType::Float32, &[])?;
        let mut binding = session.create_binding().map_err(text)?;
        let bind = binding.bind_input(picture::VALUES, self.slot.tensor());
        bind.map_err(text)?;
        let bind = binding.bind_output(picture::BYTES, bytes.tensor_mut());
        bind.map_err(text)?;
        let bind = binding.bind_output(picture::FAULT, fault.tensor_mut());
        bind.map_err(text)?;
        self.picture = Some(Picture {
            bytes,
            fault,
            binding,
        });
        Ok(())
    }
}

/// `[1, 3, H, W]` as bytes lie, `[1, H, W, 3]`.
fn interleaved(shape: &[usize]) -> Option<[usize; 4]> {
    match shape {
        [1, 3, height, width] => Some([1, *height, *width, 3]),
        _ => None,
    }
}

fn kind_of(session: &Session, input: &str) -> Result<TensorElementType, Failure> {
    let port = session.inputs().iter().find(|port| port.name() == input);
    match port.map(|port| port.dtype()) {
        Some(ValueType::Tensor { ty, .. }) => Ok(*ty),
        _ => Err(format!("it has no input `{input}`")),
    }
}

pub(super) fn execute(
    session: &mut Session,
    binding: &IoBinding,
    options: Option<&RunOptions>,
) -> Result<(), Failure> {
    let options = options.map_or(ptr::null(), AsPointer::ptr);
    // SAFETY: all three live through the call; the session is borrowed alone, as a run asks for.
    let status =
        unsafe { (::ort::api().RunWithBinding)(session.ptr().cast_mut(), options, binding.ptr()) };
    // SAFETY: the status was just returned and is given to nobody else.
    unsafe { ::ort::Error::result_from_status(status) }.map_err(text)
}
