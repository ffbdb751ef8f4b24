//! Numbers out of measurements, and goals they are held against.
//!
//! Pure.

use serde_json::{Value, json};

/// The value that half of the others lie below; `None` of nothing.
pub(super) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value that a share of the others lies below.
pub(super) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * share).round() as usize).copied()
}

/// A goal and how far it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Goal {
    pub(super) what: &'static str,
    /// `None` where it could not be measured.
    pub(super) value: Option<f64>,
    pub(super) limit: f64,
    pub(super) unit: &'static str,
    /// More is better.
    pub(super) at_least: bool,
}

impl Goal {
    /// At most `limit` times of what the other one needs.
    pub(super) fn ratio(
        what: &'static str,
        ours: Option<f64>,
        theirs: Option<f64>,
        limit: f64,
    ) -> Self {
        let value = ours.zip(theirs).map(|(ours, theirs)| ours / theirs);
        Self {
            what,
            value,
            limit,
            unit: "×",
            at_least: false,
        }
    }

    pub(super) fn is_met(&self) -> Option<bool> {
        self.value.map(|value| {
            if self.at_least {
                value >= self.limit
            } else {
                value <= self.limit
            }
        })
    }

    /// One line of the report.
    pub(super) fn line(&self) -> String {
        let sign = if self.at_least { '≥' } else { '≤' };
        let (value, verdict) = match (self.value, self.is_met()) {
            (Some(value), Some(met)) => (
                format!("{value:.2} {}", self.unit),
                if met { "met" } else { "MISSED" },
            ),
            _ => ("–".into(), "not measured"),
        };
        format!(
            "{:58} {value:>12}   {sign} {:.2} {:4} {verdict}",
            self.what, self.limit, self.unit
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({"what": self.what, "value": self.value, "limit": self.limit, "unit": self.unit, "met": self.is_met()})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_stand_in_the_sorted_row() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];

        assert_eq!(median(&values), Some(3.0));
        assert_eq!(quantile(&values, 1.0), Some(5.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_goal_knows_its_direction() {
        let ratio = Goal::ratio("x", Some(3.0), Some(30.0), 0.2);
        assert_eq!(ratio.is_met(), Some(true));
        assert!(ratio.line().contains("0.10 ×") && ratio.line().ends_with("met"));
        let rate = Goal {
            what: "y",
            value: Some(24.0),
            limit: 25.0,
            unit: "fps",
            at_least: true,
        };
        assert_eq!(rate.is_met(), Some(false));
        assert_eq!(Goal::ratio("z", None, Some(1.0), 1.0).is_met(), None);
    }
}
