//! What was measured, as a table, as data and as a picture.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{Load, Way};
use crate::cli::bench::figures::{Goal, median};
use crate::cli::bench::plot::{self, Panel};
use crate::cli::bench::report::rounded;

/// What a turn says, by side and key: the line of the table, and its unit.
const FIGURES: [(Side, &str, &str, &str); 8] = [
    (
        Side::Receiver,
        "latency_ms",
        "frame pushed to frame seen, median",
        "ms",
    ),
    (
        Side::Receiver,
        "latency_p99_ms",
        "frame pushed to frame seen, 99 of 100",
        "ms",
    ),
    (Side::Receiver, "fps", "frames seen", "fps"),
    (Side::Sender, "fps", "frames sent", "fps"),
    (
        Side::Sender,
        "cpu_percent",
        "processor, sender",
        "% of a core",
    ),
    (
        Side::Sender,
        "cpu_ms_a_frame",
        "processor, sender, for each frame",
        "ms",
    ),
    (
        Side::Receiver,
        "cpu_percent",
        "processor, receiver",
        "% of a core",
    ),
    (Side::Sender, "buffers", "memory, sender", "frames"),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Side {
    Sender,
    Receiver,
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Self::Sender => "sender",
            Self::Receiver => "receiver",
        }
    }
}

