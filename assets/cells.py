"""The rendered blood cells: five classes described by the eleven attribute groups of WBCAtt, in two laboratories.

Laboratory A trains everything. Laboratory B (split ``shifted``) stains, photographs and magnifies otherwise;
`SHIFT` records which concepts its pictures suggest wrongly and which they hide.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import UInt8
from numpy.random import Generator

from assets.draw_cell import LABORATORIES, draw_cell
from assets.rendering import OnProgress, Subject, World, write_world

SIZE = 96
COUNTS = MappingProxyType({"train": 1500, "val": 300, "test": 600, "shifted": 600})

GROUPS = MappingProxyType(
    {
        "cell size": ("big cell", "small cell"),
        "cell shape": ("round cell", "irregular cell"),
        "nucleus shape": (
            "multilobed nucleus",
            "bilobed nucleus",
            "band nucleus",
            "round nucleus",
            "indented nucleus",
            "irregular nucleus",
        ),
        "nucleus-cytoplasm ratio": ("high nucleus-cytoplasm ratio", "low nucleus-cytoplasm ratio"),
        "chromatin density": ("dense chromatin", "loose chromatin"),
        "cytoplasm vacuole": ("vacuoles", "no vacuoles"),
        "cytoplasm texture": ("clear cytoplasm", "frosted cytoplasm"),
        "cytoplasm colour": ("light blue cytoplasm", "blue cytoplasm", "purple blue cytoplasm"),
        "granule type": ("small granules", "round granules", "coarse granules", "nil granule type"),
        "granule colour": ("pink granules", "red granules", "purple granules", "nil granule colour"),
        "granularity": ("granular cytoplasm", "agranular cytoplasm"),
    }
)
"""The eleven attribute groups; exactly one concept of each is true of a cell."""

CONCEPTS = tuple(concept for values in GROUPS.values() for concept in values)
GROUP_OF = MappingProxyType({concept: group for group, values in GROUPS.items() for concept in values})
PARTS = ("background", "cytoplasm", "nucleus", "granule", "vacuole", "red cell")
"""Names of the labels 0, 1, ... in a part mask."""

PARTS_OF_GROUP = MappingProxyType(
    {
        "cell size": ("cytoplasm", "nucleus", "granule", "vacuole"),
        "cell shape": ("cytoplasm", "nucleus", "granule", "vacuole"),
        "nucleus shape": ("nucleus",),
        "nucleus-cytoplasm ratio": ("nucleus", "cytoplasm", "granule"),
        "chromatin density": ("nucleus",),
        "cytoplasm vacuole": ("vacuole", "cytoplasm", "granule"),
        "cytoplasm texture": ("cytoplasm", "granule", "vacuole"),
        "cytoplasm colour": ("cytoplasm", "granule", "vacuole"),
        "granule type": ("granule", "cytoplasm"),
        "granule colour": ("granule", "cytoplasm"),
        "granularity": ("granule", "cytoplasm"),
    }
)
"""The parts where a concept of each group is to be seen; the absence of something is seen in the cytoplasm."""

HELD_OUT = (
    ("bilobed nucleus", "purple granules"),
    ("round nucleus", "frosted cytoplasm"),
    ("indented nucleus", "pink granules"),
    ("band nucleus", "purple blue cytoplasm"),
)
"""Pairs of concepts that the demo encoder never sees in one image or caption while it is trained."""

SHIFT = MappingProxyType(
    {
        "misactivated": ("purple blue cytoplasm", "pink granules", "vacuoles", "irregular cell"),
        "under-activated": ("light blue cytoplasm", "blue cytoplasm", "red granules", "purple granules", "no vacuoles"),
    }
)
"""How laboratory B misleads: concepts its pictures suggest wrongly, and concepts its pictures hide.

