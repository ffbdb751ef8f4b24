//! The stream batch: several frames at once, each one denoising step further than the next.
//!
//! Group `s` of the batch holds the frames that entered `s` rounds ago, noised to the `s`-th
//! timestep. One call of the network takes every group a step further; the last group leaves as
//! clean latents, the others move down one group with the next group's share of noise.
//!
//! ```text
//!   frame k ─► x_t ─► group 0 ─► group 1 ─► … ─► group S−1 ─► clean latent of frame k−(S−1)
//! ```
//!
//! A group holds one frame, or several that enter together (`frame_buffer`, FB): row
//! `r = step·FB + frame`.
//!
//! Sequential mode takes a group through all steps before the next one enters: S calls, no delay.
//! Both give the same latents, because the noise belongs to the row and never changes.
//!
//! Decision: groups that hold no frame are not run at all. The original runs them on zeros and
//! shows the rubbish; here the first frame after a start goes through all steps at once, so there
//! is a picture from the first frame on, and the batch fills behind it.
//!
//! Who is in flight, and how far, is the same wherever the latents are: here on the host
//! ([`host`]), or where the graphs compute ([`provider`]).
//!
//! Source: cumulo-autumn/StreamDiffusion, pipeline.py, `predict_x0_batch`.

mod host;
mod provider;

use crate::backend::Tensor;
use crate::backend::ort::{Landing, Resident, Round};
use crate::error::EngineError;
use crate::guidance::Guidance;
use crate::noise;
use crate::parameters::{Interpolation, WeightedSeed};
use crate::schedule::{Level, Prediction, Schedule};
use crate::watch::Watch;

/// One call of the network.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    /// Latents, `[N, C, h, w]`; zeros where they are with the graphs.
    pub(crate) sample: &'a [f32],
    /// Timesteps, `[N]`.
    pub(crate) timesteps: &'a [f32],
    /// How many rows, from the first on, are about the negative prompt.
    pub(crate) negative: usize,
}

/// Where a call takes its rows from and leaves what the network gave, `[N, C, h, w]`.
#[derive(Debug)]
pub(crate) enum Out<'a> {
    /// From the call, to here.
    Host(&'a mut Tensor),
    /// All of it is with the graphs.
    Provider(&'a mut Resident, &'a Round<'a>),
}

/// The network, seen from here.
pub(crate) type Denoise<'a> = dyn FnMut(&Call<'_>, Out<'_>) -> Result<(), EngineError> + 'a;

/// What a stream is made for; a change of it needs a new stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Stream batch, else sequential.
    pub(crate) batched: bool,
    /// Frames that enter together, FB, at least 1.
    pub(crate) frame_buffer: usize,
    /// Values of one latent, `C·h·w`.
    pub(crate) size: usize,
}

/// The frames in flight and everything that the step formulas need.
#[derive(Debug)]
pub(crate) struct Stream {
    levels: Vec<Level>,
    prediction: Prediction,
    shape: Shape,
    home: Home,
    /// Frames in each group.
    occupied: Vec<usize>,
    /// Nothing has been in flight since the start: the next frame goes through at once.
    fresh: bool,
    /// Add noise between the steps, `do_add_noise` of the original.
    pub(crate) add_noise: bool,
    pub(crate) guidance: Guidance,
}

/// Where the latents are.
#[derive(Debug)]
enum Home {
    Host(host::Latents),
    Provider(Box<provider::Latents>),
}

/// A round as everybody sees it.
#[derive(Debug, Clone, Copy)]
struct Now<'a> {
    levels: &'a [Level],
    prediction: Prediction,
    shape: Shape,
    occupied: &'a [usize],
    /// The furthest group that holds a frame.
    last: usize,
    add_noise: bool,
    guidance: Guidance,
}

impl Stream {
    /// An empty stream without noise: see [`Stream::set_seeds`].
    ///
    /// - `timesteps`: one for each step, falling, at least one.
    pub(crate) fn new(schedule: &Schedule, timesteps: &[u16], shape: Shape) -> Self {
        let steps = timesteps.len();
        let shape = Shape {
            batched: shape.batched && steps > 1,
            ..shape
        };
        Self {
            levels: timesteps.iter().map(|t| schedule.level(*t)).collect(),
            prediction: schedule.prediction,
            shape,
            home: Home::Host(host::Latents::new(steps, shape)),
            occupied: vec![0; steps],
            fresh: true,
            add_noise: true,
            guidance: Guidance::OFF,
        }
    }

    /// Moves the latents of a stream in which nothing is in flight to where the graphs compute.
    pub(crate) fn settle(&mut self, resident: Resident) {
        let latents = provider::Latents::new(resident, self.steps(), self.shape);
        self.home = Home::Provider(Box::new(latents));
    }

    /// Whether latents are where the graphs compute.
    pub(crate) fn is_on_provider(&self) -> bool {
        matches!(self.home, Home::Provider(_))
    }

    /// What its latents need to live there.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// Number of steps, `S`.
    pub(crate) fn steps(&self) -> usize {
        self.levels.len()
    }

