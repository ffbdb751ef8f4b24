//! Parameters on their way to the app, kept while nothing can carry them.

use super::message::Parameters;

/// Merges what is said while the channel is closed, and passes it on at once while it is open.
#[derive(Debug, Default)]
pub struct Outbox {
    open: bool,
    waiting: Parameters,
}

impl Outbox {
    /// Takes a patch. What comes back is to be sent now; nothing comes back while it waits or when nothing is in it.
    ///
    /// A null says nothing to the app, so it is left out. A key said again moves to the end.
    pub fn post(&mut self, patch: Parameters) -> Option<Parameters> {
        let said = patch.into_iter().filter(|(_, value)| !value.is_null());
        if self.open {
            let now: Parameters = said.collect();
            return (!now.is_empty()).then_some(now);
        }
        for (name, value) in said {
            self.waiting.shift_remove(&name);
            self.waiting.insert(name, value);
        }
        None
    }

    /// Puts a patch before everything that waits; nothing that was said since is undone by it.
    pub fn precede(&mut self, patch: Parameters) {
        let later = std::mem::replace(&mut self.waiting, patch);
        self.waiting.retain(|_, value| !value.is_null());
        for (name, value) in later {
            self.waiting.shift_remove(&name);
            self.waiting.insert(name, value);
        }
    }

    /// The channel is open: everything that waited, as one patch.
    pub fn opened(&mut self) -> Option<Parameters> {
        self.open = true;
        let waited = std::mem::take(&mut self.waiting);
        (!waited.is_empty()).then_some(waited)
    }

    /// The channel is closed; what is said from now on waits.
    pub fn closed(&mut self) {
        self.open = false;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn patch(value: &Value) -> Parameters {
        value.as_object().unwrap().clone()
    }

    fn text(patch: Option<Parameters>) -> String {
        patch.map_or(String::new(), |patch| Value::Object(patch).to_string())
    }

    #[test]
    fn what_waited_goes_out_merged_and_in_order() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.post(patch(&json!({"a": 1, "b": 2}))), None);
        assert_eq!(
            outbox.post(patch(&json!({"c": 3, "a": 4, "b": null}))),
            None
        );

        assert_eq!(text(outbox.opened()), r#"{"b":2,"c":3,"a":4}"#);
        assert_eq!(outbox.opened(), None, "it went out once");
    }

    #[test]
    fn what_was_meant_first_goes_first_and_undoes_nothing() {
        let mut outbox = Outbox::default();
        outbox.post(patch(&json!({"a": 9})));

        outbox.precede(patch(&json!({"a": 1, "b": 2, "c": null})));

        assert_eq!(text(outbox.opened()), r#"{"b":2,"a":9}"#);
    }

    #[test]
    fn an_open_channel_carries_at_once() {
        let mut outbox = Outbox::default();
        assert_eq!(outbox.opened(), None);

        assert_eq!(
            text(outbox.post(patch(&json!({"a": 1, "b": null})))),
            r#"{"a":1}"#
        );
        assert_eq!(outbox.post(patch(&json!({"b": null}))), None);

        outbox.closed();
        assert_eq!(outbox.post(patch(&json!({"a": 2}))), None);
        assert_eq!(text(outbox.opened()), r#"{"a":2}"#);
    }
}