More basic dye turns cytoplasm purple, less acid dye turns red granules pink, and blur dissolves outlines. The
concepts are those whose mean score by the demo encoder moves most between equal cells of the two laboratories.
"""

_USUAL = MappingProxyType(
    {
        "neutrophil": "big|round|multilobed 7,band 2,bilobed 1|low|dense|no|clear|light blue|small|pink",
        "eosinophil": "big|round|bilobed 9,multilobed 1|low|dense|no|clear|light blue|round|red",
        "basophil": "small|round|irregular 7,bilobed 3|low|dense|no|clear|purple blue|coarse|purple",
        "monocyte": "big|irregular|indented 7,irregular 2,round 1|low|loose|yes 7,no 3|frosted|purple blue|nil|nil",
        "lymphocyte": "small|round|round 9,indented 1|high|dense|no|clear|blue|nil|nil",
    }
)
CLASSES = tuple(_USUAL)
NOISE = 0.06
"""Chance that an attribute takes any other value of its group."""


@dataclass(frozen=True)
class Cell:
    """One cell to be drawn: its class (empty for a free mix) and a concept for every group."""

    kind: str
    traits: Mapping[str, str]


def sample_cell(kind: str, rng: Generator) -> Cell:
    """Return a cell of a class with its usual attributes, a few of them otherwise."""
    traits = {}
    for (group, values), usual in zip(list(GROUPS.items())[:-1], _USUAL[kind].split("|"), strict=True):
        choice = _named(group, _draw(usual, rng))
        traits[group] = choice if rng.random() >= NOISE else str(rng.choice(values))
    return Cell(kind, _consistent(traits, rng))


def sample_cell_mix(rng: Generator) -> Cell:
    """Return a cell whose attributes are drawn independently, as far as they can go together."""
    return Cell("", _consistent({group: str(rng.choice(values)) for group, values in GROUPS.items()}, rng))


def usual_traits() -> dict[str, list[str]]:
    """Return the attributes that each class has most often."""
    groups = list(GROUPS)[:-1]
    return {
        kind: [
            _named(group, words.split(",")[0].rstrip(" 0123456789"))
            for group, words in zip(groups, row.split("|"), strict=True)
        ]
        for kind, row in _USUAL.items()
    }


def render_cell(
    cell: Cell, rng: Generator, laboratory: str = "A", size: int = SIZE
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Return the picture of a cell as a laboratory (``"A"`` or ``"B"``) sees it, and its part labels."""
    return draw_cell(cell.traits, LABORATORIES[laboratory], size, rng)


def _draw(usual: str, rng: Generator) -> str:
    if "," not in usual:
        return usual
    names, weights = zip(*(entry.rsplit(" ", 1) for entry in usual.split(",")), strict=True)
    shares = np.array(weights, dtype=float)
    return str(rng.choice(names, p=shares / shares.sum()))


def _named(group: str, word: str) -> str:
    if group == "cytoplasm vacuole":
        return "vacuoles" if word == "yes" else "no vacuoles"
    return next(value for value in GROUPS[group] if value.startswith(word) or value == f"{word} {group}")


def _consistent(traits: dict[str, str], rng: Generator) -> dict[str, str]:
    """Make the three granule groups agree: no granules have neither type nor colour."""
    bare = traits["granule type"] == "nil granule type"
    if bare:
        traits["granule colour"] = "nil granule colour"
    elif traits["granule colour"] == "nil granule colour":
        traits["granule colour"] = str(rng.choice(GROUPS["granule colour"][:3]))
    traits["granularity"] = "agranular cytoplasm" if bare else "granular cytoplasm"
    return traits


def write_cells(
    folder: Path,
    *,
    counts: Mapping[str, int] = COUNTS,
    seed: int = 0,
    on_progress: OnProgress = lambda fraction, message: None,
) -> Path:
    """Render the cells into a folder and return the path of their manifest.

    Parameters
    ----------
    folder
        Made if needed. A complete folder is left alone, an unfinished one is continued.
    counts
        Pictures a split, out of ``train``, ``val``, ``test`` (laboratory A) and ``shifted`` (laboratory B).
    on_progress
        Called with a fraction and a sentence; may raise to stop.

    Notes
    -----
    Beside ``manifest.csv`` lies ``truth.json``: group and parts of every concept, each class' usual attributes,
    and how the second laboratory misleads.
    """
    return write_world(WORLD, folder, counts=counts, seed=seed, on_progress=on_progress)


def _sample(split: str, number: int, rng: Generator) -> Subject:
    laboratory = "B" if split == "shifted" else "A"
    cell = sample_cell(CLASSES[number % len(CLASSES)], rng)
    draw = partial(_draw_in, cell, laboratory)
    return Subject(cell.kind, f"laboratory {laboratory}", frozenset(cell.traits.values()), draw)


def _draw_in(
    cell: Cell, laboratory: str, rng: Generator
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    return render_cell(cell, rng, laboratory)


_TRUTH = MappingProxyType(
    {
        "rendered": "drawn by a program; these are not photographs",
        "parts": list(PARTS),
        "concepts": {c: {"group": GROUP_OF[c], "parts": list(PARTS_OF_GROUP[GROUP_OF[c]])} for c in CONCEPTS},
        "laboratories": {name: asdict(laboratory) for name, laboratory in LABORATORIES.items()},
        "shift": {name: list(concepts) for name, concepts in SHIFT.items()},
        "swapped_split": "shifted",
        "noise": NOISE,
        "held_out": [list(pair) for pair in HELD_OUT],
        "classes": {kind: dict(zip(GROUPS, row.split("|"), strict=False)) for kind, row in _USUAL.items()},
    }
)
WORLD = World("cells", 2, COUNTS, CONCEPTS, _sample, _TRUTH)
