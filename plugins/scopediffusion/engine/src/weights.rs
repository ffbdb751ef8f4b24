//! The step formulas as one number for each tensor in them: what graphs multiply latents with.
//!
//! All of [`crate::guidance`] and [`Level`] is linear in the latent `x`, the network's output `m`
//! with the prompt and `n` with the negative prompt, the residual noise `s` and the next step's
//! noise:
//!
//! ```text
//! x0    = x·x + m·m + n·n + s·s          clean latent
//! d     = dx·x + dm·m + ds·s             what it is off by
//! next  = a·x0 + b·noise                 noised for the next step
//! stock = noise + r·d                    residual noise there
//! ```

use crate::guidance::{CfgType, Guidance};
use crate::onnx::latents::Way;
use crate::schedule::{Level, Prediction};

/// The numbers of one row.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Weights {
    x: f64,
    m: f64,
    n: f64,
    s: f64,
    dx: f64,
    dm: f64,
    ds: f64,
    a: f64,
    b: f64,
    r: f64,
    p: f64,
    q: f64,
}

impl Weights {
    /// - `next`: where the row goes; `None` is out.
    pub(crate) fn new(
        level: &Level,
        next: Option<&Level>,
        prediction: Prediction,
        guidance: Guidance,
        add_noise: bool,
    ) -> Self {
        let [signal, noise, skip, out] =
            [level.signal, level.noise, level.skip, level.out].map(f64::from);
        // ε = p·m + q·x
        let (p, q) = match prediction {
            Prediction::Epsilon => (1.0, 0.0),
            Prediction::Velocity => (signal, noise),
            Prediction::Sample => (-signal / noise, 1.0 / noise),
        };
        // x0 = of_x·x + of_e·ε
        let (of_x, of_e) = (out / signal + skip, -out * noise / signal);
        let scale = f64::from(guidance.scale);
        let (of_text, of_rest) = match guidance.way() {
            CfgType::None => (1.0, 0.0),
            _ => (scale, 1.0 - scale),
        };
        let mut weights = Self {
            m: of_e * of_text * p,
            p,
            q,
            ..Self::default()
        };
        match guidance.way() {
            CfgType::None | CfgType::Full => {
                weights.x = of_x + of_e * q;
                weights.n = of_e * of_rest * p;
            }
            CfgType::SelfNegative | CfgType::Initialize => {
                let of_stock = of_e * of_rest * f64::from(guidance.delta);
                weights.x = of_x + of_e * of_text * q;
                weights.s = of_stock;
                weights.dx = of_e * of_text * q;
                weights.dm = weights.m;
                weights.ds = of_x * noise + of_stock;
            }
        }
        if let Some(next) = next {
            weights.a = f64::from(next.signal);
            weights.b = if add_noise {
                f64::from(next.noise)
            } else {
                0.0
            };
            weights.r = f64::from(next.signal) / f64::from(next.noise);
        }
        weights
    }

    /// The number of a name that [`Way::numbers`] has.
    fn named(&self, name: &str) -> f64 {
        match name {
            "x" => self.x,
            "m" => self.m,
            "n" => self.n,
            "s" => self.s,
            "dx" => self.dx,
            "dm" => self.dm,
            "ds" => self.ds,
            "a" => self.a,
            "b" => self.b,
            "r" => self.r,
            "p" => self.p,
            _ => self.q,
        }
    }
}

/// The numbers of all rows as a graph of `way` takes them: each for all rows, then the next.
pub(crate) fn lay_out(way: Way, rows: &[Weights], out: &mut Vec<f32>) {
    out.clear();
    for name in way.numbers() {
        out.extend(rows.iter().map(|row| row.named(name) as f32));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::guidance;
    use crate::schedule::{Schedule, SchedulerConfig};

    proptest! {
        #[test]
        fn the_numbers_say_what_the_formulas_say(
            (timestep, next) in (1_u16..1000, 0_u16..1000),
            kind in prop_oneof![
                Just(CfgType::None), Just(CfgType::Full),
                Just(CfgType::SelfNegative), Just(CfgType::Initialize),
            ],
            prediction in prop_oneof![
                Just(Prediction::Epsilon), Just(Prediction::Velocity), Just(Prediction::Sample),
            ],
            (scale, delta) in (0.5_f32..2.5, 0.0_f32..=1.0),
            [x, m, n, s, noise] in [-3.0_f32..3.0, -3.0..3.0, -3.0..3.0, -3.0..3.0, -3.0..3.0],
            add_noise: bool,
        ) {
            let schedule = Schedule::new(&SchedulerConfig::default()).unwrap();
            let (level, next) = (schedule.level(timestep), schedule.level(next));
            let guidance = Guidance { kind, scale, delta };
            let (mut latent, mut stock) = ([x], [s]);
            let said = [n];
            let asked = guidance.asks_the_negative().then_some(&said[..]);
            guidance::Rows {
                level, prediction, text: &[m], negative: asked,
                latent: &mut latent, stock: &mut stock,
            }.clean(guidance);

            let w = Weights::new(&level, Some(&next), prediction, guidance, add_noise);
            let of = |name: &str| w.named(name);
            let [x, m, n, noise] = [x, m, n, noise].map(f64::from);
            let s = match guidance.way() {
                CfgType::Initialize => of("p") * n + of("q") * x,
                _ => f64::from(s),
            };
            let clean = of("x") * x + of("m") * m + of("n") * n + of("s") * s;
            // At the noisy end a clean latent is large, and so is its error.
            let near = |a: f64, b: f32| (a - f64::from(b)).abs() <= 2e-4 * (1.0 + a.abs()) / f64::from(level.signal);
            prop_assert!(near(clean, latent[0]), "{clean} {}", latent[0]);

            let expected = if add_noise { next.noisy(latent[0], noise as f32) } else { next.signal * latent[0] };
            prop_assert!(near(of("a") * clean + of("b") * noise, expected));
            if matches!(guidance.way(), CfgType::SelfNegative | CfgType::Initialize) {
                let off = of("dx") * x + of("dm") * m + of("ds") * s;
                prop_assert!(near(off, stock[0]), "{off} {}", stock[0]);
                let mut carried = [0.0];
                guidance::carry_over(&next, &[noise as f32], &stock, &mut carried);
                prop_assert!((noise + of("r") * off - f64::from(carried[0])).abs() <= 2e-2 * (1.0 + f64::from(carried[0].abs())) / f64::from(level.signal));
            }
        }
    }

    #[test]
    fn numbers_lie_by_name_and_then_by_row() {
        let row = |x, m| Weights {
            x,
            m,
            a: 5.0,
            b: 6.0,
            ..Weights::default()
        };
        let mut out = vec![9.0];

        lay_out(Way::Plain, &[row(1.0, 3.0), row(2.0, 4.0)], &mut out);

        assert_eq!(out, [1.0, 2.0, 3.0, 4.0, 5.0, 5.0, 6.0, 6.0]);
    }
}
