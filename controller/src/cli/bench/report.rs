//! What was measured, as a table, as data and (in `plot`) as a picture.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::contender::Contender;
use super::figures::{Goal, median};
use super::plot::{self, Panel};

/// One measured property of a contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Metric {
    Added,
    Latency,
    Slowest,
    Rate,
    Connect,
    Stall,
    Pause,
    Cpu,
    Threads,
    Memory,
    Idle,
    Ready,
}

impl Metric {
    const ALL: [Self; 12] = [
        Self::Added,
        Self::Latency,
        Self::Slowest,
        Self::Rate,
        Self::Connect,
        Self::Stall,
        Self::Pause,
        Self::Cpu,
        Self::Threads,
        Self::Memory,
        Self::Idle,
        Self::Ready,
    ];

    /// What is drawn; the rest is in the table.
    const DRAWN: [Self; 6] = [
        Self::Added,
        Self::Connect,
        Self::Stall,
        Self::Cpu,
        Self::Threads,
        Self::Memory,
    ];

    /// Key in the data, what it is, its unit.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Added => ("added_latency_ms", "added latency, median", "ms"),
            Self::Latency => ("latency_ms", "painted to seen, median", "ms"),
            Self::Slowest => ("latency_p99_ms", "painted to seen, 99 of 100", "ms"),
            Self::Rate => ("fps", "frames back", "fps"),
            Self::Connect => ("connect_ms", "offer to first frame", "ms"),
            Self::Stall => ("server_stall_ms", "recovery, server stood still 2 s", "ms"),
            Self::Pause => ("client_stall_ms", "recovery, client sent nothing 2 s", "ms"),
            Self::Cpu => ("cpu_percent", "processor, per session", "% of a core"),
            Self::Threads => ("threads", "threads, one more session", ""),
            Self::Memory => ("memory_mb", "memory, one more session", "MB"),
            Self::Idle => ("idle_mb", "memory, idle", "MB"),
            Self::Ready => ("ready_s", "start to ready", "s"),
        }
    }
}

/// Everything a run found out.
#[derive(Debug, Default)]
pub(super) struct Report {
    figures: HashMap<(Contender, Metric), Vec<f64>>,
    /// The client alone, milliseconds a round.
    pub(super) direct: Vec<f64>,
    /// Frames per second through Chromium.
    pub(super) browser: Option<f64>,
    pub(super) goals: Vec<Goal>,
    /// What could not be measured.
    pub(super) notes: Vec<String>,
}

impl Report {
    pub(super) fn add(&mut self, contender: Contender, metric: Metric, value: f64) {
        self.figures
            .entry((contender, metric))
            .or_default()
            .push(value);
    }

    pub(super) fn median(&self, contender: Contender, metric: Metric) -> Option<f64> {
        median(self.figures.get(&(contender, metric))?)
    }

    #[expect(
        clippy::print_stdout,
        reason = "the table is the answer of this command"
    )]
    pub(super) fn print(&self) {
        println!("{}", self.table());
    }

    fn table(&self) -> String {
        let mut lines = vec![format!(
            "{:48}{}",
            "",
            Contender::ALL
                .map(|contender| format!("{:>16}", contender.name()))
                .concat()
        )];
        for metric in Metric::ALL {
            let (_, what, unit) = metric.words();
            let cells = Contender::ALL.map(|contender| match self.median(contender, metric) {
                Some(value) => format!("{:>16}", rounded(value)),
                None => format!("{:>16}", "–"),
            });
            lines.push(format!("{:48}{}", format!("{what} {unit}"), cells.concat()));
        }
        if let Some(direct) = median(&self.direct) {
            lines.push(format!(
                "the client alone: {} ms from painting to reading",
                rounded(direct)
            ));
        }
        lines.push(String::new());
        lines.extend(self.goals.iter().map(Goal::line));
        lines.extend(self.notes.iter().map(|note| format!("note: {note}")));
        lines.join("\n")
    }

    pub(super) fn json(&self) -> Value {
        let of = |contender| {
            let figure = |metric: Metric| {
                let values = self
                    .figures
                    .get(&(contender, metric))
                    .cloned()
                    .unwrap_or_default();
                (
                    metric.words().0.to_owned(),
                    json!({"median": median(&values), "all": values}),
                )
            };
            Value::Object(Metric::ALL.map(figure).into_iter().collect())
        };
        let contenders: Map<String, Value> = Contender::ALL
            .map(|contender| (contender.name().to_owned(), of(contender)))
            .into_iter()
            .collect();
        json!({
            "contenders": contenders,
            "direct_ms": self.direct,
            "browser_fps": self.browser,
            "goals": self.goals.iter().map(Goal::json).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    pub(super) fn svg(&self) -> String {
        let panel = |metric: Metric| {
            let (_, what, unit) = metric.words();
            let bars =
                Contender::ALL.map(|contender| (contender.name(), self.median(contender, metric)));
            Panel {
                title: what.into(),
                unit,
                bars: bars.to_vec(),
            }
        };
        plot::draw(&Metric::DRAWN.map(panel))
    }
}

/// Three digits are all that a shared machine can vouch for.
pub(super) fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report {
            direct: vec![3.0],
            ..Report::default()
        };
        for value in [1.0, 9.0, 2.0] {
            report.add(Contender::Scope, Metric::Added, value);
        }
        report
    }

    #[test]
    fn the_table_shows_medians_and_gaps() {
        let table = report().table();

        let line = table
            .lines()
            .find(|line| line.starts_with("added latency"))
            .unwrap();
        assert!(line.contains("2.00") && line.contains('–'), "{line}");
        assert!(table.contains("the client alone: 3.00 ms"));
    }

    #[test]
    fn the_data_keeps_every_value() {
        let json = report().json();

        assert_eq!(
            json["contenders"]["gst-scope"]["added_latency_ms"]["all"],
            json!([1.0, 9.0, 2.0])
        );
        assert_eq!(json["contenders"]["aiortc"]["fps"]["median"], Value::Null);
    }

    #[test]
    fn the_picture_names_everybody() {
        let svg = report().svg();

        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches(">gst-scope<").count(), Metric::DRAWN.len());
    }
}
