//! What is set going for a frame: its picture in, rounds, its picture out.

use std::sync::Arc;

use ::ort::session::RunOptions;
use ::ort::value::TensorElementType;

use super::super::bound::{self, Bound, Failure, lock};
use super::super::graph::options_of;
use super::super::slot::Slot;
use super::super::trouble;
use super::clock::Stage;
use super::{Arrival, Landing, Layout, Resident, Round};
use crate::backend::{Feed, Form, Values};
use crate::error::EngineError;
use crate::onnx::latents::Calls;
use crate::watch::Watch;

impl Resident {
    /// Encodes a picture, `[H, W, 3]`, at a place of the first group.
    pub(crate) fn enter_picture(
        &mut self,
        place: usize,
        picture: &[u8],
        watch: &Watch,
    ) -> Result<(), EngineError> {
        let options = begin(watch, self.queue.is_some())?;
        let Arrival::Picture(encoder) = &mut self.arrivals[place] else {
            return Err(trouble::of_run("latents", "a picture where noise enters"));
        };
        let (width, height) = (self.design.size.0 as usize, self.design.size.1 as usize);
        let shape = [1, 3, height, width];
        let feed = Feed::new(&self.parts.encoder_names.0, &shape, Values::Bytes(picture));
        let mut sessions = lock(&self.parts.encoder);
        let _turn = (self.queue.as_ref()).map(|queue| queue.turn(encoder.records_next()));
        let ran = self.clock.time(Stage::Encode, || {
            encoder.write(&[feed], 0)?;
            encoder.run(&mut sessions, options, watch)
        });
        ran.map_err(|reason| failed("vae_encoder", &reason, watch))
    }

    /// Lets a latent in that is noise already, `[C, h, w]`.
    pub(crate) fn enter_sample(&mut self, place: usize, sample: &[f32]) -> Result<(), EngineError> {
        let _turn = self.queue.as_ref().map(|queue| queue.turn(false));
        let written = self.arrivals[place].slot().write(Values::Real(sample), 0);
        written.map_err(|reason| trouble::of_run("latents", &reason))
    }

    /// How a round with so many rows about the negative prompt calls the network.
    pub(crate) fn calls(&self, negative: usize) -> (usize, usize) {
        let all = negative + self.design.sizes.rows();
        let rows = match self.parts.fixed_rows {
            true => self.parts.most_rows,
            false => all.min(self.parts.most_rows),
        };
        (all.div_ceil(rows), rows)
    }

    /// Whether the network still holds what it was fed under this stamp.
    pub(crate) fn is_fed(&self, negative: usize, stamp: u64) -> bool {
        let known = self.layouts.iter();
        let mut known = known.filter(|layout| layout.calls.negative == negative);
        known
            .next()
            .is_some_and(|layout| stamp != 0 && layout.stamp == stamp)
    }

