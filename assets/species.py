"""The birds that exist only here: their concepts, in groups as in CUB, and twenty invented species.

Species come in ten pairs of look-alikes, one living on water and one on land, that differ in one or two
small traits only. So a model that looks at the background does well until the background is swapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

_COLOURS = ("white", "yellow", "red", "grey", "brown")

GROUPS = MappingProxyType(
    {
        "bill shape": ("hooked bill", "cone-shaped bill", "long straight bill", "curved bill"),
        "bill colour": ("yellow bill", "black bill", "red bill", "grey bill"),
        "crown colour": ("red crown", "black crown", "white crown", "yellow crown", "blue crown"),
        "crest": ("tall crest", "smooth head"),
        "face": ("white eye ring", "dark eye mask", "plain face"),
        "wing colour": ("brown wing", "black wing", "grey wing", "blue wing", "green wing", "rufous wing"),
        "wing pattern": ("plain wing", "striped wing", "spotted wing", "white wing bar"),
        "breast colour": tuple(f"{c} breast" for c in _COLOURS),
        "breast pattern": ("streaked breast", "plain breast"),
        "belly colour": tuple(f"{c} belly" for c in _COLOURS),
        "tail shape": ("forked tail", "fan-shaped tail", "pointed tail", "square tail"),
        "tail length": ("long tail", "short tail"),
        "leg colour": ("yellow legs", "red legs", "black legs", "blue legs"),
        "leg length": ("long legs", "short legs"),
        "size": ("large bird", "small bird"),
        "background": ("water background", "land background"),
    }
)
"""Concept groups; exactly one concept of each group is true of an image."""

CONCEPTS = tuple(concept for values in GROUPS.values() for concept in values)
GROUP_OF = MappingProxyType({concept: group for group, values in GROUPS.items() for concept in values})
SPURIOUS = GROUPS["background"]
"""Concepts that have nothing to do with the species and only go with it in the training data."""

PARTS = (
    "background",
    "body",
    "head",
    "crown",
    "crest",
    "bill",
    "eye",
    "wing",
    "breast",
    "belly",
    "tail",
    "legs",
    "occluder",
)
"""Names of the labels 0, 1, ... in a part mask."""

PARTS_OF_GROUP = MappingProxyType(
    {
        "bill shape": ("bill",),
        "bill colour": ("bill",),
        "crown colour": ("crown", "crest"),
        "crest": ("crest", "crown"),
        "face": ("eye",),
        "wing colour": ("wing",),
        "wing pattern": ("wing",),
        "breast colour": ("breast",),
        "breast pattern": ("breast",),
        "belly colour": ("belly",),
        "tail shape": ("tail",),
        "tail length": ("tail",),
        "leg colour": ("legs",),
        "leg length": ("legs",),
        "size": PARTS[1:12],
        "background": ("background",),
    }
)
"""The parts where a concept of each group is to be seen; for *size*, the whole bird."""

HELD_OUT = (
    ("red crown", "striped wing"),
    ("yellow breast", "hooked bill"),
    ("tall crest", "blue wing"),
    ("spotted wing", "red legs"),
    ("forked tail", "dark eye mask"),
    ("curved bill", "white belly"),
    ("black crown", "green wing"),
    ("streaked breast", "grey wing"),
    ("pointed tail", "yellow bill"),
    ("red breast", "white eye ring"),
)
"""Pairs of concepts that the demo encoder never sees in one image or caption while it is trained."""


@dataclass(frozen=True)
class Species:
    """One invented species: its name, where it lives (``"water"`` or ``"land"``), and a trait a group."""

    name: str
    habitat: str
    traits: tuple[str, ...]


_PAIRS = (
    (
        ("Tarnwing", "Heathwing"),
        "long straight|yellow|black|smooth head|plain face|grey|striped|white|plain|forked|long|red|long|large",
        ("red bill", "yellow legs"),
    ),
    (
        ("Saltcrest", "Thorncrest"),
        "hooked|yellow|red|tall crest|dark eye mask|brown|spotted|white|streaked|fan-shaped|short|yellow|short|large",
        ("black bill",),
    ),
    (
        ("Merrowbill", "Copsebill"),
        "curved|red|white|smooth head|white eye ring|black|plain|grey|plain|pointed|long|black|long|large",
        ("plain face", "black bill"),
    ),
    (
        ("Lochlet", "Fellet"),
        "cone-shaped|grey|blue|smooth head|white eye ring|blue|white bar|yellow|plain|square|short|blue|short|small",
        ("black bill", "plain face"),
    ),
    (
        ("Brackfinch", "Bramblefinch"),
        "cone-shaped|black|yellow|tall crest|plain face|green|plain|yellow|streaked|forked|long|black|short|small",
        ("grey bill",),
    ),
    (
        ("Quayling", "Hedgeling"),
        "hooked|grey|black|tall crest|plain face|blue|spotted|red|plain|fan-shaped|long|yellow|long|large",
        ("dark eye mask", "black legs"),
    ),
    (
        ("Siltstrider", "Moorstrider"),
        "long straight|black|white|tall crest|dark eye mask|rufous|striped|brown|plain|square|short|yellow|long|large",
        ("red bill", "blue legs"),
    ),
    (
        ("Foamcap", "Embercap"),
        "long straight|red|red|smooth head|dark eye mask|green|white bar|grey|streaked|pointed|short|red|short|small",
        ("black legs",),
    ),
    (
        ("Eddybird", "Dalebird"),
        "cone-shaped|yellow|blue|tall crest|plain face|black|striped|red|streaked|forked|short|red|short|small",
        ("fan-shaped tail", "yellow legs"),
    ),
    (
        ("Wadewick", "Oakwick"),
        "hooked|red|yellow|smooth head|dark eye mask|rufous|plain|brown|streaked|fan-shaped|long|blue|long|small",
        ("plain face", "yellow legs"),
    ),
)


def _traits(row: str) -> tuple[str, ...]:
    shape, bill, crown, crest, face, wing, pattern, breast, streaks, tail, length, legs, leg_length, size = row.split(
        "|"
    )
    marking = "white wing bar" if pattern == "white bar" else f"{pattern} wing"
    return (
        f"{shape} bill", f"{bill} bill", f"{crown} crown", crest, face, f"{wing} wing", marking, f"{breast} breast",
        f"{streaks} breast", f"{breast} belly", f"{tail} tail", f"{length} tail", f"{legs} legs", f"{leg_length} legs",
        f"{size} bird",
    )  # fmt: skip


def _look_alike(traits: tuple[str, ...], changes: tuple[str, ...]) -> tuple[str, ...]:
    changed = {GROUP_OF[c]: c for c in changes}
    return tuple(changed.get(GROUP_OF[t], t) for t in traits)


def _pair(names: tuple[str, str], row: str, changes: tuple[str, ...]) -> tuple[Species, Species]:
    traits = _traits(row)
    return Species(names[0], "water", traits), Species(names[1], "land", _look_alike(traits, changes))


SPECIES = tuple(species for pair in _PAIRS for species in _pair(*pair))
"""The twenty species; neighbours (0 and 1, 2 and 3, ...) are look-alikes on water and on land."""
