//! Text → token ids, as CLIP's text encoder expects them: begin, at most 75 tokens, end, padding.
//!
//! The `tokenizers` crate does the work; this file finds the vocabulary and adds the special
//! tokens by hand, because folders disagree about the padding token (Stable Diffusion 1 pads with
//! `<|endoftext|>`, 2 with `!`) and `tokenizer.json` often says nothing about it.

use std::collections::HashMap;

use serde_json::Value;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::{Lowercase, NFC, Replace, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence as Steps;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{NormalizerWrapper, PreTokenizerWrapper, SplitDelimiterBehavior};

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
            (Some(json), _, _) => tokenizers::Tokenizer::from_bytes(json)
                .map_err(|error| ("tokenizer.json", error.to_string()))?,
            (None, Some(vocabulary), Some(merges)) => from_vocabulary(vocabulary, merges)?,
            (None, None, _) => return Err(("vocab.json", "it is missing".into())),
            (None, _, None) => return Err(("merges.txt", "it is missing".into())),
        };
        inner.with_padding(None);
        inner
            .with_truncation(None)
            .map_err(|error| ("tokenizer.json", error.to_string()))?;
        let special = files.special_tokens.map_or(Ok(Value::Null), |json| {
            serde_json::from_slice(json)
                .map_err(|error| ("special_tokens_map.json", error.to_string()))
        })?;
        let id = |key: &str, usual: &str| {
            let entry = &special[key];
            let text = entry
                .as_str()
                .or_else(|| entry["content"].as_str())
                .unwrap_or(usual);
            inner.token_to_id(text).map(i64::from).ok_or_else(|| {
                (
                    "special_tokens_map.json",
                    format!("the vocabulary has no {key} `{text}`"),
                )
            })
        };
        let begin = id("bos_token", "<|startoftext|>")?;
        let end = id("eos_token", "<|endoftext|>")?;
        let padding = id("pad_token", "<|endoftext|>")?;
        Ok(Self {
            inner,
            begin,
            end,
            padding,
        })
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
