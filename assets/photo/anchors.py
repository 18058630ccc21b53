"""All that the head is fitted to: which sources there are, and how much each counts (`settings.json`)."""

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from torch import Tensor
from torch.nn.functional import normalize

from assets.photo import looks, pictures, renders, words
from assets.photo.looks import Looks
from assets.photo.pictures import Picture
from assets.photo.words import Anchors, Nouns

COMMON_CATEGORIES, NAMED_CATEGORIES = 150, 60  # of which things with a look are made
SEED = 0


@dataclass(frozen=True)
class Settings:
    """What `assets.photo.choose` chose: of the regression, and how much an anchor of each source counts (0: not used)."""

    width: float = 0.7
    ridge: float = 0.3
    landmarks: int = 2000
    names: float = 3.0  # of ImageNet's classes
    categories: float = 0.3
    looks: float = 1.0
    things: float = 1.0  # a category with a look
    stress: float = 4.0  # in "a red fish", red counts this many times as much as fish
    emoji: float = 0.5
    clipart: float = 0.5
    materials: float = 1.0
    parts: float = 1.0
    share: float = 0.5  # of what a part's colour adds to the colour itself


@dataclass(frozen=True)
class Sources:
    """What anchors are made from: nouns, the rows of the classifier `[1000 f]`, looks, pictures with features."""

    nouns: Nouns
    rows: Tensor
    looks: Looks
    emoji: tuple[tuple[list[Picture], Tensor], ...] = ()
    clipart: tuple[tuple[list[Picture], Tensor], ...] = ()


def read_settings(file: Path) -> Settings:
    """As `choose` wrote them."""
    return Settings(**json.loads(file.read_text())["settings"])


def all_anchors(sources: Sources, settings: Settings, *, without: frozenset[str] = frozenset()) -> Anchors:
    """Of every source that counts; `without` some classes, to measure on them."""
    ids = words.class_ids()
    classes = {noun: row for noun, row in zip(ids, sources.rows, strict=True) if noun not in without}
    tree = words.category_directions(sources.nouns, classes)
    parts = [
        words.class_anchors(sources.nouns, classes, settings.names),
        words.category_anchors(sources.nouns, tree, settings.categories),
        looks.part_anchors(sources.looks, settings.parts, settings.share),
        looks.look_anchors(sources.looks, settings.looks),
        looks.material_anchors(sources.looks, settings.materials),
        thing_anchors(sources.nouns, tree, sources.looks, settings),
        *(pictures.title_anchors(*source, settings.emoji) for source in sources.emoji),
        *(pictures.title_anchors(*source, settings.clipart) for source in sources.clipart),
    ]
    unseen = {name.lower() for noun in without for name in sources.nouns.words[noun]}
    return words.joined(*(words.counted(part, leaving_out=unseen) for part in parts))


def thing_anchors(nouns: Nouns, tree: dict[str, tuple[Tensor, int]], ways: Looks, settings: Settings) -> Anchors:
    """A category with a look points to both: "a striped fish", "a dog with a black head"."""
    random = np.random.default_rng(SEED)
    common = sorted(tree, key=lambda noun: -tree[noun][1])[:COMMON_CATEGORIES]
    named = [(nouns.words[noun][0], normalize(tree[noun][0], dim=0)) for noun in common]
    named = [(name, way) for name, way in named if " " not in name][:NAMED_CATEGORIES]
    seen = ways.colours | ways.patterns
    pairs = [(f"a {look} {name}", way + settings.stress * seen[look]) for (name, way), look in product(named, seen)]
    for (name, way), colour in product(named, renders.COLOURS):
        part = random.choice(looks.BODY)
        pairs.append((f"a {name} with a {colour} {part}", way + settings.stress * ways.colours[colour]))
    return words.pointed(pairs, settings.things)
