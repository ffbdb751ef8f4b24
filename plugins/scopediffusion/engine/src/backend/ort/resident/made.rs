//! Small graphs, opened and bound as a round needs them.

use ::ort::session::{IoBinding, RunOptions, Session};
use ::ort::value::TensorElementType;

use super::super::bound::{Failure, execute, text};
use super::super::slot::{Place, Slot};
use super::{Resident, Round};
use crate::backend::Values;
use crate::guidance::CfgType;
use crate::onnx::latents::{self, Arrivals, Leaving, Times, Way};

/// A small graph, open.
#[derive(Debug)]
pub(super) struct Small {
    content: Vec<u8>,
    session: Session,
}

impl Small {
    pub(super) fn run(
        &mut self,
        binding: &IoBinding,
        options: Option<&RunOptions>,
    ) -> Result<(), Failure> {
        execute(&mut self.session, binding, options)
    }
}

/// Numbers that graphs read, written only when they change.
#[derive(Debug)]
pub(super) struct Numbers {
    slot: Slot,
    told: Vec<f32>,
    /// What the slot gets, if that is more.
    filled: Vec<f32>,
}

impl Numbers {
    fn new(place: &Place, shape: &[usize]) -> Result<Self, Failure> {
        let count = shape.iter().product();
        Ok(Self {
            slot: Slot::new(place, TensorElementType::Float32, shape)?,
            told: Vec::with_capacity(count),
            filled: Vec::with_capacity(count),
        })
    }

    /// - `values`: for `of` rows; if there are more places, the last one fills them up; if fewer, they
    ///   are for calls, whose rows have the same.
    pub(super) fn tell(&mut self, values: &[f32], of: usize) -> Result<(), Failure> {
        if self.told == values {
            return Ok(());
        }
        self.told.clear();
        let places: usize = self.slot.shape().iter().product();
        let each = if places < of { of.div_ceil(places) } else { 1 };
        self.filled.clear();
        let last = values.last().copied().unwrap_or(0.0);
        let at = |place: usize| values.get(place * each).copied().unwrap_or(last);
        self.filled.extend((0..places).map(at));
        self.slot.write(Values::Real(&self.filled), 0)?;
        self.told.extend_from_slice(values);
        Ok(())
    }
}

/// The graphs of one kind of round.
#[derive(Debug)]
pub(super) struct Made {
    /// What it was made for.
    key: (CfgType, usize, usize, bool),
    pub(super) way: Way,
    pub(super) layout: usize,
    /// Whether the step leaves a latent for the decoder.
    pub(super) direct: bool,
    /// Sessions by number, and their tensors.
    pub(super) enter: usize,
    pub(super) entering: IoBinding,
    pub(super) step: usize,
    pub(super) stepping: IoBinding,
    pub(super) times: Numbers,
    pub(super) weights: Numbers,
}

impl Resident {
    /// The graphs of a round, opened if need be.
    pub(super) fn made_for(&mut self, round: &Round<'_>) -> Result<usize, Failure> {
        let feedback = round.feedback || self.design.sizes.buffer > 1;
        let key = (round.way, round.negative, round.step, feedback);
        if let Some(at) = self.made.iter().position(|made| made.key == key) {
            return Ok(at);
        }
        let made = self.make(key)?;
        self.made.push(made);
        Ok(self.made.len() - 1)
    }

    fn make(&mut self, key: (CfgType, usize, usize, bool)) -> Result<Made, Failure> {
        let (kind, negative, step, feedback) = key;
        let sizes = self.design.sizes;
        let mut layouts = self.layouts.iter();
        let layout = layouts.position(|layout| layout.calls.negative == negative);
        let layout = layout.ok_or("the network was not fed")?;
        let calls = self.layouts[layout].calls;
        let way = match kind {
            CfgType::None => Way::Plain,
            CfgType::Full => Way::Full,
            CfgType::Initialize if negative > 0 => Way::Initialize,
            CfgType::SelfNegative | CfgType::Initialize => Way::Stock,
        };
        let enter = self.open_enter(step == 0, way, layout)?;
        let half = |slot: &Slot| slot.kind() == TensorElementType::Float16;
        let leaving = match feedback {
            true => Leaving::Clean,
            false => Leaving::Latent {
                half: half(self.decoder.input(0)),
                scale: 1.0 / self.parts.scaling,
            },
        };
        let more = self.design.steps > 1;
        let step_graph = latents::step(sizes, way, calls, more, leaving);
        let step_session = self.open(step_graph)?;
        let rows = sizes.rows();
        let times = match self.parts.each_row {
            true => calls.count * calls.rows,
            false => calls.count,
        };
        let times = Numbers::new(&self.place, &[times])?;
        let weights = Numbers::new(&self.place, &[way.numbers().len() * rows, 1, 1, 1])?;
        let entering = self.bind_enter(enter, step == 0, way, (layout, &times))?;
        let stepping = self.bind_step(step_session, step, (way, layout), (&weights, feedback))?;
        Ok(Made {
            key,
            way,
            layout,
            direct: !feedback,
            enter,
            entering,
            step: step_session,
            stepping,
            times,
            weights,
        })
    }

    fn open_enter(&mut self, first: bool, way: Way, layout: usize) -> Result<usize, Failure> {
        let sizes = self.design.sizes;
        let arrived = self.arrivals[0].slot();
        let arrivals = Arrivals {
            half: arrived.kind() == TensorElementType::Float16,
            channels: arrived.shape()[1],
        };
        let layout = &mut self.layouts[layout];
        let kind = layout.bounds[0].input(1).kind();
        let times = Times {
            kind: data_type(kind)?,
            each_row: self.parts.each_row,
            scalar: self.parts.scalar,
        };
        let arrivals = first.then_some(arrivals);
        let graph = latents::enter(sizes, arrivals, way.has_stock(), layout.calls, times);
        self.open(graph)
    }