    /// Feeds call `call` of a round with so many rows about the negative prompt; calls in their order.
    ///
    /// - `feeds`: sample and timestep, which only say their shapes, and everything else.
    pub(crate) fn feed(
        &mut self,
        (negative, call): (usize, usize),
        feeds: &[Feed<'_>],
        stamp: u64,
    ) -> Result<(), EngineError> {
        let queue = self.queue.clone();
        let _turn = queue.as_ref().map(|queue| queue.turn(false));
        let fed = self.feed_in_turn((negative, call), feeds, stamp);
        fed.map_err(|reason| trouble::of_run("unet", &reason))
    }

    fn feed_in_turn(
        &mut self,
        (negative, call): (usize, usize),
        feeds: &[Feed<'_>],
        stamp: u64,
    ) -> Result<(), Failure> {
        let known = self.layouts.iter();
        let known = known.map(|layout| layout.calls.negative);
        let at = known.enumerate().find(|(_, known)| *known == negative);
        let at = match at {
            Some((at, _)) => at,
            None => {
                let (count, rows) = self.calls(negative);
                let half = (false, false);
                self.layouts.push(Layout {
                    calls: Calls {
                        negative,
                        count,
                        rows,
                        half,
                    },
                    bounds: Vec::new(),
                    stamp: 0,
                });
                self.layouts.len() - 1
            }
        };
        let layout = &mut self.layouts[at];
        layout.stamp = 0;
        if let Some(bound) = layout.bounds.get_mut(call) {
            bound.write(feeds, 2)?;
        } else {
            let wanted = [(self.parts.predicted.as_str(), Form::Real)];
            let mut sessions = lock(&self.parts.network);
            let mut bound = Bound::new(&mut sessions, feeds, &wanted)?;
            let expected = self.design.sizes.shape(layout.calls.rows);
            let given = bound.output().shape();
            if given != expected {
                return Err(format!(
                    "it gave a tensor of {given:?}, expected {expected:?}"
                ));
            }
            let half = |slot: &Slot| slot.kind() == TensorElementType::Float16;
            layout.calls.half = (half(bound.input(0)), half(bound.output()));
            layout.bounds.push(bound);
        }
        if call + 1 == layout.calls.count {
            layout.stamp = stamp;
            #[cfg(test)]
            {
                self.fed += 1;
            }
        }
        Ok(())
    }

    /// Takes everybody a step further; what leaves is drawn by [`Resident::draw`] before the next one.
    ///
    /// After an error everything carried is as it was.
    pub(crate) fn round(&mut self, round: &Round<'_>, watch: &Watch) -> Result<(), EngineError> {
        let options = begin(watch, self.queue.is_some())?;
        let queue = self.queue.clone();
        let at = {
            let _turn = queue.as_ref().map(|queue| queue.turn(false));
            let made = self.made_for(round);
            made.map_err(|reason| trouble::of_run("latents", &reason))?
        };
        let network = Arc::clone(&self.parts.network);
        let mut sessions = lock(&network);
        let records = |layout: &Layout| layout.bounds.iter().any(Bound::records_next);
        let records = records(&self.layouts[self.made[at].layout]);
        let _turn = queue.as_ref().map(|queue| queue.turn(records));
        let ours = |reason: Failure| failed("latents", &reason, watch);
        self.tell(at, round).map_err(ours)?;
        let Self {
            made,
            layouts,
            sessions: small,
            clock,
            ..
        } = self;
        let made = &made[at];
        clock.begin().map_err(ours)?;
        small[made.enter]
            .run(&made.entering, options)
            .map_err(ours)?;
        for bound in &mut layouts[made.layout].bounds {
            let ran = bound.run(&mut sessions, options, watch);
            ran.map_err(|reason| failed("unet", &reason, watch))?;
        }
        small[made.step]
            .run(&made.stepping, options)
            .map_err(ours)?;
        clock.end(Stage::Denoise).map_err(ours)?;
        self.has_stock = made.way.has_stock();
        self.direct = made.direct;
        Ok(())
    }

    /// Writes the numbers of a round that are not there already.
    fn tell(&mut self, at: usize, round: &Round<'_>) -> Result<(), Failure> {
        let made = &mut self.made[at];
        made.times
            .tell(round.timesteps, self.design.sizes.rows() + round.negative)?;
        made.weights.tell(round.weights, round.weights.len())?;
        if self.told.0 != round.shares {
            self.told.0.clear();
            self.shares.write(Values::Real(round.shares), 0)?;
            self.told.0.extend_from_slice(round.shares);
        }
        if made.way.has_stock() && !self.has_stock && self.design.sizes.groups > 1 {
            // Guidance begins in mid-flight: residual noise is the noise that was added.
            self.carried_stock.follow(&self.next[0])?;
        }
        Ok(())
    }

    /// Draws the clean latent at a place of the group that left last.
    ///
    /// - `share`: of the latent before, if clean ones are mixed.
    pub(crate) fn draw(
        &mut self,
        place: usize,
        share: f32,
        watch: &Watch,
    ) -> Result<Landing, EngineError> {
        let options = begin(watch, self.queue.is_some())?;
        let queue = self.queue.clone();
        let decoder = Arc::clone(&self.parts.decoder);
        let mut sessions = lock(&decoder);
        let records = self.decoder.records_next();
        let _turn = queue.as_ref().map(|queue| queue.turn(records));
        let drawn = self.draw_in_turn((place, share), &mut sessions, (options, watch));
        drawn.map_err(|reason| failed("vae_decoder", &reason, watch))
    }

    pub(super) fn new_landing(&self) -> Result<Landing, Failure> {
        let (bytes, fault) = self.decoder.picture().ok_or("it gives no bytes")?;
        Landing::new(bytes, fault, self.queue.clone())
    }

    fn draw_in_turn(
        &mut self,
        (place, share): (usize, f32),
        sessions: &mut bound::Sessions,
        (options, watch): (Option<&RunOptions>, &Watch),
    ) -> Result<Landing, Failure> {
        let mut landing = match self.spare.pop() {
            Some(landing) => landing,
            None => self.new_landing()?,
        };
        self.clock.begin()?;
        if self.direct {
            self.has_before = false;
        } else {
            let mixed = share > 0.0 && self.has_before;
            if mixed && self.told.1 != share {
                self.mix.write(Values::Real(&[1.0 - share, share]), 0)?;
                self.told.1 = share;
            }
            let at = place + usize::from(mixed) * self.design.sizes.buffer;
            let (session, binding) = &self.finishing[at];
            self.sessions[*session].run(binding, options)?;
            self.before.follow(&self.after)?;
            self.has_before = share > 0.0;
        }
        self.decoder.run(sessions, options, watch)?;
        self.clock.end(Stage::Decode)?;
        #[cfg(test)]
        landing.keep_latent(self.decoder.input(0), self.parts.scaling);
        let (bytes, fault) = self.decoder.picture().ok_or("it gives no bytes")?;
        landing.take_off(bytes, fault, &mut self.clock)?;
        Ok(landing)
    }
}

/// What runs under `watch` are stopped by, unless they shall not begin.
fn begin(watch: &Watch, on_device: bool) -> Result<Option<&RunOptions>, EngineError> {
    let options = options_of(watch, on_device);
    match watch.is_stopped() {
        true => Err(EngineError::Interrupted),
        false => Ok(options),
    }
}

fn failed(role: &'static str, reason: &str, watch: &Watch) -> EngineError {
    match watch.is_stopped() {
        true => EngineError::Interrupted,
        false => trouble::of_run(role, reason),
    }
}
