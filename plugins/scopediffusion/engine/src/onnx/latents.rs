//! The three small graphs between the networks: all arithmetic on latents, where the networks run.
//!
//! ```text
//!            encoder           denoising network          decoder
//!               │ z              ▲ sample   │ predicted      ▲ latent
//!               ▼                │          ▼                │
//!  carried ──► enter ────────────┴─ rows ─► step ─────────► (finish)
//!     ▲                                      │
//!     └──────────────────────────────────────┘
//! ```
//!
//! Every step formula is linear in latents, with a number for each row: see [`crate::weights`]. The
//! numbers are inputs, so that timesteps, guidance and noise change without a new graph. Shapes are
//! fixed, and no graph reads what it writes.

use super::write::{Axis, FLOAT, Graph, HALF, int, real};

pub(crate) const NOISE: &str = "noise";
/// For each place its share of picture, then for each its share of noise, `[2·FB, 1, 1, 1]`.
pub(crate) const SHARES: &str = "shares";
pub(crate) const TIMES: &str = "times";
pub(crate) const ROWS: &str = "rows";
pub(crate) const STOCK: &str = "stock";
/// Rows on their way to the next step, and their residual noise, in the order of the rows they come from.
pub(crate) const CARRIED: &str = "carried";
pub(crate) const CARRIED_STOCK: &str = "carried_stock";
/// Noise of the step that a row goes to.
pub(crate) const NEXT: &str = "next";
pub(crate) const WEIGHTS: &str = "weights";
pub(crate) const LATENT: &str = "latent";
pub(crate) const CLEAN: &str = "clean";
pub(crate) const BEFORE: &str = "before";
pub(crate) const AFTER: &str = "after";
/// How much the clean latent and the one before it count, `[2, 1, 1, 1]`.
pub(crate) const MIX: &str = "mix";

/// What comes in at a place of the first group.
pub(crate) fn arrival(place: usize) -> String {
    format!("z{place}")
}

/// The rows of a call of the network.
pub(crate) fn sample(call: usize) -> String {
    format!("sample{call}")
}

pub(crate) fn timestep(call: usize) -> String {
    format!("timestep{call}")
}

/// What a call of the network gave.
pub(crate) fn predicted(call: usize) -> String {
    format!("predicted{call}")
}

/// A clean latent by its place in the last group.
pub(crate) fn clean(place: usize) -> String {
    format!("{CLEAN}{place}")
}

/// Rows and latents of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sizes {
    /// Groups that share a round: S in the stream batch, else 1.
    pub(crate) groups: usize,
    /// Frames of a group, FB.
    pub(crate) buffer: usize,
    /// Channels, height and width of a latent.
    pub(crate) latent: [usize; 3],
}

impl Sizes {
    pub(crate) fn rows(&self) -> usize {
        self.groups * self.buffer
    }

    pub(crate) fn shape(&self, rows: usize) -> [usize; 4] {
        let [channels, height, width] = self.latent;
        [rows, channels, height, width]
    }
}

/// How the rows of a round are put into calls of the network: those about the negative prompt, the
/// others, and copies of the last one to fill the last call up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) negative: usize,
    pub(crate) count: usize,
    /// Rows of each.
    pub(crate) rows: usize,
    /// Whether the network takes and gives 16-bit numbers.
    pub(crate) half: (bool, bool),
}

/// How timesteps are fed to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    /// `TensorProto.DataType`.
    pub(crate) kind: u64,
    /// One for each row, else one for the whole call.
    pub(crate) each_row: bool,
    /// One without an axis.
    pub(crate) scalar: bool,
}

/// What comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrivals {
    pub(crate) half: bool,
    /// Channels, of which the first ones are the latent.
    pub(crate) channels: usize,
}

/// The graph in front of the network.
///
/// - `arrivals`: `None` lets the rows go on as they are, for the later steps of sequential mode.
/// - `stock`: whether residual noise goes along.
pub(crate) fn enter(
    sizes: Sizes,
    arrivals: Option<Arrivals>,
    stock: bool,
    calls: Calls,
    times: Times,
) -> Vec<u8> {
    let mut graph = Graph::default();
    let rows = sizes.rows();
    match arrivals {
        Some(arrivals) => {
            let head = let_in(&mut graph, sizes, arrivals);
            behind(&mut graph, sizes, &head, CARRIED, ROWS);
            if stock {
                behind(&mut graph, sizes, NOISE, CARRIED_STOCK, STOCK);
            }
        }
        None => {
            go_on(&mut graph, CARRIED, ROWS);
            input(&mut graph, CARRIED, FLOAT, &sizes.shape(rows));
            if stock {
                go_on(&mut graph, CARRIED_STOCK, STOCK);
                input(&mut graph, CARRIED_STOCK, FLOAT, &sizes.shape(rows));
            }
        }
    }
    output(&mut graph, ROWS, FLOAT, &sizes.shape(rows));
    if stock {
        output(&mut graph, STOCK, FLOAT, &sizes.shape(rows));
    }
    call(&mut graph, sizes, calls);
    tell_time(&mut graph, calls, times);
    graph.model("enter")
}

