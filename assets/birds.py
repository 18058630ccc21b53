"""The rendered birds: draws traits for every image, renders it with its part mask, and knows the truth.

In train, val and test a species stands 95 % of the time on its own background; in ``shifted`` the
backgrounds are swapped. Breast and belly colour depend strongly on each other.
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

from assets.draw_bird import Pose, draw_bird, feet
from assets.draw_scene import backdrop, occlude, stand
from assets.rendering import OnProgress, Subject, World, write_world
from assets.species import CONCEPTS, GROUP_OF, GROUPS, HELD_OUT, PARTS, PARTS_OF_GROUP, SPECIES, SPURIOUS, Species

SIZE = 128
COUNTS = MappingProxyType({"train": 2400, "val": 600, "test": 1000, "shifted": 600})
NOISE = 0.09
"""Chance that a trait of an image is another than its species'."""
SPURIOUS_STRENGTH = 0.95
"""Share of images on the species' own background outside ``shifted``; its complement in ``shifted``."""
BELLY_FOLLOWS_BREAST = 0.92


@dataclass(frozen=True)
class Bird:
    """One bird to be drawn: its species' name (empty for a free mix of traits) and a concept for every group."""

    species: str
    traits: Mapping[str, str]

    @property
    def habitat_group(self) -> str:
        """Name of the group (species on water or land, background)."""
        habitat = next(s.habitat for s in SPECIES if s.name == self.species)
        return f"{habitat} species on {self.traits['background'].split()[0]}"


def sample_bird(species: Species, split: str, rng: Generator) -> Bird:
    """Return a bird of a species as it occurs in a split."""
    own = f"{species.habitat} background"
    stays = rng.random() < (1 - SPURIOUS_STRENGTH if split == "shifted" else SPURIOUS_STRENGTH)
    traits = {}
    for group, usual in zip(GROUPS, (*species.traits, own), strict=True):
        if group == "background":
            traits[group] = own if stays else _other(group, own, rng)
        elif group == "belly colour":
            traits[group] = _belly(traits["breast colour"], rng)
        else:
            traits[group] = _other(group, usual, rng) if rng.random() < NOISE else usual
    return Bird(species.name, traits)


def sample_mix(rng: Generator) -> Bird:
    """Return a bird whose traits are drawn independently, as the demo encoder is trained on."""
    return Bird("", {group: str(rng.choice(values)) for group, values in GROUPS.items()})


def _other(group: str, usual: str, rng: Generator) -> str:
    return str(rng.choice([value for value in GROUPS[group] if value != usual]))


def _belly(breast: str, rng: Generator) -> str:
    same = breast.replace("breast", "belly")
    return same if rng.random() < BELLY_FOLLOWS_BREAST else _other("belly colour", same, rng)


def render_bird(
    bird: Bird, rng: Generator, size: int = SIZE
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Return the picture of a bird and the part label of every pixel."""
    pose = _pose(bird.traits, rng, size)
    ground = feet(pose, bird.traits)
    background = bird.traits["background"]
    canvas = backdrop(background, size, float(ground[:, 1].mean()), rng)
    stand(canvas, background, ground, rng)
    draw_bird(canvas, bird.traits, pose, rng)
    if rng.random() < 0.25:
        occlude(canvas, rng)
    _expose(canvas.rgb, rng)
    return canvas.to_bytes(), canvas.parts


def _pose(traits: Mapping[str, str], rng: Generator, size: int) -> Pose:
    scale = (0.90 if traits["size"] == "large bird" else 0.70) * rng.uniform(0.95, 1.05)
    drop = 5.0 if traits["leg length"] == "short legs" else -1.0
    if traits["crest"] == "smooth head":
        drop -= 3.0
    centre = (64 + rng.uniform(-4, 4), 60 + drop * scale + (1 - scale) * 14 + rng.uniform(-3, 3))
    return Pose(
        scale * size / 128,
        rng.uniform(-0.14, 0.14),
        (centre[0] * size / 128, centre[1] * size / 128),
        bool(rng.random() < 0.5),
    )


def _expose(rgb: np.ndarray, rng: Generator) -> None:
    """Light, colour of the light, and the sensor's noise, in place."""
    rgb *= rng.uniform(0.86, 1.1) * (1 + rng.normal(0, 0.022, 3)).astype(np.float32)
    rgb += rng.standard_normal(rgb.shape[:2], dtype=np.float32)[..., None] * np.float32(rng.uniform(0.002, 0.009))


def write_birds(
    folder: Path,
    *,
    counts: Mapping[str, int] = COUNTS,
    seed: int = 0,
    on_progress: OnProgress = lambda fraction, message: None,
) -> Path:
    """Render the birds into a folder and return the path of their manifest.

    Parameters
    ----------
    folder
        Made if needed. A complete folder is left alone, an unfinished one is continued.
    counts
        Pictures a split, out of ``train``, ``val``, ``test`` and ``shifted``; any size.
    on_progress
        Called with a fraction and a sentence; may raise to stop.

    Notes
    -----
    Beside ``manifest.csv`` (``path,label,split,group,mask_path,c:<concept>``) lies ``truth.json``: the species
    table, group and parts of every concept, which concepts are spurious, and the names of the mask's labels.
    """
    return write_world(WORLD, folder, counts=counts, seed=seed, on_progress=on_progress)


def _sample(split: str, number: int, rng: Generator) -> Subject:
    bird = sample_bird(SPECIES[number % len(SPECIES)], split, rng)
    return Subject(bird.species, bird.habitat_group, frozenset(bird.traits.values()), partial(render_bird, bird))


_TRUTH = MappingProxyType(
    {
        "rendered": "drawn by a program; these are not photographs",
        "parts": list(PARTS),
        "concepts": {c: {"group": GROUP_OF[c], "parts": list(PARTS_OF_GROUP[GROUP_OF[c]])} for c in CONCEPTS},
        "spurious": list(SPURIOUS),
        "spurious_strength": SPURIOUS_STRENGTH,
        "swapped_split": "shifted",
        "noise": NOISE,
        "dependent": {"breast colour": "belly colour", "probability": BELLY_FOLLOWS_BREAST},
        "held_out": [list(pair) for pair in HELD_OUT],
        "species": [asdict(species) for species in SPECIES],
        "look_alikes": [[a.name, b.name] for a, b in zip(SPECIES[::2], SPECIES[1::2], strict=True)],
    }
)
WORLD = World("birds", 2, COUNTS, CONCEPTS, _sample, _TRUTH)
