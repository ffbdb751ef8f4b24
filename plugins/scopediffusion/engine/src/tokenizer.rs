//! Text → token ids, as CLIP's text encoder expects them: begin, at most 75 tokens, end, padding.
//!
//! The `tokenizers` crate does the work; this file finds the vocabulary and adds the special
//! tokens by hand, because folders disagree about the padding token (Stable Diffusion 1 pads with
//! `<|endoftext|>`, 2 with `!`) and `tokenizer.json` often says nothing about it.

use std::collections::HashMap;

use serde_json::{Map, Value};
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as Steps;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

/// Tokens in a prompt, with begin, end and padding.
pub(crate) const LENGTH: usize = 77;

/// Characters of a prompt that are looked at; 75 tokens are far fewer.
const LONGEST_TEXT: usize = 4000;

/// How CLIP cuts a lower-case sentence into words.
///
/// Source: openai/CLIP, clip/simple_tokenizer.py.
const WORDS: &str =
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";

/// The contents of a `tokenizer/` folder, as bytes; reasons for failure name the file.
#[derive(Debug, Default)]
pub(crate) struct TokenizerFiles<'a> {
    pub(crate) tokenizer: Option<&'a [u8]>,
    pub(crate) vocabulary: Option<&'a [u8]>,
    pub(crate) merges: Option<&'a [u8]>,
    pub(crate) special_tokens: Option<&'a [u8]>,
}

/// A model's own way to read text.
#[derive(Debug)]
pub(crate) struct Tokenizer {
    inner: tokenizers::Tokenizer,
    begin: i64,
    end: i64,
    padding: i64,
}