/// Noises what comes in; the name of the first group.
fn let_in(graph: &mut Graph, sizes: Sizes, arrivals: Arrivals) -> String {
    let [channels, height, width] = sizes.latent;
    let mut parts = Vec::new();
    for place in 0..sizes.buffer {
        let mut name = arrival(place);
        let shape = [1, arrivals.channels, height, width];
        input(graph, &name, real(arrivals.half), &shape);
        if arrivals.channels > channels {
            let first = format!("{name}_first");
            cut(graph, &name, (1, 0, channels), &first);
            name = first;
        }
        if arrivals.half {
            let wide = format!("{name}_wide");
            graph.node("Cast", &[&name], &wide, &[int("to", FLOAT)]);
            name = wide;
        }
        parts.push(name);
    }
    let arrived = joined(graph, &parts, "arrived");
    let places = sizes.buffer;
    graph.nodes("Split", &[SHARES], &["signal", "grain"], &[int("axis", 0)]);
    graph.node("Mul", &[&arrived, "signal"], "shown", &[]);
    graph.node("Mul", &[NOISE, "grain"], "hidden", &[]);
    graph.node("Add", &["shown", "hidden"], "entered", &[]);
    input(graph, SHARES, FLOAT, &[2 * places, 1, 1, 1]);
    input(graph, NOISE, FLOAT, &sizes.shape(places));
    "entered".into()
}

/// The first group, and behind it the rows that were carried from the group above.
fn behind(graph: &mut Graph, sizes: Sizes, first: &str, carried: &str, all: &str) {
    let (rows, moved) = (sizes.rows(), sizes.rows() - sizes.buffer);
    if moved == 0 {
        return go_on(graph, first, all);
    }
    let kept = format!("{carried}_moved");
    cut(graph, carried, (0, 0, moved), &kept);
    graph.node("Concat", &[first, &kept], all, &[int("axis", 0)]);
    input(graph, carried, FLOAT, &sizes.shape(rows));
}

/// Puts the rows into calls.
fn call(graph: &mut Graph, sizes: Sizes, calls: Calls) {
    let rows = sizes.rows();
    let mut parts = vec![ROWS.to_string()];
    if calls.negative > 0 {
        let negative = match calls.negative == rows {
            true => ROWS.into(),
            false => {
                cut(graph, ROWS, (0, 0, calls.negative), "asked_twice");
                "asked_twice".into()
            }
        };
        parts.insert(0, negative);
    }
    let missing = calls.count * calls.rows - calls.negative - rows;
    if missing > 0 {
        cut(graph, ROWS, (0, rows - 1, rows), "last_row");
        parts.extend(std::iter::repeat_n("last_row".to_string(), missing));
    }
    let mut all = joined(graph, &parts, "all");
    if calls.half.0 {
        graph.node("Cast", &[&all], "narrow", &[int("to", HALF)]);
        all = "narrow".into();
    }
    let names: Vec<String> = (0..calls.count).map(sample).collect();
    dealt(graph, &all, &names);
    for name in &names {
        output(graph, name, real(calls.half.0), &sizes.shape(calls.rows));
    }
}

fn tell_time(graph: &mut Graph, calls: Calls, times: Times) {
    let each = if times.each_row { calls.rows } else { 1 };
    input(graph, TIMES, FLOAT, &[calls.count * each]);
    let mut all = TIMES.to_string();
    if times.kind != FLOAT {
        graph.node("Cast", &[TIMES], "told", &[int("to", times.kind)]);
        all = "told".into();
    }
    let names: Vec<String> = (0..calls.count).map(timestep).collect();
    if times.scalar {
        let lone: Vec<String> = names.iter().map(|name| format!("{name}_row")).collect();
        dealt(graph, &all, &lone);
        graph.numbers("no_axis", &[]);
        for (row, name) in lone.iter().zip(&names) {
            graph.node("Reshape", &[row, "no_axis"], name, &[]);
            output(graph, name, times.kind, &[]);
        }
        return;
    }
    dealt(graph, &all, &names);
    for name in &names {
        output(graph, name, times.kind, &[each]);
    }
}

