"""What colours, patterns, shapes, materials and parts look like to an image encoder: directions from our own renders.

A direction is what sets the renders of a look apart from the others of their set, the set's usual variation divided out.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from assets.photo import creatures, materials, renders
from assets.photo.words import Anchors, pointed

SHRINK = 0.5  # of the covariance towards its mean variance
RENDERS, MATERIALS, CREATURES = 1500, 800, 1500  # how many are drawn

PATTERN_WORDS = {
    "solid": ("solid", "plain", "solid color", "uniform", "of one color"),
    "striped": ("striped", "stripes", "banded", "streaked"),
    "spotted": ("spotted", "spots", "dotted", "polka dots"),
    "checkered": ("checkered", "checked", "chequered"),
    "zigzag": ("zigzag", "wavy"),
    "speckled": ("speckled", "mottled", "grainy"),
}
SHAPE_WORDS = {
    "round": ("round", "circular", "ball-shaped"),
    "square": ("square", "rectangular", "boxy"),
    "triangular": ("triangular", "triangle"),
    "oval": ("oval", "elliptical", "egg-shaped"),
    "star-shaped": ("star-shaped", "star", "lobed"),
    "long": ("long", "thin", "rod-shaped", "elongated"),
    "curved": ("curved", "bent", "crescent-shaped"),
    "pointed": ("pointed", "sharp", "spike-shaped"),
}
MATERIAL_WORDS = {
    "wooden": ("wooden", "made of wood", "wood grain"),
    "metallic": ("metallic", "made of metal", "steel", "shiny metal"),
    "furry": ("furry", "fur", "hairy", "covered with fur"),
    "feathered": ("feathered", "plumage", "covered with feathers"),
    "stony": ("made of stone", "rock surface", "concrete"),
    "glassy": ("made of glass", "transparent", "see-through"),
    "woven": ("made of fabric", "cloth", "woven", "textile"),
    "scaly": ("scaly", "scales", "covered with scales"),
    "leafy": ("leafy", "leaves", "foliage"),
    "leathery": ("leathery", "made of leather"),
    "wet": ("wet", "water surface", "rippling water"),
    "plastic": ("made of plastic", "glossy plastic"),
}
BODY = (
    "head", "face", "eye", "neck", "back", "belly", "chest", "side", "leg", "foot", "wing", "tail", "ear", "nose", "mouth",
    "fur", "feathers", "skin", "top", "bottom", "front", "surface", "edge", "handle", "wheel", "roof", "leaf", "petal",
)  # fmt: skip
SAYINGS = ("{}", "a photo of something {}", "something {}", "a {} thing", "a {} object")


@dataclass(frozen=True)
class Looks:
    """Unit directions `[f]` by name; of parts by colour and part."""

    colours: dict[str, Tensor]
    patterns: dict[str, Tensor]
    shapes: dict[str, Tensor]
    materials: dict[str, Tensor]
    parts: dict[tuple[str, str], Tensor]


def looks_of(plain: Tensor, made: Tensor, parted: Tensor, seed: int) -> Looks:
    """From the features of the renders, the materials and the creatures of one seed."""
    things, pieces = renders.choose(len(plain), seed), materials.choose(len(made), seed)
    patterns, shapes, names = renders.PATTERNS, renders.SHAPES, tuple(materials.USUAL)
    return Looks(
        _apart(plain, [thing.colour for thing in things], tuple(renders.COLOURS)),
        _apart(plain, [thing.pattern for thing in things], patterns),
        _apart(plain, [thing.shape for thing in things], shapes),
        _apart(made, [piece.material for piece in pieces], names),
        _part_directions(parted, creatures.choose(len(parted), seed)),
    )


def stiff(features: Tensor) -> Tensor:
    """Covariance with a share of its mean variance on the diagonal, so that it can be divided by."""
    centred = features - features.mean(0)
    covariance = centred.T @ centred / len(centred)
    return covariance + SHRINK * covariance.diagonal().mean() * torch.eye(len(covariance))


def _apart(features: Tensor, said: list[str], names: tuple[str, ...]) -> dict[str, Tensor]:
    centred = features - features.mean(0)
    means = torch.stack([centred[torch.tensor([name == other for other in said])].mean(0) for name in names])
    return dict(zip(names, normalize(torch.linalg.solve(stiff(features), means.T).T, dim=1), strict=True))


def _part_directions(features: Tensor, made: list[creatures.Creature]) -> dict[tuple[str, str], Tensor]:
    """Of each colour of each part: its effect where the colours of the other parts are held (least squares)."""
    pairs = [(colour, part) for part in creatures.PARTS for colour in renders.COLOURS]
    place = {pair: i for i, pair in enumerate(pairs)}
    forms = tuple(creatures.FORMS)
    design = torch.zeros(len(made), len(pairs) + len(forms))
    for row, creature in zip(design, made, strict=True):
        row[len(pairs) + forms.index(creature.form)] = 1
        for part, colour in creature.colours.items():
            row[place[colour, part]] = 1
    normal = design.T @ design + torch.eye(design.shape[1])
    effects = torch.linalg.solve(normal, design.T @ (features - features.mean(0)))[: len(pairs)]
    effects = effects.view(len(creatures.PARTS), -1, features.shape[1])
    effects = (effects - effects.mean(1, keepdim=True)).flatten(0, 1)  # a part's own effect is not its colour's
    return dict(zip(pairs, normalize(torch.linalg.solve(stiff(features), effects.T).T, dim=1), strict=True))


def look_anchors(looks: Looks, weight: float) -> Anchors:
    """Words for colours, patterns and shapes, alone and of some part."""
    pairs = [(saying.format(name), way) for name, way in looks.colours.items() for saying in (*SAYINGS, "{} color")]
    for kind, synonyms, ways in (("pattern", PATTERN_WORDS, looks.patterns), ("shape", SHAPE_WORDS, looks.shapes)):
        pairs += _worded(synonyms, ways, (*SAYINGS, f"{{}} {kind}"))
    pairs += [(f"{name} {part}", way) for name, way in looks.colours.items() for part in BODY]
    return pointed(pairs, weight)


def material_anchors(looks: Looks, weight: float) -> Anchors:
    """Words for materials."""
    return pointed(_worded(MATERIAL_WORDS, looks.materials, SAYINGS), weight)


def part_anchors(looks: Looks, weight: float, share: float) -> Anchors:
    """Coloured parts: the colour's direction and `share` of what the part's colour adds."""
    pairs = [
        (saying.format(colour, part), looks.colours[colour] + share * way)
        for (colour, part), way in looks.parts.items()
        for saying in ("{} {}", "a {} {}", "something with a {} {}")
    ]
    return pointed(pairs, weight)


def _worded(
    synonyms: dict[str, tuple[str, ...]], ways: dict[str, Tensor], sayings: tuple[str, ...]
) -> list[tuple[str, Tensor]]:
    return [
        (saying.format(word), ways[name]) for name, alike in synonyms.items() for word in alike for saying in sayings
    ]
