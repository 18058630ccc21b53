"""Texts that `builtin:photo` is fitted on, and what each should point to: ImageNet's names and glosses, WordNet.

ImageNet's names come with timm, the tree of categories from WordNet's `data.noun`. A class points to its row of the
image classifier, a category to the mean of its classes.
"""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

CATEGORY_CLASSES = 2  # a category needs this many classes below it


@dataclass(frozen=True)
class Anchors:
    """Texts, the direction in feature space that each should point to `[a f]`, and how much each counts `[a]`."""

    texts: tuple[str, ...]
    directions: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.texts)


def joined(*parts: Anchors) -> Anchors:
    """All of them; a text that is in several keeps its first direction."""
    texts = [text for part in parts for text in part.texts]
    first = sorted({text: i for i, text in reversed(list(enumerate(texts)))}.values())
    directions, weights = torch.cat([part.directions for part in parts]), torch.cat([part.weights for part in parts])
    return Anchors(tuple(texts[i] for i in first), directions[first], weights[first])


def counted(anchors: Anchors, *, leaving_out: Collection[str] = ()) -> Anchors:
    """Those that count at all, without texts that say one of the words that are left out."""
    unseen = {f"{start}{word}" for word in leaving_out for start in ("", "a photo of a ")}
    some = [i for i, text in enumerate(anchors.texts) if anchors.weights[i] > 0 and text.lower() not in unseen]
    return Anchors(tuple(anchors.texts[i] for i in some), anchors.directions[some], anchors.weights[some])


def pointed(pairs: list[tuple[str, Tensor]], weight: float) -> Anchors:
    """Anchors of one weight."""
    texts, directions = zip(*pairs, strict=True)
    return Anchors(texts, normalize(torch.stack(directions), dim=1), torch.full((len(texts),), weight))


@dataclass(frozen=True)
class Nouns:
    """WordNet's nouns by ImageNet's ids (`n01440764`): words, gloss, and the categories right above each."""

    words: dict[str, tuple[str, ...]]
    gloss: dict[str, str]
    above: dict[str, tuple[str, ...]]

    def ancestors(self, noun: str) -> list[str]:
        """All categories above a noun, the nearest first."""
        found: list[str] = []
        level = [noun]
        while level:
            level = list(dict.fromkeys(up for below in level for up in self.above[below] if up not in found))
            found += level
        return found


def read_nouns(wordnet: Path) -> Nouns:
    """Read WordNet 3.0's `data.noun` (Debian: package wordnet-base, folder /usr/share/wordnet).

    Raises
    ------
    FileNotFoundError
        If the folder does not hold it.
    """
    file = wordnet / "data.noun"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: give --wordnet the folder of WordNet 3.0's data.noun")
    nouns = Nouns({}, {}, {})
    for line in file.read_text().splitlines():
        if not line.startswith(" "):  # the licence is indented
            _read_noun(line, nouns)
    return nouns


def class_ids() -> list[str]:
    """WordNet ids of the 1,000 ImageNet classes, in the classifier's order."""
    return (files("timm") / "data/_info/imagenet_synsets.txt").read_text().split()


def class_anchors(nouns: Nouns, classes: dict[str, Tensor], weight: float) -> Anchors:
    """Every name of every class, alone and as a photo, and its gloss."""
    return pointed([(text, row) for noun, row in classes.items() for text in _sayings(nouns, noun)], weight)


def category_directions(nouns: Nouns, classes: dict[str, Tensor]) -> dict[str, tuple[Tensor, int]]:
    """Mean direction of the classes below each category, and how many there are."""
    below = defaultdict(list)
    for noun, row in classes.items():
        for category in nouns.ancestors(noun):
            below[category].append(row)
    return {
        category: (torch.stack(members).mean(0), len(members))
        for category, members in below.items()
        if CATEGORY_CLASSES <= len(members) <= len(classes) // 2
    }


def category_anchors(nouns: Nouns, categories: dict[str, tuple[Tensor, int]], weight: float) -> Anchors:
    """Names and glosses of categories."""
    pairs = [(text, direction) for noun, (direction, _) in categories.items() for text in _sayings(nouns, noun)]
    return pointed(pairs, weight)


def _sayings(nouns: Nouns, noun: str) -> list[str]:
    words = nouns.words[noun]
    return [*words, f"a photo of a {words[0]}", f"{words[0]}: {nouns.gloss[noun]}"]


def _read_noun(line: str, nouns: Nouns) -> None:
    """One line: offset, file, type, count (hexadecimal), words with a number each, pointers, then `|` and the gloss."""
    data, _, gloss = line.partition(" | ")
    field = data.split()
    count = int(field[3], 16)
    pointers = field[5 + 2 * count :]
    above = [pointers[i + 1] for i in range(0, 4 * int(field[4 + 2 * count]), 4) if pointers[i] in ("@", "@i")]
    name = f"n{field[0]}"
    nouns.words[name] = tuple(word.replace("_", " ") for word in field[4 : 4 + 2 * count : 2])
    nouns.gloss[name] = gloss.split('; "')[0].strip()
    nouns.above[name] = tuple(f"n{offset}" for offset in above)