/// What the network is asked for, and which numbers the step formula has for each row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// `x m · a b`.
    Plain,
    /// `x m n · a b`.
    Full,
    /// `x m s · dx dm ds · a b r`.
    Stock,
    /// As stock, and `p q`: the first group's residual noise is what the network says about the
    /// negative prompt.
    Initialize,
}

impl Way {
    /// Numbers for each row.
    pub(crate) fn numbers(self) -> &'static [&'static str] {
        match self {
            Self::Plain => &["x", "m", "a", "b"],
            Self::Full => &["x", "m", "n", "a", "b"],
            Self::Stock => &["x", "m", "s", "dx", "dm", "ds", "a", "b", "r"],
            Self::Initialize => &["x", "m", "s", "dx", "dm", "ds", "a", "b", "r", "p", "q"],
        }
    }

    pub(crate) fn has_stock(self) -> bool {
        matches!(self, Self::Stock | Self::Initialize)
    }
}

/// What becomes of the clean latents of the last group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Leaving {
    /// The one of them is what the decoder takes, in 16 bits or 32, times a number.
    Latent { half: bool, scale: f32 },
    /// Each by itself, for [`finish`].
    Clean,
}

/// The graph behind the network.
///
/// - `more`: whether rows go on to another step.
pub(crate) fn step(sizes: Sizes, way: Way, calls: Calls, more: bool, leaving: Leaving) -> Vec<u8> {
    let mut graph = Graph::default();
    let (rows, places) = (sizes.rows(), sizes.buffer);
    input(&mut graph, ROWS, FLOAT, &sizes.shape(rows));
    let numbers = way.numbers();
    input(&mut graph, WEIGHTS, FLOAT, &[numbers.len() * rows, 1, 1, 1]);
    graph.nodes("Split", &[WEIGHTS], numbers, &[int("axis", 0)]);
    hear(&mut graph, sizes, calls);
    if way.has_stock() {
        recall(&mut graph, sizes, way);
    }
    let terms: &[(&str, &str)] = match way {
        Way::Plain => &[(ROWS, "x"), ("text", "m")],
        Way::Full => &[(ROWS, "x"), ("text", "m"), ("negative", "n")],
        Way::Stock | Way::Initialize => &[(ROWS, "x"), ("text", "m"), ("off", "s")],
    };
    sum(&mut graph, terms, "cleaned");
    if more {
        input(&mut graph, NEXT, FLOAT, &sizes.shape(rows));
        sum(&mut graph, &[("cleaned", "a"), (NEXT, "b")], CARRIED);
        output(&mut graph, CARRIED, FLOAT, &sizes.shape(rows));
    }
    if more && way.has_stock() {
        let terms = [(ROWS, "dx"), ("text", "dm"), ("off", "ds")];
        sum(&mut graph, &terms, "left_over");
        graph.node("Mul", &["left_over", "r"], "measured", &[]);
        graph.node("Add", &["measured", NEXT], CARRIED_STOCK, &[]);
        output(&mut graph, CARRIED_STOCK, FLOAT, &sizes.shape(rows));
    }
    let mut last = "cleaned".to_string();
    if rows > places {
        cut(&mut graph, "cleaned", (0, rows - places, rows), "leaving");
        last = "leaving".into();
    }
    match leaving {
        Leaving::Latent { half, scale } => give(&mut graph, sizes, &last, half, scale),
        Leaving::Clean => {
            let names: Vec<String> = (0..places).map(clean).collect();
            dealt(&mut graph, &last, &names);
            for name in &names {
                output(&mut graph, name, FLOAT, &sizes.shape(1));
            }
        }
    }
    graph.model("step")
}

/// What the calls gave, as `text` and `negative`.
fn hear(graph: &mut Graph, sizes: Sizes, calls: Calls) {
    let names: Vec<String> = (0..calls.count).map(predicted).collect();
    for name in &names {
        input(graph, name, real(calls.half.1), &sizes.shape(calls.rows));
    }
    let mut heard = joined(graph, &names, "heard");
    if calls.half.1 {
        graph.node("Cast", &[&heard], "wide", &[int("to", FLOAT)]);
        heard = "wide".into();
    }
    let (from, to) = (calls.negative, calls.negative + sizes.rows());
    match to < calls.count * calls.rows || from > 0 {
        true => cut(graph, &heard, (0, from, to), "text"),
        false => go_on(graph, &heard, "text"),
    }
    if from > 0 {
        cut(graph, &heard, (0, 0, from), "negative");
    }
}

