//! What the element counts.

use std::time::Duration;

use diffusion_engine::Spent;

/// Counters of one element since READY, and where time goes.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Stats {
    pub(crate) frames_in: u64,
    pub(crate) frames_out: u64,
    /// Displaced by a newer frame before they could be inferred (`pacing=live`).
    pub(crate) frames_dropped: u64,
    /// Pictures that were none (NaN): the last good one was shown instead.
    pub(crate) frames_faulty: u64,
    /// Whether the last frame was one of those.
    faulty: bool,
    /// What the engine of this stream had counted so far.
    faults: u64,
    /// A smoothed time from frame to picture; zero before the first.
    pub(crate) inference: Duration,
    inferences: u64,
    /// Smoothed times of the graphs.
    graphs: Spent,
    /// What the latency query was last answered with, beyond upstream's.
    pub(crate) latency: gst::ClockTime,
}

impl Stats {
    /// Takes one inference into the smoothed time: an eighth of the way to the new value, so one slow frame
    /// counts little and ten slow frames count. The first one warms the runtime up, so the second forgets it.
    pub(crate) fn inferred(&mut self, took: Duration) {
        self.inference = match self.inferences {
            0 | 1 => took,
            _ => self.inference - self.inference / 8 + took / 8,
        };
        self.inferences += 1;
    }

    /// Takes what the graphs took over a frame into the smoothed times, after [`Stats::inferred`].
    pub(crate) fn ran(&mut self, spent: Spent) {
        let mix = |old: Duration, new: Duration| match self.inferences {
            0..=2 => new,
            _ => old - old / 8 + new / 8,
        };
        self.graphs = Spent {
            encode: mix(self.graphs.encode, spent.encode),
            denoise: mix(self.graphs.denoise, spent.denoise),
            decode: mix(self.graphs.decode, spent.decode),
        };
    }

    /// Takes over how many faults the engine has counted; true at the first of a run.
    pub(crate) fn faults_at(&mut self, faults: u64) -> bool {
        // An engine begins at zero, and a new size brings a new engine.
        let new = faults.saturating_sub(if faults < self.faults { 0 } else { self.faults });
        self.faults = faults;
        self.frames_faulty += new;
        let begins = new > 0 && !self.faulty;
        self.faulty = new > 0;
        begins
    }

    /// Latency worth announcing for the present inference time, or `None` while the announced one still holds.
    ///
    /// Half as much again as the smoothed time covers the usual jitter; announcing costs a latency recalculation in
    /// the whole pipeline, so it happens when the truth has left the announced value by a quarter of it.
    pub(crate) fn new_latency(&self, delay: gst::ClockTime) -> Option<gst::ClockTime> {
        let inference = u64::try_from(self.inference.as_nanos()).unwrap_or(u64::MAX);
        let wanted = delay + gst::ClockTime::from_nseconds(inference.saturating_mul(3) / 2);
        let low = self.latency / 2;
        let high = self.latency + self.latency / 4;
        (wanted > high || wanted < low).then_some(wanted)
    }

    /// - `memory`: bytes in use on the GPU and bytes that it has.
    pub(crate) fn structure(
        &self,
        provider: Option<&str>,
        memory: Option<(u64, u64)>,
    ) -> gst::Structure {
        gst::Structure::builder("application/x-scopediffusion-stats")
            .field("frames-in", self.frames_in)
            .field("frames-out", self.frames_out)
            .field("frames-dropped", self.frames_dropped)
            .field("frames-faulty", self.frames_faulty)
            .field("inference-ms", self.inference.as_secs_f64() * 1e3)
            .field("encode-ms", self.graphs.encode.as_secs_f64() * 1e3)
            .field("denoise-ms", self.graphs.denoise.as_secs_f64() * 1e3)
            .field("decode-ms", self.graphs.decode.as_secs_f64() * 1e3)
            .field("latency", self.latency)
            .field("provider", provider)
            .field_if_some("vram-used", memory.map(|(used, _)| used))
            .field_if_some("vram-total", memory.map(|(_, total)| total))
            .build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steady(milliseconds: u64) -> Stats {
        let mut stats = Stats::default();
        for _ in 0..100 {
            stats.inferred(Duration::from_millis(milliseconds));
        }
        stats
    }

    #[test]
    fn the_first_inference_counts_until_the_second_forgets_it() {
        let mut stats = Stats::default();

        stats.inferred(Duration::from_millis(400));
        assert_eq!(stats.inference, Duration::from_millis(400));

        stats.inferred(Duration::from_millis(40));
        assert_eq!(stats.inference, Duration::from_millis(40));
    }

    #[test]
    fn a_run_of_faults_is_told_once_and_counted_whole() {
        let mut stats = Stats::default();

        let told = [0, 1, 2, 2, 3, 1].map(|faults| stats.faults_at(faults));

        assert_eq!(told, [false, true, false, false, true, false]);
        assert_eq!(stats.frames_faulty, 4);
    }

    #[test]
    fn latency_is_announced_once_while_inference_is_steady() {
        let mut stats = steady(20);

        let announced = stats.new_latency(gst::ClockTime::ZERO).unwrap();
        stats.latency = announced;

        assert!((29..=30).contains(&announced.mseconds()), "{announced}");
        assert_eq!(stats.new_latency(gst::ClockTime::ZERO), None);
    }

    #[test]
    fn latency_is_announced_again_when_inference_slows_down() {
        let mut stats = steady(20);
        stats.latency = stats.new_latency(gst::ClockTime::ZERO).unwrap();

        for _ in 0..40 {
            stats.inferred(Duration::from_millis(60));
        }

        assert!(stats.new_latency(gst::ClockTime::ZERO).unwrap().mseconds() > 80);
    }

    #[test]
    fn frames_in_flight_add_their_delay() {
        let stats = steady(20);

        let announced = stats
            .new_latency(gst::ClockTime::from_mseconds(100))
            .unwrap();

        assert!((129..=130).contains(&announced.mseconds()), "{announced}");
    }
}
