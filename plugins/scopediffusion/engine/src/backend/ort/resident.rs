//! A stream's latents where the graphs compute: nothing but pictures crosses over.
//!
//! ```text
//!  bytes ─► [picture] ─► encoder ─► [enter] ─► network ─► [step] ─► decoder ─► [picture] ─► bytes
//! ```
//!
//! The graphs in brackets are ours. Each tensor between two graphs is bound to both, once; every
//! graph is set going without waiting for the one before, in the order of the device's stream, and
//! the host waits once, for a picture. On the CPU the same graphs run one after another.

mod clock;
mod landing;
mod made;
mod run;

use std::sync::Arc;

use ::ort::session::IoBinding;
use ::ort::value::TensorElementType;

use self::clock::Clock;
pub(crate) use self::landing::Landing;
use self::made::{Made, Small};
use super::bound::{self, Bound, Failure, Handle, lock};
use super::queue::Queue;
use super::slot::{Place, Shore, Slot};
use super::trouble;
use super::workshop::Workshop;
use crate::backend::{Feed, Form, Values};
use crate::error::EngineError;
use crate::guidance::CfgType;
use crate::onnx::latents::{Calls, Sizes};

/// The graphs of a model, and what has been found out about them.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    pub(crate) workshop: Workshop,
    pub(crate) encoder: Handle,
    pub(crate) network: Handle,
    pub(crate) decoder: Handle,
    /// Names of their inputs and outputs; of the network the output.
    pub(crate) encoder_names: (String, String),
    pub(crate) decoder_names: (String, String),
    pub(crate) predicted: String,
    /// Whether a call of the network has a timestep for each row, and if not, whether without an axis.
    pub(crate) each_row: bool,
    pub(crate) scalar: bool,
    /// Rows that a call can have, and whether it must have as many.
    pub(crate) most_rows: usize,
    pub(crate) fixed_rows: bool,
    /// What latents are multiplied with behind the encoder and divided by before the decoder.
    pub(crate) scaling: f32,
}

/// What a stream is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Design {
    pub(crate) sizes: Sizes,
    /// Steps of a frame, S: rounds that it takes.
    pub(crate) steps: usize,
    /// Frames come as latents, not as pictures.
    pub(crate) text: bool,
    /// Width and height of pictures, pixels.
    pub(crate) size: (u32, u32),
}

/// One round: a call of the network, and everybody a step further.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round<'a> {
    /// Which step of a frame it is in sequential mode; 0 in the stream batch.
    pub(crate) step: usize,
    pub(crate) way: CfgType,
    /// Rows about the negative prompt.
    pub(crate) negative: usize,
    /// Whether clean latents are mixed with those before them.
    pub(crate) feedback: bool,
    /// For each place its share of picture, then for each its share of noise.
    pub(crate) shares: &'a [f32],
    /// As [`crate::weights::lay_out`] lays them out.
    pub(crate) weights: &'a [f32],
    /// Of the rows about the negative prompt, then of the others.
    pub(crate) timesteps: &'a [f32],
}

/// What is in flight, on its way to another loading of the model.
#[derive(Debug)]
pub(crate) struct State {
    kept: Vec<Shore>,
    stock: bool,
    before: bool,
    /// Copies are under way to `kept` until this has been waited for.
    queue: Option<Arc<Queue>>,
}

/// What comes in at a place.
#[derive(Debug)]
enum Arrival {
    Picture(Box<Bound>),
    Sample(Slot),
}

impl Arrival {
    fn slot(&mut self) -> &mut Slot {
        match self {
            Self::Picture(bound) => bound.output(),
            Self::Sample(slot) => slot,
        }
    }
}

/// The network with tensors for a number of rows about the negative prompt.
#[derive(Debug)]
struct Layout {
    calls: Calls,
    bounds: Vec<Bound>,
    /// What it was fed last.
    stamp: u64,
}

/// Latents of one stream, on the provider of its model.
#[derive(Debug)]
pub(crate) struct Resident {
    parts: Parts,
    design: Design,
    layouts: Vec<Layout>,
    sessions: Vec<Small>,
    made: Vec<Made>,
    arrivals: Vec<Arrival>,
    decoder: Bound,
    /// Finishing graphs: plain ones by place, then mixed ones by place.
    finishing: Vec<(usize, IoBinding)>,
    noise: Slot,
    next: Vec<Slot>,
    shares: Slot,
    mix: Slot,
    rows: Slot,
    stock: Slot,
    carried: Slot,
    carried_stock: Slot,
    clean: Vec<Slot>,
    before: Slot,
    after: Slot,
    /// What `shares` and `mix` hold.
    told: (Vec<f32>, f32),
    /// Whether `carried_stock` belongs to `carried`, and `before` to the picture before.
    has_stock: bool,
    has_before: bool,
    /// Whether the last round has left its clean latent where the decoder takes it.
    direct: bool,
    clock: Clock,
    spare: Vec<Landing>,
    #[cfg(test)]
    pub(crate) fed: u64,
    place: Place,
    /// Last, so that the device's stream outlives everything that used it.
    queue: Option<Arc<Queue>>,
}