/// The file that is to blame, and why.
pub(crate) type Blame = (&'static str, String);

impl Tokenizer {
    /// Prefers `tokenizer.json`; builds the same from `vocab.json` and `merges.txt` without it.
    pub(crate) fn new(files: &TokenizerFiles<'_>) -> Result<Self, Blame> {
        let mut inner = match (files.tokenizer, files.vocabulary, files.merges) {
            (Some(json), _, _) => ready_made(json).map_err(|reason| ("tokenizer.json", reason))?,
            (None, Some(vocabulary), Some(merges)) => from_vocabulary(vocabulary, merges)?,
            (None, None, _) => return Err(("vocab.json", "it is missing".into())),
            (None, _, None) => return Err(("merges.txt", "it is missing".into())),
        };
        let special = files.special_tokens.map_or(Ok(Value::Null), |json| {
            serde_json::from_slice(json)
                .map_err(|error| ("special_tokens_map.json", error.to_string()))
        })?;
        let named = |key: &str, usual: &str| -> String {
            let entry = &special[key];
            let text = entry.as_str().or_else(|| entry["content"].as_str());
            text.unwrap_or(usual).to_string()
        };
        let begin = named("bos_token", "<|startoftext|>");
        let end = named("eos_token", "<|endoftext|>");
        let padding = named("pad_token", "<|endoftext|>");
        // Inside a text they stand for themselves too: with `!` as padding, "neon!" ends in id 0.
        let spelled = [&begin, &end, &padding].map(|text| AddedToken::from(text.as_str(), true));
        let known = |token: &AddedToken| inner.token_to_id(&token.content).is_some();
        let spelled: Vec<_> = spelled.into_iter().filter(known).collect();
        inner.add_special_tokens(&spelled);
        let id = |text: &str| {
            inner.token_to_id(text).map(i64::from).ok_or_else(|| {
                let reason = format!("the vocabulary has no `{text}`");
                ("special_tokens_map.json", reason)
            })
        };
        let (begin, end, padding) = (id(&begin)?, id(&end)?, id(&padding)?);
        Ok(Self {
            inner,
            begin,
            end,
            padding,
        })
    }

    /// The highest token id that a text can have.
    pub(crate) fn highest(&self) -> i64 {
        let vocabulary = self.inner.get_vocab(true);
        vocabulary.values().max().map_or(0, |id| i64::from(*id))
    }

    /// Token ids of `text`, [`LENGTH`] of them; what does not fit is cut off.
    pub(crate) fn encode(&self, text: &str) -> Result<Vec<i64>, String> {
        let end = text
            .char_indices()
            .nth(LONGEST_TEXT)
            .map_or(text.len(), |(at, _)| at);
        let encoding = self
            .inner
            .encode_fast(&text[..end], false)
            .map_err(|error| error.to_string())?;
        let mut ids = Vec::with_capacity(LENGTH);
        ids.push(self.begin);
        ids.extend(
            encoding
                .get_ids()
                .iter()
                .take(LENGTH - 2)
                .map(|id| i64::from(*id)),
        );
        ids.push(self.end);
        ids.resize(LENGTH, self.padding);
        Ok(ids)
    }
}

/// The tokenizer of a `tokenizer.json`, without the parts that put the ids to other uses.
///
/// Parsed as plain JSON first: the crate panics over a file that is cut short in its `decoder`.
fn ready_made(json: &[u8]) -> Result<tokenizers::Tokenizer, String> {
    let mut parts: Map<String, Value> =
        serde_json::from_slice(json).map_err(|error| error.to_string())?;
    for unused in ["decoder", "post_processor", "padding", "truncation"] {
        parts.insert(unused.into(), Value::Null);
    }
    let text = Value::Object(parts).to_string();
    tokenizers::Tokenizer::from_bytes(text).map_err(|error| error.to_string())
}

fn from_vocabulary(vocabulary: &[u8], merges: &[u8]) -> Result<tokenizers::Tokenizer, Blame> {
    let vocabulary: HashMap<String, u32> =
        serde_json::from_slice(vocabulary).map_err(|error| ("vocab.json", error.to_string()))?;
    let merges = std::str::from_utf8(merges).map_err(|error| ("merges.txt", error.to_string()))?;
    let merges: Merges = merges
        .lines()
        .filter(|line| !line.starts_with("#version"))
        .filter_map(|line| line.split_once(' '))
        .map(|(left, right)| (left.to_string(), right.to_string()))
        .collect();
    let model = BPE::builder()
        .vocab_and_merges(vocabulary.into_iter().collect::<Vocab>(), merges)
        .unk_token("<|endoftext|>".into())
        .continuing_subword_prefix(String::new())
        .end_of_word_suffix("</w>".into())
        .build()
        .map_err(|error| ("merges.txt", error.to_string()))?;

    let pattern = |text: &str| SplitPattern::Regex(text.into());
    let spaces = Replace::new(
        tokenizers::normalizers::replace::ReplacePattern::Regex(r"\s+".into()),
        " ",
    )
    .map_err(|error| ("merges.txt", error.to_string()))?;
    let words = Split::new(pattern(WORDS), SplitDelimiterBehavior::Removed, true)
        .map_err(|error| ("merges.txt", error.to_string()))?;
    let mut tokenizer = tokenizers::Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(NormalizerWrapper::Sequence(Sequence::new(vec![
            NFC.into(),
            spaces.into(),
            Lowercase.into(),
        ]))))
        .with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Steps::new(vec![
            words.into(),
            ByteLevel::new(false, true, true).into(),
        ]))));
    Ok(tokenizer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::golden::{self, Golden, PROMPT};

    fn read(file: &str) -> Vec<u8> {
        std::fs::read(golden::model_dir().join("tokenizer").join(file)).unwrap()
    }

    fn ready_made() -> Tokenizer {
        let (tokenizer, special) = (read("tokenizer.json"), read("special_tokens_map.json"));
        let files = TokenizerFiles {
            tokenizer: Some(&tokenizer),
            special_tokens: Some(&special),
            ..TokenizerFiles::default()
        };
        Tokenizer::new(&files).unwrap()
    }

    fn from_parts() -> Tokenizer {
        let (vocabulary, merges) = (read("vocab.json"), read("merges.txt"));
        let special = read("special_tokens_map.json");
        let files = TokenizerFiles {
            vocabulary: Some(&vocabulary),
            merges: Some(&merges),
            special_tokens: Some(&special),
            ..TokenizerFiles::default()
        };
        Tokenizer::new(&files).unwrap()
    }

    #[test]
    fn ids_match_the_reference() {
        let stored = Golden::open("common");
        for (text, tensor) in [
            (PROMPT, "ids_prompt"),
            ("blurry, low quality", "ids_negative"),
        ] {
            let ids: Vec<f32> = ready_made()
                .encode(text)
                .unwrap()
                .iter()
                .map(|id| *id as f32)
                .collect();
            assert_eq!(ids, stored.floats(tensor), "{text}");
        }
    }

    #[test]
    fn vocabulary_and_merges_read_like_the_ready_made_file() {
        let (ready, parts) = (ready_made(), from_parts());
        for text in [
            "",
            PROMPT,
            "naïve  café — 日本 123 don't",
            "\t\n",
            "<|endoftext|> it's",
        ] {
            assert_eq!(
                ready.encode(text).unwrap(),
                parts.encode(text).unwrap(),
                "{text}"
            );
        }
    }

    #[test]
    fn a_text_of_any_length_becomes_77_ids() {
        let tokenizer = ready_made();
        for text in [String::new(), "neon ".repeat(5000), "é".repeat(100_000)] {
            let ids = tokenizer.encode(&text).unwrap();
            assert_eq!(ids.len(), LENGTH);
            assert_eq!(ids[0], tokenizer.begin);
        }
        assert_eq!(
            tokenizer.encode(&"neon ".repeat(99)).unwrap()[LENGTH - 1],
            tokenizer.end
        );
    }

    #[test]
    fn a_missing_vocabulary_is_blamed_by_name() {
        let blamed = Tokenizer::new(&TokenizerFiles::default()).unwrap_err();

        assert_eq!(blamed.0, "vocab.json");
    }
}
