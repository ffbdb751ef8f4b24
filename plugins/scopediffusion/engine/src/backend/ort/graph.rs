//! One ONNX file, open: the [`Graph`] contract on ONNX Runtime's sessions.

use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use ::ort::session::RunOptions;
use ::ort::value::{DynValue, Outlet, Tensor as OrtTensor, TensorElementType, ValueType};
use half::f16;

use super::super::{Element, Feed, Form, Graph, Port, Read};
use super::bound::{self, Bound, Handle, Sessions};
use super::queue::Queue;
use super::{placement, trouble};
use crate::error::EngineError;
use crate::lora::NewWeight;
use crate::watch::{Stoppable, Watch};

/// What a run is stopped by.
struct Options(Option<RunOptions>);

impl Options {
    /// Refused only when there is no memory left; such a run cannot be stopped, but it can be made.
    fn new(on_device: bool) -> Self {
        let mut options = RunOptions::new().ok();
        if on_device && let Some(options) = &mut options {
            // The host waits by itself, once for everything. Refused never: it is a word in a table.
            let _ = options.disable_device_sync();
        }
        Self(options)
    }
}

/// What runs under `watch` are stopped by.
pub(super) fn options_of(watch: &Watch, on_device: bool) -> Option<&RunOptions> {
    let options = watch.runtime(|| Box::new(Options::new(on_device)));
    options.downcast_ref::<Options>()?.0.as_ref()
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Options")
    }
}

impl Stoppable for Options {
    fn stop(&self) {
        // Refused never, by the library's own account; the run then ends by itself.
        let _ = self.0.as_ref().map(RunOptions::terminate);
    }

    fn go_on(&self) {
        // As above.
        let _ = self.0.as_ref().map(RunOptions::unterminate);
    }
}

/// Sets of shapes that a graph keeps tensors for: steps, guidance and sizes make a few.
const MOST_BOUND: usize = 8;

#[derive(Debug)]
pub(super) struct OrtGraph {
    role: &'static str,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    bound: Vec<Bound>,
    runs: u64,
    sessions: Handle,
}

impl OrtGraph {
    pub(super) fn new(role: &'static str, sessions: Sessions) -> Self {
        let ports = |outlets: &[Outlet]| outlets.iter().map(port).collect();
        Self {
            role,
            inputs: ports(sessions.main.inputs()),
            outputs: ports(sessions.main.outputs()),
            bound: Vec::with_capacity(MOST_BOUND),
            runs: 0,
            sessions: Arc::new(Mutex::new(sessions)),
        }
    }
}

impl Graph for OrtGraph {
    fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    fn placement(&self) -> Vec<(String, usize)> {
        placement::of(&bound::lock(&self.sessions).main)
    }

    fn handle(&self) -> Option<Handle> {
        Some(Arc::clone(&self.sessions))
    }

    fn run(
        &mut self,
        feeds: &[Feed<'_>],
        wanted: &[(&str, Form)],
        watch: &Watch,
        read: &mut Read<'_>,
    ) -> Result<(), EngineError> {
        let role = self.role;
        let on_device = bound::lock(&self.sessions).place.queue().is_some();
        let options = options_of(watch, on_device);
        if watch.is_stopped() {
            return Err(EngineError::Interrupted);
        }
        self.run_bound(feeds, wanted, (options, watch), read)
            .map_err(|reason| match watch.is_stopped() {
                true => EngineError::Interrupted,
                false => trouble::of_run(role, &reason),
            })
    }
}

impl OrtGraph {
    fn run_bound(
        &mut self,
        feeds: &[Feed<'_>],
        wanted: &[(&str, Form)],
        (options, watch): (Option<&RunOptions>, &Watch),
        read: &mut Read<'_>,
    ) -> Result<(), String> {
        let mut sessions = bound::lock(&self.sessions);
        let known = self.bound.iter().find(|bound| bound.fits(feeds, wanted));
        let records = known.is_some_and(Bound::records_next);
        let queue = sessions.place.queue_handle();
        let _turn = queue.as_ref().map(|queue| queue.turn(records));
        self.runs += 1;
        let mut run = Run {
            bound: &mut self.bound,
            sessions: &mut sessions,
            number: self.runs,
            options,
            watch,
        };
        let began = Instant::now();
        let ran = run.until_seen(feeds, wanted, queue.as_deref());
        if let (Err(_), Some(queue)) = (&ran, &queue) {
            // What was set going still reads and writes our memory. If even this fails, nothing runs any more.
            let _ = queue.wait();
        }
        if queue.is_some() {
            watch.add(began.elapsed());
        }
        self.bound[ran?].show(read)
    }
}

/// One run of a graph.
struct Run<'r> {
    bound: &'r mut Vec<Bound>,
    sessions: &'r mut Sessions,
    number: u64,
    options: Option<&'r RunOptions>,
    watch: &'r Watch,
}

impl Run<'_> {
    /// Runs and gets the outputs to where the host sees them; says which of the bounds has them.
    fn until_seen(
        &mut self,
        feeds: &[Feed<'_>],
        wanted: &[(&str, Form)],
        queue: Option<&Queue>,
    ) -> Result<usize, String> {
        let (at, has_run) = self.bind(feeds, wanted)?;
        let bound = &mut self.bound[at];
        bound.used = self.number;
        if !has_run {
            bound.write(feeds, 0)?;
            bound.run(self.sessions, self.options, self.watch)?;
        }
        bound.fetch(queue)?;
        Ok(at)
    }

    /// The tensors for these shapes; true if they are new, and have been run already.
    fn bind(
        &mut self,
        feeds: &[Feed<'_>],
        wanted: &[(&str, Form)],
    ) -> Result<(usize, bool), String> {
        let mut all = self.bound.iter();
        if let Some(at) = all.position(|bound| bound.fits(feeds, wanted)) {
            return Ok((at, false));
        }
        if self.bound.len() == MOST_BOUND {
            let used = |(_, bound): &(usize, &Bound)| bound.used;
            let oldest = self.bound.iter().enumerate().min_by_key(used);
            let oldest = oldest.map_or(0, |(at, _)| at);
            self.bound.swap_remove(oldest);
        }
        let new = Bound::new(self.sessions, feeds, wanted)?;
        self.bound.push(new);
        Ok((self.bound.len() - 1, true))
    }
}

/// A weight to open a graph with.
pub(super) fn weight(weight: &NewWeight) -> ::ort::Result<DynValue> {
    let shape = weight.shape.clone();
    if weight.half {
        let values: Vec<f16> = weight.values.iter().map(|v| f16::from_f32(*v)).collect();
        Ok(OrtTensor::from_array((shape, values))?.into_dyn())
    } else {
        Ok(OrtTensor::from_array((shape, weight.values.clone()))?.into_dyn())
    }
}

/// What an input or output holds.
pub(super) fn element_of(outlet: &Outlet) -> Element {
    port(outlet).element
}

fn port(outlet: &Outlet) -> Port {
    let (element, shape) = match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => (
            element(*ty),
            shape
                .iter()
                .map(|side| usize::try_from(*side).ok())
                .collect(),
        ),
        _ => (Element::Other, Vec::new()),
    };
    Port {
        name: outlet.name().to_string(),
        element,
        shape,
    }
}

fn element(ty: TensorElementType) -> Element {
    match ty {
        TensorElementType::Float32 => Element::F32,
        TensorElementType::Float16 => Element::F16,
        TensorElementType::Int32 => Element::I32,
        TensorElementType::Int64 => Element::I64,
        _ => Element::Other,
    }
}