impl Drop for Resident {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            // What was set going reads and writes our memory. An error has nobody to be told.
            let _ = queue.wait();
        }
    }
}

impl Resident {
    /// Tensors for a stream, all zero, and everything bound that does not depend on guidance.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if there is no memory for them or a graph does not run.
    pub(crate) fn new(parts: &Parts, design: Design) -> Result<Self, EngineError> {
        let queue = parts.workshop.queue();
        let _turn = queue.as_ref().map(|queue| queue.turn(false));
        let made = Self::lay_out(parts, design);
        made.map_err(|(role, reason)| trouble::of_run(role, &reason))
    }

    fn lay_out(parts: &Parts, design: Design) -> Result<Self, (&'static str, Failure)> {
        const FLOAT: TensorElementType = TensorElementType::Float32;
        let queue = parts.workshop.queue();
        let (sizes, steps) = (design.sizes, design.steps);
        let ours = |reason| ("latents", reason);
        let place = Place::of(&lock(&parts.network).main, queue.clone());
        let place = place.map_err(bound::text).map_err(ours)?;
        let hidden = |rows| Slot::hidden(&place, FLOAT, &sizes.shape(rows)).map_err(ours);
        let seen = |shape: &[usize]| Slot::new(&place, FLOAT, shape).map_err(ours);
        let (rows, places) = (sizes.rows(), sizes.buffer);
        let one = sizes.shape(1);
        let mut arrivals = Vec::with_capacity(places);
        for _ in 0..places {
            arrivals.push(match design.text {
                true => Arrival::Sample(seen(&one)?),
                false => {
                    let bound = Self::bind_encoder(parts, design);
                    let bound = bound.map_err(|reason| ("vae_encoder", reason))?;
                    Arrival::Picture(Box::new(bound))
                }
            });
        }
        let decoder =
            Self::bind_decoder(parts, design).map_err(|reason| ("vae_decoder", reason))?;
        // The last round needs no noise for a next step.
        let rounds = if sizes.groups > 1 { 1 } else { steps - 1 };
        let next = (0..rounds).map(|_| seen(&sizes.shape(rows)));
        let mut resident = Self {
            parts: parts.clone(),
            design,
            layouts: Vec::new(),
            sessions: Vec::new(),
            made: Vec::new(),
            arrivals,
            decoder,
            finishing: Vec::new(),
            noise: seen(&sizes.shape(places))?,
            next: next.collect::<Result<_, _>>()?,
            shares: seen(&[2 * places, 1, 1, 1])?,
            mix: seen(&[2, 1, 1, 1])?,
            rows: hidden(rows)?,
            stock: hidden(rows)?,
            carried: hidden(rows)?,
            carried_stock: hidden(rows)?,
            clean: (0..places).map(|_| hidden(1)).collect::<Result<_, _>>()?,
            before: hidden(1)?,
            after: hidden(1)?,
            told: (Vec::new(), f32::NAN),
            has_stock: false,
            has_before: false,
            direct: false,
            clock: Clock::new(queue.clone()).map_err(ours)?,
            spare: Vec::with_capacity(2 * places),
            #[cfg(test)]
            fed: 0,
            place,
            queue,
        };
        resident.prepare_to_finish().map_err(ours)?;
        // Those of a group on their way, and those of the group before it, not looked at yet.
        for _ in 0..2 * places {
            let landing = resident.new_landing().map_err(ours)?;
            resident.spare.push(landing);
        }
        Ok(resident)
    }

    fn bind_encoder(parts: &Parts, design: Design) -> Result<Bound, Failure> {
        let (width, height) = (design.size.0 as usize, design.size.1 as usize);
        let grey = vec![127; 3 * width * height];
        let (input, output) = &parts.encoder_names;
        let shape = [1, 3, height, width];
        let feed = Feed::new(input, &shape, Values::Bytes(&grey));
        let mut sessions = lock(&parts.encoder);
        let mut bound = Bound::new(&mut sessions, &[feed], &[(output, Form::Real)])?;
        let [channels, h, w] = design.sizes.latent;
        match bound.output().shape() {
            [1, given, rows, columns]
                if [channels, 2 * channels].contains(given) && (*rows, *columns) == (h, w) =>
            {
                Ok(bound)
            }
            shape => Err(format!(
                "it gave a tensor of {shape:?}, expected [1, {channels}, {h}, {w}]"
            )),
        }
    }

