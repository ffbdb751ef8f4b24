//! The embeddings of the prompts used last, by text.

use std::sync::Arc;

/// Embeddings kept; one of Stable Diffusion 2 takes 315 kB.
const CAPACITY: usize = 128;

/// Least recently used goes first. A list, because a search through 128 texts costs nothing
/// beside a text encoder.
#[derive(Debug, Default)]
pub(super) struct Cache {
    /// Oldest use first.
    entries: Vec<(String, Arc<[f32]>)>,
}

impl Cache {
    pub(super) fn get(&mut self, text: &str) -> Option<Arc<[f32]>> {
        let at = self.entries.iter().position(|(known, _)| known == text)?;
        let entry = self.entries.remove(at);
        let embedding = Arc::clone(&entry.1);
        self.entries.push(entry);
        Some(embedding)
    }

    pub(super) fn put(&mut self, text: &str, embedding: Arc<[f32]>) {
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
            cache.put(&text.to_string(), [text as f32].into());
        }

        assert!(cache.get("0").is_some());
        cache.put("one more", [0.0].into());

        assert!(cache.get("0").is_some(), "it was used a moment ago");
        assert!(cache.get("1").is_none());
    }
}