    /// Most rows that a call of the network has, those for the negative prompt included.
    pub(crate) fn most_rows(&self) -> usize {
        2 * self.steps() * self.shape.frame_buffer
    }

    /// Frames between a frame's way in and its way out.
    pub(crate) fn delay(&self) -> usize {
        let groups = if self.shape.batched { self.steps() } else { 1 };
        groups * self.shape.frame_buffer - 1
    }

    /// Changes the first timesteps, as many as are given. Frames in flight go on from where they
    /// are.
    pub(crate) fn set_timesteps(&mut self, schedule: &Schedule, timesteps: &[u16]) {
        for (level, timestep) in self.levels.iter_mut().zip(timesteps) {
            *level = schedule.level(*timestep);
        }
    }

    /// Draws the noise of every row anew.
    pub(crate) fn set_seeds(
        &mut self,
        seeds: &[WeightedSeed],
        method: Interpolation,
    ) -> Result<(), EngineError> {
        let size = self.shape.size;
        let fill = |all: &mut [f32]| {
            for (row, noise) in all.chunks_mut(size).enumerate() {
                noise::fill_blended(noise, seeds, method, row as u64);
            }
        };
        match &mut self.home {
            Home::Host(latents) => fill(&mut latents.noise),
            Home::Provider(latents) => latents.set_noise(self.occupied[0], fill)?,
        }
        Ok(())
    }

    /// Forgets the frames in flight.
    pub(crate) fn clear(&mut self) {
        self.occupied.fill(0);
        self.fresh = true;
    }

    /// Number of frames in flight.
    pub(crate) fn occupied(&self) -> usize {
        self.occupied.iter().sum()
    }

    /// Whether a round is due: the first group has no room for another frame.
    pub(crate) fn is_full(&self) -> bool {
        self.occupied[0] >= self.shape.frame_buffer
    }

    /// Lets a clean latent in: noised to the first timestep, `x_t = a·z + b·n`. For latents on the host.
    pub(crate) fn enter(&mut self, latent: &[f32]) {
        let (place, level) = (self.next_place(), self.levels[0]);
        if let Home::Host(latents) = &mut self.home {
            latents.enter(place, &level, latent);
        }
        self.occupied[0] = place + 1;
    }

    /// Lets a picture in, `[H, W, 3]`, which is encoded on the way. For latents on the provider.
    pub(crate) fn enter_picture(
        &mut self,
        picture: &[u8],
        watch: &Watch,
    ) -> Result<(), EngineError> {
        let (place, level) = (self.next_place(), self.levels[0]);
        if let Home::Provider(latents) = &mut self.home {
            latents.enter_picture(place, &level, (picture, watch))?;
        }
        self.occupied[0] = place + 1;
        Ok(())
    }

    /// Lets a latent in that is noise already, written by `write`: text-to-video.
    pub(crate) fn enter_noise(
        &mut self,
        write: impl FnOnce(&mut [f32]),
    ) -> Result<(), EngineError> {
        let place = self.next_place();
        match &mut self.home {
            Home::Host(latents) => latents.enter_noise(place, write),
            Home::Provider(latents) => latents.enter_noise(place, write)?,
        }
        self.occupied[0] = place + 1;
        Ok(())
    }

    /// Takes every group a step further, or in sequential mode the first one through all steps.
    ///
    /// - `feedback`: whether clean latents will be mixed with those before them.
    ///
    /// Returns how many frames have left; [`Stream::clean`] or [`Stream::draw`] gives them then. After
    /// an error the frames that entered last are lost and the others stay where they are.
    pub(crate) fn advance(
        &mut self,
        feedback: bool,
        denoise: &mut Denoise<'_>,
    ) -> Result<usize, EngineError> {
        let alone = self.occupied[1..].iter().all(|frames| *frames == 0);
        let through = !self.shape.batched || (self.fresh && alone && self.shape.frame_buffer == 1);
        self.fresh = false;
        let mut left = self.round(feedback, denoise)?;
        while through && left == 0 && self.occupied() > 0 {
            let round = self.round(feedback, denoise);
            left = round.inspect_err(|_| self.occupied.fill(0))?;
        }
        if self.occupied() == 0 && !through {
            // Whoever comes next finds nothing in front of it: no reason to wait behind nobody.
            self.fresh = true;
        }
        Ok(left)
    }

    /// The clean latents `[C, h, w]` that left last, by place; empty where they are not on the host.
    pub(crate) fn clean(&self, place: usize) -> &[f32] {
        match &self.home {
            Home::Host(latents) => latents.clean(place),
            Home::Provider(_) => &[],
        }
    }

    /// Draws the clean latent that left last at a place, mixed with a share of the one before; `None`
    /// where latents are on the host. Before the next round.
    pub(crate) fn draw(
        &mut self,
        place: usize,
        share: f32,
        watch: &Watch,
    ) -> Option<Result<Landing, EngineError>> {
        match &mut self.home {
            Home::Host(_) => None,
            Home::Provider(latents) => Some(latents.resident.draw(place, share, watch)),
        }
    }

