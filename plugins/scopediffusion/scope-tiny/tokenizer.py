"""A CLIP-layout byte-pair tokenizer over the closed vocabulary, and its files."""
from __future__ import annotations

import collections
import json
from pathlib import Path

from vocabulary import tokenizer_words

VOCAB_SIZE = 2048
MAX_TOKENS = 77
BOS, EOS, PAD = "<|startoftext|>", "<|endoftext|>", "!"


def _byte_symbols() -> dict[int, str]:
    """The printable stand-in of each byte, as in every byte-level BPE."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {b: chr(b) for b in printable}
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + len(table) - len(printable))
    return table


def _merge(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out, i = [], 0
    while i < len(symbols):
        if symbols[i:i + 2] == pair:
            out.append(symbols[i] + symbols[i + 1])
            i += 2
        else:
            out.append(symbols[i])
            i += 1
    return tuple(out)


def build_bpe(size: int = VOCAB_SIZE) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary in CLIP order: 256 bytes, the same with </w>, the merges, then the two special tokens."""
    table = _byte_symbols()
    base = list(table.values())
    vocab = base + [c + "</w>" for c in base]
    words: collections.Counter[tuple[str, ...]] = collections.Counter()
    for word, count in tokenizer_words():
        symbols = [table[b] for b in word.encode()]
        symbols[-1] += "</w>"
        words[tuple(symbols)] += count
    merges, seen = [], set(vocab)
    while len(vocab) + 2 < size:
        pairs: collections.Counter[tuple[str, str]] = collections.Counter()
        for symbols, count in words.items():
            for pair in zip(symbols, symbols[1:]):
                pairs[pair] += count
        if not pairs:
            break
        best = max(pairs.items(), key=lambda item: (item[1], item[0]))[0]
        merges.append(best)
        if "".join(best) not in seen:
            seen.add("".join(best))
            vocab.append("".join(best))
        words = collections.Counter({_merge(s, best): c for s, c in words.items()})
    vocab += [BOS, EOS]
    return {token: i for i, token in enumerate(vocab)}, merges


def write_tokenizer(folder: Path) -> int:
    """Write the tokenizer files of a diffusers folder; returns the number of tokens."""
    from transformers import CLIPTokenizer
    vocab, merges = build_bpe()
    folder.mkdir(parents=True, exist_ok=True)
    CLIPTokenizer(vocab=vocab, merges=merges, pad_token=PAD, model_max_length=MAX_TOKENS).save_pretrained(folder)
    # the older layout, for loaders that read no tokenizer.json
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(" ".join(m) for m in merges) + "\n")
    (folder / "special_tokens_map.json").write_text(json.dumps({"bos_token": BOS, "eos_token": EOS, "unk_token": EOS, "pad_token": PAD}))
    return len(vocab)


class Prompts:
    """Text to token ids of fixed length, through the written tokenizer.json."""

    def __init__(self, folder: Path):
        from tokenizers import Tokenizer
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.bos, self.eos, self.pad = (self.tokenizer.token_to_id(t) for t in (BOS, EOS, PAD))

    def ids(self, text: str) -> list[int]:
        body = self.tokenizer.encode(text, add_special_tokens=False).ids[:MAX_TOKENS - 2]
        row = [self.bos, *body, self.eos]
        return row + [self.pad] * (MAX_TOKENS - len(row))
