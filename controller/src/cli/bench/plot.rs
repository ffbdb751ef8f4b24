//! Bars, as SVG text.
//!
//! Pure. Readable on a light and on a dark page: the background is transparent, the text is a middle grey.

use std::fmt::Write as _;

use super::report::rounded;

/// One row of bars that share a scale.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) unit: &'static str,
    pub(super) bars: Vec<(&'static str, Option<f64>)>,
}

const COLUMNS: usize = 2;
const WIDTH: usize = 420;
const LABEL: usize = 110;
const LONGEST: f64 = 200.0;
const BAR: usize = 18;
const HEAD: usize = 30;
const FOOT: usize = 22;
/// Ours first.
const COLOURS: [&str; 3] = ["#e8a33d", "#6c8ebf", "#8d99a6"];

/// Draws the panels side by side.
pub(super) fn draw(panels: &[Panel]) -> String {
    let most = panels
        .iter()
        .map(|panel| panel.bars.len())
        .max()
        .unwrap_or_default();
    let height = HEAD + most * (BAR + 6) + FOOT;
    let rows = panels.len().div_ceil(COLUMNS);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"13\" fill=\"#808890\">\n",
        WIDTH * COLUMNS,
        height * rows
    );
    for (index, panel) in panels.iter().enumerate() {
        let (x, y) = (WIDTH * (index % COLUMNS), height * (index / COLUMNS));
        writeln!(text, "<g transform=\"translate({x} {y})\">").ok();
        draw_panel(&mut text, panel);
        text.push_str("</g>\n");
    }
    text.push_str("</svg>\n");
    text
}

fn draw_panel(text: &mut String, panel: &Panel) {
    let longest = panel
        .bars
        .iter()
        .filter_map(|(_, value)| *value)
        .fold(f64::MIN_POSITIVE, f64::max);
    writeln!(
        text,
        "<text x=\"8\" y=\"20\" font-weight=\"bold\">{}</text>",
        panel.title
    )
    .ok();
    for (index, (name, value)) in panel.bars.iter().enumerate() {
        let y = HEAD + index * (BAR + 6);
        let base = y + BAR - 5;
        writeln!(
            text,
            "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{name}</text>",
            LABEL - 8
        )
        .ok();
        let length = value.map_or(0.0, |value| (value / longest * LONGEST).max(1.0));
        let colour = COLOURS[index % COLOURS.len()];
        writeln!(text, "<rect x=\"{LABEL}\" y=\"{y}\" width=\"{length:.0}\" height=\"{BAR}\" rx=\"2\" fill=\"{colour}\"/>").ok();
        let shown = value.map_or_else(
            || "not measured".into(),
            |value| format!("{} {}", rounded(value), panel.unit),
        );
        writeln!(
            text,
            "<text x=\"{:.0}\" y=\"{base}\">{}</text>",
            LABEL as f64 + length + 6.0,
            shown.trim_end()
        )
        .ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_bar_fills_its_room_and_a_gap_says_so() {
        let panel = Panel {
            title: "t".into(),
            unit: "ms",
            bars: vec![("a", Some(5.0)), ("b", Some(50.0)), ("c", None)],
        };

        let svg = draw(&[panel]);

        assert!(svg.contains("width=\"200\"") && svg.contains("width=\"20\""));
        assert!(svg.contains("not measured") && svg.contains("50.0 ms"));
    }
}