    fn bind_enter(
        &mut self,
        session: usize,
        first: bool,
        way: Way,
        (layout, times): (usize, &Numbers),
    ) -> Result<IoBinding, Failure> {
        let sizes = self.design.sizes;
        let mut binding = self.sessions[session]
            .session
            .create_binding()
            .map_err(text)?;
        let mut input =
            |name: &str, slot: &Slot| binding.bind_input(name, slot.tensor()).map_err(text);
        input(latents::TIMES, &times.slot)?;
        if first {
            for (place, arrival) in self.arrivals.iter_mut().enumerate() {
                input(&latents::arrival(place), arrival.slot())?;
            }
            input(latents::SHARES, &self.shares)?;
            input(latents::NOISE, &self.noise)?;
        }
        if !first || sizes.groups > 1 {
            input(latents::CARRIED, &self.carried)?;
            if way.has_stock() {
                input(latents::CARRIED_STOCK, &self.carried_stock)?;
            }
        }
        let mut output = |name: &str, slot: &mut Slot| {
            binding.bind_output(name, slot.tensor_mut()).map_err(text)
        };
        output(latents::ROWS, &mut self.rows)?;
        if way.has_stock() {
            output(latents::STOCK, &mut self.stock)?;
        }
        for (call, bound) in self.layouts[layout].bounds.iter_mut().enumerate() {
            output(&latents::sample(call), bound.input(0))?;
            output(&latents::timestep(call), bound.input(1))?;
        }
        Ok(binding)
    }

    fn bind_step(
        &mut self,
        session: usize,
        step: usize,
        (way, layout): (Way, usize),
        (weights, feedback): (&Numbers, bool),
    ) -> Result<IoBinding, Failure> {
        let sizes = self.design.sizes;
        let mut binding = self.sessions[session]
            .session
            .create_binding()
            .map_err(text)?;
        let mut input =
            |name: &str, slot: &Slot| binding.bind_input(name, slot.tensor()).map_err(text);
        input(latents::ROWS, &self.rows)?;
        input(latents::WEIGHTS, &weights.slot)?;
        for (call, bound) in self.layouts[layout].bounds.iter_mut().enumerate() {
            input(&latents::predicted(call), bound.output())?;
        }
        if way == Way::Stock || (way == Way::Initialize && sizes.groups > 1) {
            input(latents::STOCK, &self.stock)?;
        }
        let more = self.design.steps > 1;
        if more {
            // After its last step a row goes nowhere, and any noise will do.
            let next = self.next.get(step).or(self.next.last());
            input(latents::NEXT, next.ok_or("there is no next step")?)?;
        }
        let mut output = |name: &str, slot: &mut Slot| {
            binding.bind_output(name, slot.tensor_mut()).map_err(text)
        };
        if more {
            output(latents::CARRIED, &mut self.carried)?;
            if way.has_stock() {
                output(latents::CARRIED_STOCK, &mut self.carried_stock)?;
            }
        }
        if !feedback {
            output(latents::LATENT, self.decoder.input(0))?;
            return Ok(binding);
        }
        for (place, clean) in self.clean.iter_mut().enumerate() {
            output(&latents::clean(place), clean)?;
        }
        Ok(binding)
    }

    /// Opens and binds the graphs between clean latents and the decoder.
    pub(super) fn prepare_to_finish(&mut self) -> Result<(), Failure> {
        let sizes = self.design.sizes;
        let half = self.decoder.input(0).kind() == TensorElementType::Float16;
        for mixed in [false, true] {
            let graph = latents::finish(sizes, mixed, half, 1.0 / self.parts.scaling);
            let session = self.open(graph)?;
            for place in 0..sizes.buffer {
                let binding = self.sessions[session].session.create_binding();
                let mut binding = binding.map_err(text)?;
                let mut input =
                    |name: &str, slot: &Slot| binding.bind_input(name, slot.tensor()).map_err(text);
                input(latents::CLEAN, &self.clean[place])?;
                if mixed {
                    input(latents::BEFORE, &self.before)?;
                    input(latents::MIX, &self.mix)?;
                }
                let mut output = |name: &str, slot: &mut Slot| {
                    binding.bind_output(name, slot.tensor_mut()).map_err(text)
                };
                output(latents::AFTER, &mut self.after)?;
                output(latents::LATENT, self.decoder.input(0))?;
                self.finishing.push((session, binding));
            }
        }
        Ok(())
    }

    /// The number of a session, opened unless it is.
    fn open(&mut self, content: Vec<u8>) -> Result<usize, Failure> {
        let mut known = self.sessions.iter();
        if let Some(at) = known.position(|small| small.content == content) {
            return Ok(at);
        }
        let session = self.parts.workshop.open(&content)?;
        self.sessions.push(Small { content, session });
        Ok(self.sessions.len() - 1)
    }
}

/// `TensorProto.DataType` of a timestep.
fn data_type(kind: TensorElementType) -> Result<u64, Failure> {
    match kind {
        TensorElementType::Float32 => Ok(1),
        TensorElementType::Int32 => Ok(6),
        TensorElementType::Int64 => Ok(7),
        TensorElementType::Float16 => Ok(10),
        kind => Err(format!("a timestep of an unexpected type ({kind:?})")),
    }
}