    fn bind_decoder(parts: &Parts, design: Design) -> Result<Bound, Failure> {
        let shape = design.sizes.shape(1);
        let zeros = vec![0.0; shape.iter().product()];
        let (input, output) = &parts.decoder_names;
        let feed = Feed::new(input, &shape, Values::Real(&zeros));
        let mut sessions = lock(&parts.decoder);
        let mut bound = Bound::new(&mut sessions, &[feed], &[(output, Form::Bytes)])?;
        let (width, height) = (design.size.0 as usize, design.size.1 as usize);
        let given = bound.output().shape();
        if given != [1, 3, height, width] {
            return Err(format!(
                "it gave a tensor of {given:?}, expected [1, 3, {height}, {width}]"
            ));
        }
        match bound.picture() {
            Some(_) => Ok(bound),
            None => Err("it has no graph that makes bytes of its pictures".into()),
        }
    }

    /// What latents are multiplied with behind the encoder.
    pub(crate) fn scaling(&self) -> f32 {
        self.parts.scaling
    }

    /// Sets the noise of every row, `[S·FB, C, h, w]`.
    pub(crate) fn set_noise(&mut self, noise: &[f32]) -> Result<(), EngineError> {
        let _turn = self.queue.as_ref().map(|queue| queue.turn(false));
        let group = noise.len() / self.design.steps;
        let mut write = || {
            if self.design.sizes.groups > 1 && !self.has_stock {
                // What is in flight keeps the noise that was added to it.
                self.carried_stock.follow(&self.next[0])?;
                self.has_stock = true;
            }
            self.noise.write(Values::Real(&noise[..group]), 0)?;
            if self.design.sizes.groups > 1 {
                // Rows of the last group go nowhere.
                let mut all = noise[group..].to_vec();
                all.resize(noise.len(), 0.0);
                return self.next[0].write(Values::Real(&all), 0);
            }
            let mut later = noise.chunks(group).skip(1);
            self.next.iter_mut().try_for_each(|next| {
                let noise = later.next().unwrap_or_default();
                next.write(Values::Real(noise), 0)
            })
        };
        write().map_err(|reason| trouble::of_run("latents", &reason))
    }

    /// Takes back what has been looked at.
    pub(crate) fn recycle(&mut self, landing: Landing) {
        // Those of an earlier loading of the model stay with its stream.
        if landing.is_of(self.queue.as_ref()) {
            self.spare.push(landing);
        }
    }

    /// Forgets the latent before, as if there had been none.
    pub(crate) fn forget_before(&mut self) {
        self.has_before = false;
    }

    /// Remembers the latent before that another stream has.
    pub(crate) fn remember(&mut self, other: &mut Self) -> Result<(), EngineError> {
        let (theirs, ours) = (other.queue.clone(), self.queue.clone());
        let mut remember = || {
            let mut shore = Shore::of(&other.before)?;
            {
                let _turn = theirs.as_ref().map(|queue| queue.turn(false));
                other.before.send(&mut shore)?;
                theirs.as_ref().map_or(Ok(()), |queue| queue.wait())?;
            }
            let _turn = ours.as_ref().map(|queue| queue.turn(false));
            self.before.put(&shore)?;
            // Before the memory that it comes from goes.
            ours.as_ref().map_or(Ok(()), |queue| queue.wait())
        };
        remember().map_err(|reason: Failure| trouble::of_run("latents", &reason))?;
        self.has_before = other.has_before;
        Ok(())
    }

    /// What is in flight, copied to the host.
    pub(crate) fn save(&mut self) -> Result<State, EngineError> {
        let queue = self.queue.clone();
        let _turn = queue.as_ref().map(|queue| queue.turn(false));
        let mut save = || {
            let mut state = State {
                kept: Vec::new(),
                stock: self.has_stock,
                before: self.has_before,
                queue: self.queue.clone(),
            };
            for slot in self.kept() {
                let mut shore = Shore::of(slot)?;
                slot.send(&mut shore)?;
                state.kept.push(shore);
            }
            match &state.queue {
                Some(queue) => queue.wait().map(|()| state),
                None => Ok(state),
            }
        };
        save().map_err(|reason: Failure| trouble::of_run("latents", &reason))
    }

    /// Goes on with what was in flight elsewhere.
    pub(crate) fn restore(&mut self, state: &State) -> Result<(), EngineError> {
        let queue = self.queue.clone();
        let _turn = queue.as_ref().map(|queue| queue.turn(false));
        let mut restore = || {
            for (slot, kept) in self.kept().into_iter().zip(&state.kept) {
                slot.put(kept)?;
            }
            queue.as_ref().map_or(Ok(()), |queue| queue.wait())
        };
        restore().map_err(|reason: Failure| trouble::of_run("latents", &reason))?;
        (self.has_stock, self.has_before) = (state.stock, state.before);
        Ok(())
    }

    /// Tensors that live from round to round.
    fn kept(&mut self) -> Vec<&mut Slot> {
        let mut kept: Vec<&mut Slot> = self.arrivals.iter_mut().map(Arrival::slot).collect();
        kept.extend([&mut self.carried, &mut self.carried_stock, &mut self.before]);
        kept
    }
}

#[cfg(test)]
impl Resident {
    /// The noisy latents of the last round, all rows.
    pub(crate) fn rows(&mut self) -> &[f32] {
        self.rows.read().expect("tests run on the CPU").1
    }
}