/// The residual noise of all rows, as `off`.
fn recall(graph: &mut Graph, sizes: Sizes, way: Way) {
    let (rows, places) = (sizes.rows(), sizes.buffer);
    if way == Way::Stock {
        input(graph, STOCK, FLOAT, &sizes.shape(rows));
        return go_on(graph, STOCK, "off");
    }
    let first = |graph: &mut Graph, name: &str| match rows > places {
        true => {
            let cut_name = format!("{name}_first");
            cut(graph, name, (0, 0, places), &cut_name);
            cut_name
        }
        false => name.to_string(),
    };
    let (x, p, q) = (first(graph, ROWS), first(graph, "p"), first(graph, "q"));
    sum(graph, &[("negative", &p), (&x, &q)], "denied");
    if rows == places {
        return go_on(graph, "denied", "off");
    }
    input(graph, STOCK, FLOAT, &sizes.shape(rows));
    cut(graph, STOCK, (0, places, rows), "stock_below");
    graph.node(
        "Concat",
        &["denied", "stock_below"],
        "off",
        &[int("axis", 0)],
    );
}

/// The graph between a clean latent and the decoder, where the step's is not enough.
///
/// - `mixed`: with the one before it; else that one is not looked at.
pub(crate) fn finish(sizes: Sizes, mixed: bool, half: bool, scale: f32) -> Vec<u8> {
    let mut graph = Graph::default();
    input(&mut graph, CLEAN, FLOAT, &sizes.shape(1));
    match mixed {
        true => {
            input(&mut graph, BEFORE, FLOAT, &sizes.shape(1));
            input(&mut graph, MIX, FLOAT, &[2, 1, 1, 1]);
            graph.nodes("Split", &[MIX], &["new", "old"], &[int("axis", 0)]);
            sum(&mut graph, &[(CLEAN, "new"), (BEFORE, "old")], AFTER);
        }
        false => go_on(&mut graph, CLEAN, AFTER),
    }
    output(&mut graph, AFTER, FLOAT, &sizes.shape(1));
    give(&mut graph, sizes, AFTER, half, scale);
    graph.model("finish")
}

/// A clean latent as the decoder wants it.
fn give(graph: &mut Graph, sizes: Sizes, clean: &str, half: bool, scale: f32) {
    graph.constant("scale", scale);
    let last = if half { "scaled" } else { LATENT };
    graph.node("Mul", &[clean, "scale"], last, &[]);
    if half {
        graph.node("Cast", &[last], LATENT, &[int("to", HALF)]);
    }
    output(graph, LATENT, real(half), &sizes.shape(1));
}

/// `Σ tensor · number`.
fn sum(graph: &mut Graph, terms: &[(&str, &str)], total: &str) {
    let mut so_far = String::new();
    for (at, (tensor, number)) in terms.iter().enumerate() {
        let product = format!("{total}_{number}");
        graph.node("Mul", &[tensor, number], &product, &[]);
        if at == 0 {
            so_far = product;
            continue;
        }
        let name = match at + 1 == terms.len() {
            true => total.to_string(),
            false => format!("{total}_{at}"),
        };
        graph.node("Add", &[&so_far, &product], &name, &[]);
        so_far = name;
    }
}

fn go_on(graph: &mut Graph, from: &str, to: &str) {
    graph.node("Identity", &[from], to, &[]);
}

/// From one index to before another along an axis.
fn cut(graph: &mut Graph, from: &str, (axis, start, end): (usize, usize, usize), to: &str) {
    let names = ["start", "end", "axis"].map(|name| format!("{to}_{name}"));
    for (name, value) in names.iter().zip([start, end, axis]) {
        graph.numbers(name, &[value]);
    }
    let [start, end, axis] = &names;
    graph.node("Slice", &[from, start, end, axis], to, &[]);
}

/// One after another along the first axis.
fn joined(graph: &mut Graph, parts: &[String], name: &str) -> String {
    if let [only] = parts {
        return only.clone();
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    graph.node("Concat", &parts, name, &[int("axis", 0)]);
    name.into()
}

/// Equal parts along the first axis.
fn dealt(graph: &mut Graph, from: &str, names: &[String]) {
    if let [only] = names {
        return go_on(graph, from, only);
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    graph.nodes("Split", &[from], &names, &[int("axis", 0)]);
}

fn input(graph: &mut Graph, name: &str, kind: u64, shape: &[usize]) {
    graph.input(name, kind, &axes(shape));
}

fn output(graph: &mut Graph, name: &str, kind: u64, shape: &[usize]) {
    graph.output(name, kind, &axes(shape));
}

fn axes(shape: &[usize]) -> Vec<Axis> {
    shape.iter().map(|side| Axis::Is(*side as u64)).collect()
}
