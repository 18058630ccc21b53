"""A large pool of rendered pictures in memory-mapped files, from which the demo encoder learns and is measured.

Traits are drawn independently, so no attribute goes with another and none with the background. Pictures
with a held-out pair of concepts are kept out of training, and are what the quality is measured on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from numpy.random import Generator
from PIL import Image

from assets import cells, species
from assets.birds import Bird, render_bird, sample_bird, sample_mix
from assets.cells import CLASSES, Cell, render_cell, sample_cell, sample_cell_mix
from assets.demo_model import IMAGE_SIZE

Purpose = Literal["train", "unseen", "any", "species"]
CONCEPTS = (*species.CONCEPTS, *cells.CONCEPTS)
"""All concepts of both worlds, in the order of a pool's labels."""
CHUNK = 1000


@dataclass(frozen=True)
class Pool:
    """Pictures (uint8, n 128 128 3), their concepts (bool, n k, both worlds), which are birds, and their classes."""

    pictures: UInt8[np.ndarray, "n h w 3"]
    concepts: np.ndarray
    birds: np.ndarray
    labels: np.ndarray


def has_held_out(traits: Mapping[str, str]) -> bool:
    """Return whether a picture shows a pair of concepts that training must not contain."""
    shown = set(traits.values())
    return any(shown.issuperset(pair) for pair in (*species.HELD_OUT, *cells.HELD_OUT))


def draw_bird_for(purpose: Purpose, number: int, rng: Generator) -> Bird:
    """Return a bird for training (no held-out pair), for the unseen (at least one), any, or of a species."""
    if purpose == "species":
        return sample_bird(species.SPECIES[number % len(species.SPECIES)], "test", rng)
    while True:
        bird = sample_mix(rng)
        if purpose == "any" or has_held_out(bird.traits) == (purpose == "unseen"):
            return bird


def draw_cell_for(purpose: Purpose, number: int, rng: Generator) -> Cell:
    """Return a cell for training (usual or mixed, no held-out pair), for the unseen, any, or of a class."""
    if purpose == "species":
        return sample_cell(CLASSES[number % len(CLASSES)], rng)
    while True:
        cell = sample_cell(CLASSES[number % len(CLASSES)], rng) if rng.random() < 0.4 else sample_cell_mix(rng)
        if purpose == "any" or has_held_out(cell.traits) == (purpose == "unseen"):
            return cell


def open_pool(folder: Path, purpose: Purpose, *, birds: int, cells: int, seed: int) -> Pool:
    """Return a pool, rendering with two processes whatever of it is missing in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [
        (folder / f"{purpose}-{kind}-{seed}-{start}-{min(CHUNK, count - start)}.npz", purpose, kind, start, seed)
        for kind, count in (("birds", birds), ("cells", cells))
        for start in range(0, count, CHUNK)
    ]
    missing = [job for job in jobs if not job[0].exists()]
    if missing:
        with get_context("spawn").Pool(2) as workers:
            workers.starmap(_render_chunk, missing, chunksize=1)
    parts = [np.load(job[0]) for job in jobs]
    return Pool(
        *(np.concatenate([part[name] for part in parts]) for name in ("pictures", "concepts")),
        birds=np.concatenate(
            [np.full(len(part["labels"]), job[2] == "birds") for part, job in zip(parts, jobs, strict=True)]
        ),
        labels=np.concatenate([part["labels"] for part in parts]),
    )


def render_birds_and_cells(purpose: Purpose, *, birds: int, cells: int, seed: int) -> Pool:
    """Return a small pool, rendered in this process and kept nowhere."""
    drawn = [*_drawn(purpose, "birds", range(birds), seed), *_drawn(purpose, "cells", range(cells), seed)]
    pictures, concepts, labels = zip(*drawn, strict=True)
    is_bird = np.arange(birds + cells) < birds
    return Pool(np.stack(pictures), np.stack(concepts), is_bird, np.array(labels))


def _render_chunk(path: Path, purpose: Purpose, kind: str, start: int, seed: int) -> None:
    count = int(path.stem.rsplit("-", 1)[1])
    draft = path.with_suffix(".tmp.npz")
    pictures, concepts, labels = zip(*_drawn(purpose, kind, range(start, start + count), seed), strict=True)
    np.savez(draft, pictures=np.stack(pictures), concepts=np.stack(concepts), labels=np.array(labels))
    draft.replace(path)


def _drawn(purpose: Purpose, kind: str, numbers: range, seed: int) -> Iterator[tuple[np.ndarray, np.ndarray, str]]:
    for number in numbers:
        rng = np.random.default_rng([seed, *purpose.encode(), *kind.encode(), number])
        if kind == "birds":
            bird = draw_bird_for(purpose, number, rng)
            yield render_bird(bird, rng)[0], _truth(bird.traits), bird.species
        else:
            cell = draw_cell_for(purpose, number, rng)
            picture = Image.fromarray(render_cell(cell, rng)[0])
            resized = picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.Resampling.BICUBIC)
            yield np.asarray(resized), _truth(cell.traits), cell.kind


def _truth(traits: Mapping[str, str]) -> np.ndarray:
    shown = set(traits.values())
    return np.array([concept in shown for concept in CONCEPTS])
