//! What we say on the data channel, kept until it opens.
//!
//! Pure. The client makes the channel, so a message may be due before there is one.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::Parameters;

/// Messages kept for a channel that is not open yet; beyond that the oldest goes.
const WAITING: usize = 64;

/// Messages on their way to one client.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    open: bool,
    waiting: VecDeque<String>,
}

impl Outbox {
    /// The channel is open: everything that waited is due now.
    pub(super) fn opened(&mut self) -> Vec<String> {
        self.open = true;
        self.waiting.drain(..).collect()
    }

    pub(super) fn closed(&mut self) {
        self.open = false;
    }

    /// Gives the message back if it can go at once, keeps it otherwise.
    pub(super) fn post(&mut self, message: &Value) -> Option<String> {
        let text = message.to_string();
        if self.open {
            return Some(text);
        }
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(text);
        None
    }
}

/// The stream ended; with an error's text when that is why.
pub(super) fn stream_stopped(error: Option<&str>) -> Value {
    match error {
        Some(error) => json!({"type": "stream_stopped", "error_message": error}),
        None => json!({"type": "stream_stopped"}),
    }
}

/// Parameters were changed by someone else.
pub(super) fn parameters_updated(parameters: &Parameters) -> Value {
    json!({"type": "parameters_updated", "parameters": parameters})
}

/// The client's message changed nothing, and why.
pub(super) fn error(detail: &str) -> Value {
    json!({"type": "error", "detail": detail})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_wait_for_the_channel_in_order() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.post(&json!(1)), None);
        assert_eq!(outbox.post(&json!(2)), None);

        assert_eq!(outbox.opened(), ["1", "2"]);
        assert_eq!(outbox.post(&json!(3)), Some("3".into()));
    }

    #[test]
    fn a_channel_that_never_opens_keeps_only_the_newest() {
        let mut outbox = Outbox::default();
        for number in 0..200 {
            outbox.post(&json!(number));
        }

        let kept = outbox.opened();
        assert_eq!(
            (kept.len(), kept.last().unwrap().as_str()),
            (WAITING, "199")
        );
    }

    #[test]
    fn the_words_are_the_ones_clients_know() {
        assert_eq!(
            stream_stopped(None).to_string(),
            r#"{"type":"stream_stopped"}"#
        );
        assert_eq!(
            stream_stopped(Some("no model")).to_string(),
            r#"{"type":"stream_stopped","error_message":"no model"}"#
        );
        let mut patch = Parameters::new();
        patch.insert("noise_scale".into(), json!(0.5));
        assert_eq!(
            parameters_updated(&patch).to_string(),
            r#"{"type":"parameters_updated","parameters":{"noise_scale":0.5}}"#
        );
    }
}
