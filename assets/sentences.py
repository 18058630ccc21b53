"""Writes candidate sentences for every class, as a language model would give them, with the truth beside them.

``sentences/<world>.json`` has the layout that LaBo made standard, ``{class: [sentence, ...]}``. Some sentences
are wrong, and some say what no picture shows; ``sentences/<world>_truth.json`` tells which.
Run ``python -m assets.sentences`` to write the files again.

References
----------
Yang et al., "Language in a bottle", CVPR 2023.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.random import Generator

from assets import cells, species
from assets.captions import caption, describe

Truth = Literal["true", "wrong", "setting", "general", "not visual"]

_FRAMES = MappingProxyType(
    {
        "bird": (
            "the bird has {article}{trait}",
            "{trait} that is easy to see",
            "recognised by its {trait}",
            "{article}{trait} seen from the side",
            "adults show {article}{trait}",
            "clearly visible {trait}",
        ),
        "cell": (
            "the cell has {article}{trait}",
            "{trait} under the microscope",
            "recognised by its {trait}",
            "{trait} after staining",
            "a cell that shows {article}{trait}",
            "typically {article}{trait}",
        ),
    }
)
_PLURAL_OR_MASS = ("s", "feet", "cytoplasm", "chromatin", "granularity", "crest", "size", "body")
_SIZES = MappingProxyType(
    {"large bird": "a large bird", "small bird": "a small bird", "big cell": "a big cell", "small cell": "a small cell"}
)
_SETTINGS = MappingProxyType(
    {
        "water": ("rests on stones in open water", "seen with a lake behind it", "a bird by the sea shore", "rippling water around it"),
        "land": ("rests on the ground in a meadow", "seen with trees behind it", "a bird at the edge of a forest", "grass and foliage around it"),
    }
)  # fmt: skip
_NOT_VISUAL = MappingProxyType(
    {
        "bird": (
            "sings a soft rising song at dawn", "lays three to five eggs in spring", "feeds mainly on insects and seeds",
            "migrates south in the autumn", "is shy and hard to approach", "pairs stay together for life",
            "its name comes from an old dialect word", "was first described in the nineteenth century",
        ),
        "cell": (
            "makes up a part of circulating leukocytes", "lives for a few days in the blood", "is produced in the bone marrow",
            "takes part in the immune response", "rises in number during infection", "responds to chemical signals",
            "was first described by Paul Ehrlich", "leaves the vessels by diapedesis",
        ),
    }
)  # fmt: skip
_GENERAL = MappingProxyType(
    {
        "bird": ("covered with feathers", "has two wings and a tail", "a bird standing on two legs"),
        "cell": ("has a nucleus and cytoplasm", "surrounded by red blood cells", "a stained white blood cell"),
    }
)


@dataclass(frozen=True)
class Sentence:
    """A sentence about a class, how true it is of the class, and the concepts that it speaks of."""

    text: str
    truth: Truth
    concepts: tuple[str, ...] = ()


def bird_sentences(seed: int = 0) -> dict[str, list[Sentence]]:
    """Return about forty sentences a species."""
    settings = {"water": "water background", "land": "land background"}
    return {
        one.name: _about("bird", one.traits, species.GROUPS, _rng(one.name, seed))
        + [Sentence(text, "setting", (settings[one.habitat],)) for text in _SETTINGS[one.habitat]]
        for one in species.SPECIES
    }


def cell_sentences(seed: int = 0) -> dict[str, list[Sentence]]:
    """Return about thirty-five sentences a class of cells."""
    groups = {group: values for group, values in cells.GROUPS.items() if group != "granularity"}
    return {kind: _about("cell", usual, groups, _rng(kind, seed)) for kind, usual in cells.usual_traits().items()}


def _rng(name: str, seed: int) -> Generator:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def _about(kind: str, traits: Sequence[str], groups: Mapping[str, tuple[str, ...]], rng: Generator) -> list[Sentence]:
    """True sentences on each trait and on some together, wrong ones, and ones that no picture shows."""
    traits = [trait for trait in traits if not trait.startswith("nil ")]
    found = [_one(kind, trait, "true", rng) for trait in traits]
    parts = [trait for trait in traits if trait not in _SIZES]
    for _ in range(8):
        some = [str(trait) for trait in rng.permutation(parts)[:2]]
        found.append(Sentence(caption(some, rng), "true", tuple(some)))
    others = [v for values in groups.values() for v in values if v not in traits and not v.startswith("nil ")]
    visible = [other for other in others if "background" not in other]
    found += [_one(kind, str(other), "wrong", rng) for other in rng.permutation(visible)[:7]]
    found += [Sentence(str(text), "not visual") for text in rng.permutation(_NOT_VISUAL[kind])[:5]]
    found += [Sentence(text, "general") for text in _GENERAL[kind]]
    return list({sentence.text: sentence for sentence in found}.values())


def _one(kind: str, concept: str, truth: Truth, rng: Generator) -> Sentence:
    if concept in _SIZES:
        return Sentence(f"{_SIZES[concept]} compared with others", truth, (concept,))
    trait = describe(concept, rng)
    frame = str(rng.choice(_FRAMES[kind]))
    return Sentence(frame.format(trait=trait, article=_article(trait)), truth, (concept,))


def _article(trait: str) -> str:
    if trait.startswith(("no ", "without ", "little ", "much ")) or trait.split(" that ")[0].endswith(_PLURAL_OR_MASS):
        return ""
    return "an " if trait[0] in "aeiou" else "a "


def write_sentences(folder: Path) -> None:
    """Write both worlds' sentences, and the truth about them, to JSON files."""
    folder.mkdir(exist_ok=True)
    for world, found in (("birds", bird_sentences()), ("cells", cell_sentences())):
        plain = {name: [sentence.text for sentence in about] for name, about in found.items()}
        truth = {name: [asdict(sentence) for sentence in about] for name, about in found.items()}
        (folder / f"{world}.json").write_text(json.dumps(plain, indent=1) + "\n", encoding="utf-8")
        (folder / f"{world}_truth.json").write_text(json.dumps(truth) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_sentences(Path(__file__).resolve().parent / "sentences")
