"""Writes a rendered world to a folder: pictures, part masks, a manifest, the truth, and a stamp at the end.

Every picture depends only on the world, the seed, its split and its number, so an interrupted folder is
simply continued, and two processes may work from both ends until they meet. A folder whose stamp matches is
left alone.
"""

from __future__ import annotations

import csv
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from numpy.random import Generator
from PIL import Image

OnProgress = Callable[[float, str], None]
Drawn = tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]
_STAMP = "rendered.json"
_WORTH_A_SECOND_PROCESS = 400


@dataclass(frozen=True)
class Subject:
    """What is to be seen in one picture: its class, its group and the concepts that are true, and how to draw it."""

    label: str
    group: str
    concepts: frozenset[str]
    draw: Callable[[Generator], Drawn]


@dataclass(frozen=True)
class World:
    """A rendered world: how many pictures a split has by default, what is in each, and what is true of all."""

    name: str
    version: int
    counts: Mapping[str, int]
    concepts: Sequence[str]
    sample: Callable[[str, int, Generator], Subject]
    truth: Mapping[str, object]


@dataclass(frozen=True)
class _Order:
    """A folder to be filled: which world, how many pictures a split, from which seed."""

    world: World
    folder: Path
    counts: Mapping[str, int]
    seed: int

    def stamp(self) -> dict[str, object]:
        """Return what a finished folder says about itself."""
        return {"world": self.world.name, "version": self.world.version, "seed": self.seed, "counts": dict(self.counts)}

    def places(self) -> list[tuple[str, int]]:
        """Return split and number of every picture, in the manifest's order."""
        return [(split, number) for split, count in self.counts.items() for number in range(count)]

    def generator(self, split: str, number: int) -> Generator:
        """Return the picture's own source of randomness; the same whatever else is rendered."""
        return np.random.default_rng([self.seed, self.world.version, *split.encode(), number])

    def file(self, kind: str, split: str, number: int) -> Path:
        """Return where a picture (``kind="images"``) or its mask (``"masks"``) belongs, relative to the folder."""
        return Path(kind) / split / f"{number:06d}.png"


def write_world(
    world: World, folder: Path, *, counts: Mapping[str, int] | None, seed: int, on_progress: OnProgress
) -> Path:
    """Fill a folder with a rendered world, or leave it alone if it is complete, and return its manifest.

    Parameters
    ----------
    counts
        Pictures a split; None for the world's default.
    on_progress
        Called with a fraction and a sentence; may raise to stop, and the folder can be continued later.
    """
    order = _Order(world, Path(folder), dict(world.counts if counts is None else counts), seed)
    manifest = order.folder / "manifest.csv"
    if _is_finished(order):
        on_progress(1.0, f"{world.name}: already rendered")
        return manifest
    _make_room(order)
    _render_all(order, on_progress)
    _write_text(order.folder / "truth.json", json.dumps({**order.stamp(), **world.truth}, indent=1))
    _write_manifest(order, manifest)
    _write_text(order.folder / _STAMP, json.dumps(order.stamp()))
    on_progress(1.0, f"{world.name}: {len(order.places()):,} pictures rendered")
    return manifest


def _is_finished(order: _Order) -> bool:
    stamp = order.folder / _STAMP
    return stamp.is_file() and json.loads(stamp.read_text()) == order.stamp()


def _make_room(order: _Order) -> None:
    """Make the folders; drop what another seed, size or version left behind."""
    started = order.folder / "started.json"
    wanted = json.dumps(order.stamp())
    if not started.is_file() or started.read_text() != wanted:
        for left in [order.folder / _STAMP, *order.folder.glob("images/*/*.png"), *order.folder.glob("masks/*/*.png")]:
            left.unlink(missing_ok=True)
    for split in order.counts:
        for kind in ("images", "masks"):
            (order.folder / kind / split).mkdir(parents=True, exist_ok=True)
    _write_text(started, wanted)


def _render_all(order: _Order, on_progress: OnProgress) -> None:
    places = order.places()
    helper = _second_process(order) if len(places) >= _WORTH_A_SECOND_PROCESS and (os.cpu_count() or 1) > 1 else None
    try:
        for number, _ in enumerate(_render(order, places)):
            if number % 20 == 0:
                made = min(number * (1 if helper is None else 2), len(places))  # the helper comes from the back
                on_progress(
                    0.99 * made / max(len(places), 1), f"{order.world.name}: {made:,} of {len(places):,} pictures"
                )
    finally:
        if helper is not None:
            helper.terminate()
            helper.wait()


def _render(order: _Order, places: Sequence[tuple[str, int]]) -> Iterator[tuple[str, int]]:
    """Render what is missing, in the order given, and yield each place once its files are there."""
    for split, number in places:
        mask = order.folder / order.file("masks", split, number)
        if not mask.exists():  # the mask is written last
            rng = order.generator(split, number)
            picture, parts = order.world.sample(split, number, rng).draw(rng)
            _write_png(order.folder / order.file("images", split, number), picture)
            _write_png(mask, parts)
        yield split, number


def _second_process(order: _Order) -> subprocess.Popen[bytes]:
    """Start a helper that renders the same folder from the back; whatever it leaves undone, we do."""
    spec = json.dumps({"folder": str(order.folder.resolve()), **order.stamp()})
    root = str(Path(__file__).resolve().parent.parent)
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-m", "assets.rendering", spec],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )


def _write_png(path: Path, picture: UInt8[np.ndarray, ...]) -> None:
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    Image.fromarray(picture).save(draft, format="PNG", compress_level=1)
    draft.replace(path)


def _write_text(path: Path, text: str) -> None:
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    with draft.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _write_manifest(order: _Order, path: Path) -> None:
    draft = path.with_suffix(f".{os.getpid()}.tmp")
    with draft.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "path", "label", "split", "group", "mask_path", *(f"c:{c}" for c in order.world.concepts)])
        for split, number in order.places():
            subject = order.world.sample(split, number, order.generator(split, number))
            files = [order.file(kind, split, number).as_posix() for kind in ("images", "masks")]
            true = [int(concept in subject.concepts) for concept in order.world.concepts]
            rows.writerow([f"{split}-{number:06d}", files[0], subject.label, split, subject.group, files[1], *true])
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _help(spec: str) -> None:
    """Render a folder from the back, as the second process."""
    order = json.loads(spec)
    world: World = importlib.import_module(f"assets.{order['world']}").WORLD
    job = _Order(world, Path(order["folder"]), order["counts"], order["seed"])
    for _ in _render(job, job.places()[::-1]):
        pass


if __name__ == "__main__":
    _help(sys.argv[1])
