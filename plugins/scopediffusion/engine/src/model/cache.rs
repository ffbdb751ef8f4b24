//! The embeddings of the prompts used last, by text.

use std::sync::Arc;

use crate::prompt::Condition;

/// Embeddings kept; one of Stable Diffusion 2 takes 315 kB.
const CAPACITY: usize = 256;

/// Least recently used goes first. A list, because a search through that many texts costs nothing
/// beside a text encoder.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Oldest use first.
    entries: Vec<(String, Arc<Condition>)>,
}

impl Cache {
    pub(super) fn get(&mut self, text: &str) -> Option<Arc<Condition>> {
        let at = self.entries.iter().position(|(known, _)| known == text)?;
        let entry = self.entries.remove(at);
        let embedding = Arc::clone(&entry.1);
        self.entries.push(entry);
        Some(embedding)
    }

    pub(super) fn put(&mut self, text: &str, embedding: Arc<Condition>) {
        self.entries.retain(|(known, _)| known != text);
        if self.entries.len() == CAPACITY {
            self.entries.remove(0);
        }
        self.entries.push((text.to_string(), embedding));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_text_is_forgotten_first() {
        let mut cache = Cache::default();
        for text in 0..CAPACITY {
            cache.put(&text.to_string(), Arc::default());
        }

        assert!(cache.get("0").is_some());
        cache.put("one more", Arc::default());

        assert!(cache.get("0").is_some(), "it was used a moment ago");
        assert!(cache.get("1").is_none());
    }
}
