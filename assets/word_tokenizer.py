"""A tokenizer of whole words for the demo encoder's small text tower.

A word it does not know loses its ending if that helps, and otherwise becomes one of a few tokens that carry
no meaning, so an unusual sentence still counts by the words that are known.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Int64
from torch import Tensor

UNKNOWN = 16  # how many tokens stand for unknown words
_PAD, _START = 0, 1
_SPELLING = {"gray": "grey", "color": "colour", "colored": "coloured", "colors": "colour"}
_ENDINGS = (("ies", "y"), ("es", ""), ("s", ""), ("ly", ""), ("ed", ""), ("ish", ""), ("y", ""), ("", "s"), ("", "ed"))


class WordTokenizer:
    """Turns sentences into rows of token numbers, and back.

    Ids are 0 for padding, 1 for the start, then the unknown words, then the vocabulary, and the end last:
    open_clip reads the sentence's embedding at the highest id.
    """

    def __init__(self, vocabulary: Sequence[str], context_length: int) -> None:
        self.vocabulary = tuple(vocabulary)
        self.context_length = context_length
        self._ids = {word: number for number, word in enumerate(self.vocabulary, start=2 + UNKNOWN)}
        self.end = 2 + UNKNOWN + len(self.vocabulary)

    @classmethod
    def load(cls, path: Path) -> WordTokenizer:
        """Read a tokenizer from its JSON file."""
        stored = json.loads(path.read_text(encoding="utf-8"))
        return cls(stored["words"], stored["context_length"])

    def save(self, path: Path) -> None:
        """Write the tokenizer to a JSON file."""
        stored = {"context_length": self.context_length, "words": list(self.vocabulary)}
        path.write_text(json.dumps(stored, indent=0) + "\n", encoding="utf-8")

    @property
    def size(self) -> int:
        """Number of token ids."""
        return self.end + 1

    def __call__(self, texts: str | Sequence[str], context_length: int | None = None) -> Int64[Tensor, "n t"]:
        """Return one row of ids a text, padded and cut to the context length."""
        length = context_length or self.context_length
        rows = torch.full((1 if isinstance(texts, str) else len(texts), length), _PAD, dtype=torch.int64)
        for row, text in zip(rows, [texts] if isinstance(texts, str) else texts, strict=True):
            ids = [_START, *self.encode(text)[: length - 2], self.end]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text's words, without start and end."""
        return [self._id(_SPELLING.get(word, word)) for word in re.findall(r"[^\W_]+", text.lower())]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the known words of a row of ids; an unknown word reads ``<unknown>``."""
        words = [int(i) - 2 for i in ids if _START < i < self.end]
        return " ".join("<unknown>" if word < UNKNOWN else self.vocabulary[word - UNKNOWN] for word in words)

    def knows(self, word: str) -> bool:
        """Return whether a single word carries meaning for this tokenizer."""
        return all(i >= 2 + UNKNOWN for i in self.encode(word))

    def _id(self, word: str) -> int:
        if word in self._ids:
            return self._ids[word]
        for ending, instead in _ENDINGS:
            stem = word[: len(word) - len(ending)] + instead
            if word.endswith(ending) and stem in self._ids:
                return self._ids[stem]
        return 2 + zlib.crc32(word.encode()) % UNKNOWN
