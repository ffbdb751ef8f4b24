//! The newest log lines in memory.

use std::collections::VecDeque;
use std::sync::Mutex;

/// Longest line kept, bytes.
const LONGEST: usize = 4096;

/// A bounded list of lines that remembers how much ever went through it.
#[derive(Debug)]
pub struct Ring {
    kept: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Each line with the offset after it.
    lines: VecDeque<(u64, String)>,
    written: u64,
}

impl Ring {
    /// Keeps that many lines.
    pub fn new(kept: usize) -> Self {
        Self {
            kept,
            state: Mutex::default(),
        }
    }

    /// Adds a line; the oldest goes when there are too many.
    pub fn push(&self, mut line: String) {
        let cut = (0..=LONGEST.min(line.len()))
            .rev()
            .find(|at| line.is_char_boundary(*at));
        line.truncate(cut.unwrap_or(0));
        let mut state = self.state.lock().unwrap();
        // As if it were a file: the line and its end.
        state.written += line.len() as u64 + 1;
        let written = state.written;
        state.lines.push_back((written, line));
        if state.lines.len() > self.kept {
            state.lines.pop_front();
        }
    }

    /// The last `count` lines, or those of them after the offset `since`; and the offset to ask with next.
    pub fn tail(&self, count: usize, since: u64) -> (Vec<String>, u64) {
        let state = self.state.lock().unwrap();
        let newer = state
            .lines
            .iter()
            .rev()
            .take_while(|(end, _)| *end > since)
            .take(count);
        let mut lines: Vec<_> = newer.map(|(_, line)| line.clone()).collect();
        lines.reverse();
        (lines, state.written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(kept: usize, lines: &[&str]) -> Ring {
        let ring = Ring::new(kept);
        lines.iter().for_each(|line| ring.push((*line).to_owned()));
        ring
    }

    #[test]
    fn an_offset_asks_for_what_came_since() {
        let ring = ring(10, &["a", "b"]);
        let (lines, offset) = ring.tail(10, 0);
        assert_eq!(lines, ["a", "b"]);

        ring.push("c".into());

        assert_eq!(ring.tail(10, offset).0, ["c"]);
        assert!(ring.tail(10, 1 << 40).0.is_empty());
    }

    #[test]
    fn old_lines_make_room() {
        assert_eq!(ring(2, &["a", "b", "c"]).tail(10, 0).0, ["b", "c"]);
        assert_eq!(ring(9, &["a", "b", "c"]).tail(1, 0).0, ["c"]);
    }

    #[test]
    fn an_endless_line_is_cut_between_letters() {
        let ring = ring(1, &["é".repeat(5000).as_str()]);

        assert_eq!(ring.tail(1, 0).0[0].len(), LONGEST);
    }
}