type Key = (Way, Load, Side, &'static str);

/// Everything a run found out.
#[derive(Debug, Default)]
pub(super) struct Report {
    figures: HashMap<Key, Vec<f64>>,
    memcpy: HashMap<Load, Vec<f64>>,
    wake_up: HashMap<(Load, &'static str), Vec<f64>>,
    goals: Vec<Goal>,
}

impl Report {
    pub(super) fn memcpy(&mut self, load: Load, milliseconds: f64) {
        self.memcpy.entry(load).or_default().push(milliseconds);
    }

    pub(super) fn wake_up(&mut self, load: Load, woken: &Value) {
        for key in ["latency_ms", "latency_p99_ms"] {
            let seen = woken[key].as_f64();
            self.wake_up.entry((load, key)).or_default().extend(seen);
        }
    }

    pub(super) fn hop(&mut self, way: Way, load: Load, sent: &Value, received: &Value) {
        for (side, key, ..) in FIGURES {
            let said = match side {
                Side::Sender => sent,
                Side::Receiver => received,
            };
            if let Some(value) = said[key].as_f64() {
                self.figures
                    .entry((way, load, side, key))
                    .or_default()
                    .push(value);
            }
        }
    }

    fn of(&self, way: Way, load: Load, side: Side, key: &'static str) -> Option<f64> {
        median(self.figures.get(&(way, load, side, key))?)
    }

    fn copying(&self, load: Load) -> Option<f64> {
        median(self.memcpy.get(&load)?)
    }

    fn waking(&self, load: Load, key: &'static str) -> Option<f64> {
        median(self.wake_up.get(&(load, key))?)
    }

    /// Holds the figures against what was promised.
    pub(super) fn judge(&mut self) {
        let (load, free) = (Load::new(1080, 60), Load::new(1080, 0));
        let hop = |way| self.of(way, load, Side::Receiver, "latency_ms");
        let cpu = |way, side| self.of(way, load, side, "cpu_percent");
        let copying = self.copying(load);
        let at_most = |what, value, limit, unit| Goal {
            what,
            value,
            limit,
            unit,
            at_least: false,
        };
        let core = "% of a core";
        self.goals = vec![
            Goal::ratio(
                "1080p60, a copied hop in memcpys",
                hop(Way::Copy),
                copying,
                1.5,
            ),
            Goal::ratio(
                "1080p60, a hop by the pool in memcpys",
                hop(Way::Pool),
                copying,
                1.1,
            ),
            Goal::ratio(
                "1080p60, a copied hop in hops of shmsink",
                hop(Way::Copy),
                hop(Way::Shm),
                1.0,
            ),
            at_most("1080p60, hand-over by the pool", hop(Way::Pool), 0.1, "ms"),
            at_most(
                "1080p60, hand-over by the pool beyond a wake-up",
                hop(Way::Pool)
                    .zip(self.waking(load, "latency_ms"))
                    .map(|(hop, wake_up)| (hop - wake_up).max(0.0)),
                0.1,
                "ms",
            ),
            Goal::ratio(
                "1080p free-running, a copied frame's processor time in shmsink's",
                self.of(Way::Copy, free, Side::Sender, "cpu_ms_a_frame"),
                self.of(Way::Shm, free, Side::Sender, "cpu_ms_a_frame"),
                1.0,
            ),
            at_most(
                "1080p60, sender, drawing into the pool",
                cpu(Way::Pool, Side::Sender),
                5.0,
                core,
            ),
            at_most(
                "1080p60, sender, copying",
                cpu(Way::Copy, Side::Sender),
                5.0,
                core,
            ),
            at_most(
                "1080p60, receiver",
                cpu(Way::Copy, Side::Receiver),
                5.0,
                core,
            ),
            at_most(
                "1080p60, memory of a sender with one receiver",
                self.of(Way::Copy, load, Side::Sender, "buffers"),
                5.0,
                "frames",
            ),
        ];
    }

    #[expect(
        clippy::print_stdout,
        reason = "the table is the answer of this command"
    )]
    pub(super) fn print(&self, loads: &[Load]) {
        println!("{}", self.table(loads));
    }

    fn table(&self, loads: &[Load]) -> String {
        let row = |title: String, cells: Vec<String>| {
            let cells: String = cells.iter().map(|cell| format!("{cell:>16}")).collect();
            format!("{title:52}{cells}")
        };
        let cell = |value: Option<f64>| value.map_or_else(|| "–".into(), rounded);
        let mut lines = Vec::new();
        for &load in loads {
            let mut head: Vec<String> = Way::ALL.map(|way| way.name().to_owned()).to_vec();
            head.extend(["memcpy", "wake-up"].map(str::to_owned));
            lines.push(row(load.name(), head));
            for (side, key, what, unit) in FIGURES {
                let mut cells = Way::ALL
                    .map(|way| cell(self.of(way, load, side, key)))
                    .to_vec();
                match key {
                    "latency_ms" => cells.push(cell(self.copying(load))),
                    "latency_p99_ms" => cells.push(cell(None)),
                    _ => {}
                }
                if key.starts_with("latency") {
                    cells.push(cell(self.waking(load, key)));
                }
                lines.push(row(format!("  {what}, {unit}"), cells));
            }
            lines.push(String::new());
        }
        lines.extend(self.goals.iter().map(Goal::line));
        lines.join("\n")
    }

    pub(super) fn json(&self, loads: &[Load]) -> Value {
        let by_load = loads.iter().map(|&load| {
            let figures = |way: Way| {
                let figures = FIGURES.map(|(side, key, ..)| {
                    let all = self
                        .figures
                        .get(&(way, load, side, key))
                        .cloned()
                        .unwrap_or_default();
                    (
                        format!("{}_{key}", side.word()),
                        json!({"median": median(&all), "all": all}),
                    )
                });
                Value::Object(figures.into_iter().collect())
            };
            let mut ways: Map<String, Value> = Way::ALL
                .map(|way| (way.name().to_owned(), figures(way)))
                .into_iter()
                .collect();
            let copies = self.memcpy.get(&load).cloned().unwrap_or_default();
            ways.insert(
                "memcpy".into(),
                json!({"ms": {"median": median(&copies), "all": copies}}),
            );
            let woken = self.wake_up.get(&(load, "latency_ms"));
            let woken = woken.cloned().unwrap_or_default();
            ways.insert(
                "wake-up".into(),
                json!({"ms": {"median": median(&woken), "all": woken}}),
            );
            (load.name(), Value::Object(ways))
        });
        json!({
            "loads": by_load.collect::<Map<_, _>>(),
            "goals": self.goals.iter().map(Goal::json).collect::<Vec<_>>(),
        })
    }

    pub(super) fn svg(&self) -> String {
        let bars = |load, side, key| {
            Way::ALL
                .map(|way| (way.name(), self.of(way, load, side, key)))
                .to_vec()
        };
        let (hd, uhd, free) = (Load::new(1080, 60), Load::new(2160, 60), Load::new(1080, 0));
        let panel = |title: &str, unit, bars| Panel {
            title: title.into(),
            unit,
            bars,
        };
        plot::draw(&[
            panel(
                "1080p60: pushed to seen, median",
                "ms",
                bars(hd, Side::Receiver, "latency_ms"),
            ),
            panel(
                "2160p60: pushed to seen, median",
                "ms",
                bars(uhd, Side::Receiver, "latency_ms"),
            ),
            panel(
                "1080p60: processor, sender",
                "% of a core",
                bars(hd, Side::Sender, "cpu_percent"),
            ),
            panel(
                "1080p, free-running: frames seen",
                "fps",
                bars(free, Side::Receiver, "fps"),
            ),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let mut report = Report::default();
        let load = Load::new(1080, 60);
        report.memcpy(load, 0.4);
        for (way, latency) in [(Way::Pool, 0.03), (Way::Copy, 0.5), (Way::Shm, 0.6)] {
            let sent = json!({"cpu_percent": 2.0, "fps": 60.0, "buffers": 3});
            report.hop(
                way,
                load,
                &sent,
                &json!({"latency_ms": latency, "fps": 60.0, "cpu_percent": 1.0}),
            );
        }
        report.judge();
        report
    }

    #[test]
    fn the_table_holds_a_hop_against_a_copy() {
        let table = report().table(&[Load::new(1080, 60)]);

        assert!(
            table.contains("1080p, 60 fps") && table.contains("0.50"),
            "{table}"
        );
        let goal = table
            .lines()
            .find(|line| line.starts_with("1080p60, a copied hop in memcpys"))
            .unwrap();
        assert!(goal.contains("1.25 ×") && goal.ends_with("met"), "{goal}");
    }

    #[test]
    fn the_data_and_the_picture_name_every_way() {
        let json = report().json(&[Load::new(1080, 60)]);

        let hop = &json["loads"]["1080p, 60 fps"]["spout, pool"]["receiver_latency_ms"]["median"];
        assert_eq!(*hop, json!(0.03));
        assert_eq!(json["goals"][3]["met"], json!(true));
        assert!(report().svg().contains(">shmsink<"));
    }
}