    /// Takes back a picture that was drawn here and has been looked at.
    pub(crate) fn recycle(&mut self, landing: Landing) {
        if let Home::Provider(latents) = &mut self.home {
            latents.resident.recycle(landing);
        }
    }

    /// Mixes the next clean latent with none before it. Who mixes on the host forgets by itself.
    pub(crate) fn forget_before(&mut self) {
        if let Home::Provider(latents) = &mut self.home {
            latents.resident.forget_before();
        }
    }

    /// Mixes the next clean latent with what another stream would have mixed it with.
    pub(crate) fn remember(&mut self, other: &mut Self) -> Result<(), EngineError> {
        match (&mut self.home, &mut other.home) {
            (Home::Provider(ours), Home::Provider(theirs)) => {
                ours.resident.remember(&mut theirs.resident)
            }
            _ => Ok(()),
        }
    }

    /// Does `work` with an empty stream, and then goes on as if nothing had been.
    pub(crate) fn aside<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let (occupied, fresh) = (self.occupied.clone(), self.fresh);
        let host = match &mut self.home {
            Home::Host(latents) => Ok(latents.clone()),
            Home::Provider(latents) => Err(latents.resident.save()?),
        };
        self.clear();
        let done = work(self);
        match (&mut self.home, host) {
            (Home::Host(latents), Ok(kept)) => *latents = kept,
            (Home::Provider(latents), Err(kept)) => latents.resident.restore(&kept)?,
            (Home::Host(_), Err(_)) | (Home::Provider(_), Ok(_)) => self.clear(),
        }
        (self.occupied, self.fresh) = (occupied, fresh);
        done
    }

    /// Goes on with what is in flight on another loading of the model.
    pub(crate) fn move_to(&mut self, resident: Resident) -> Result<(), EngineError> {
        match &mut self.home {
            Home::Host(_) => Ok(()),
            Home::Provider(latents) => latents.move_to(resident),
        }
    }

    /// The place in the first group that is taken next.
    fn next_place(&self) -> usize {
        self.occupied[0].min(self.shape.frame_buffer - 1)
    }

    /// One call of the network, and everybody one group further.
    fn round(&mut self, feedback: bool, denoise: &mut Denoise<'_>) -> Result<usize, EngineError> {
        let Some(last) = self.occupied.iter().rposition(|frames| *frames > 0) else {
            return Ok(0);
        };
        let now = Now {
            levels: &self.levels,
            prediction: self.prediction,
            shape: self.shape,
            occupied: &self.occupied,
            last,
            add_noise: self.add_noise,
            guidance: self.guidance,
        };
        let ran = match &mut self.home {
            Home::Host(latents) => latents.round(now, denoise),
            Home::Provider(latents) => latents.round(now, feedback, denoise),
        };
        if let Err(error) = ran {
            self.occupied[0] = 0;
            return Err(error);
        }
        let left = self.occupied.pop().unwrap_or(0);
        self.occupied.insert(0, 0);
        Ok(left)
    }
}

#[cfg(test)]
impl Stream {
    /// Replaces the noise of every row, `[S·FB, C, h, w]`, by noise from a file.
    pub(crate) fn set_noise(&mut self, noise: &[f32]) {
        match &mut self.home {
            Home::Host(latents) => latents.noise.copy_from_slice(noise),
            Home::Provider(latents) => latents
                .set_noise(0, |all| all.copy_from_slice(noise))
                .expect("tests run on the CPU"),
        }
    }

    /// As [`Stream::enter`], wherever the latents are.
    pub(crate) fn enter_latent(&mut self, latent: &[f32]) {
        if let Home::Provider(latents) = &mut self.home {
            latents.enter_latent(self.occupied[0], &self.levels[0], latent);
        }
        self.enter(latent);
    }

    /// The noisy latents `[FB, C, h, w]` that entered last: on the host while they are still in the
    /// first group, on the provider once they have been there.
    pub(crate) fn entered(&mut self) -> Vec<f32> {
        let group = self.shape.frame_buffer * self.shape.size;
        match &mut self.home {
            Home::Host(latents) => latents.rows[..group].to_vec(),
            Home::Provider(latents) => latents.resident.rows()[..group].to_vec(),
        }
    }

    /// Residual noise of group `step`, `[FB, C, h, w]`, on the host.
    pub(crate) fn stock(&self, step: usize) -> &[f32] {
        let group = self.shape.frame_buffer * self.shape.size;
        match &self.home {
            Home::Host(latents) => &latents.stock[step * group..][..group],
            Home::Provider(_) => &[],
        }
    }

    /// How many times the network was fed embeddings, where latents are on the provider.
    pub(crate) fn times_fed(&self) -> u64 {
        match &self.home {
            Home::Host(_) => 0,
            Home::Provider(latents) => latents.resident.fed,
        }
    }

    /// The first timestep of the frames that enter now.
    pub(crate) fn first_timestep(&self) -> u16 {
        self.levels[0].timestep
    }

    /// Leaves out the way through all steps that the first frame takes.
    pub(crate) fn skip_priming(&mut self) {
        self.fresh = false;
    }
}

#[cfg(test)]
mod tests;
