"""Chooses the weights of the sources, ridge and width on the choosing half of the photographs, and writes `settings.json`.

One setting is changed at a time, through its list, and the best is kept. The score is the mean of two:
colours (of birds and of things) and objects (things, categories, kinds of bird; names of 100 classes that no fit here
has seen). The testing half is never opened.

    python -m assets.photo.choose --sources FOLDER --birds MANIFEST.csv --out assets/photo
"""

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from assets.photo import fit_head, photographs, words
from assets.photo.anchors import Settings, Sources, all_anchors
from assets.photo.collect import Collector
from assets.photo.fit_head import Head, image_side, text_side
from assets.photo.photographs import Album
from cbm.torchvision_guard import ensure_torchvision

HELD_OUT_CLASSES = 100
CHOICES: dict[str, tuple[float, ...]] = {
    "looks": (0.3, 1, 3),
    "things": (0.3, 1, 3),
    "stress": (2, 4, 8),
    "names": (1, 3, 6),
    "categories": (0.1, 0.3, 1),
    "emoji": (0, 0.1, 0.5),
    "clipart": (0, 0.1, 0.5),
    "materials": (0, 0.3, 1),
    "parts": (0, 0.3, 1),
    "share": (0, 0.5, 1),
    "width": (0.6, 0.7, 0.85, 1.0),
    "ridge": (0.1, 0.3, 1, 3),
}
COLOURS, OBJECTS = ("bird colours", "thing colours"), ("things", "categories", "bird names", "unseen names")


@dataclass(frozen=True)
class Trial:
    """What is fitted on and scored by."""

    collector: Collector
    sources: Sources
    shown: list[tuple[Album, Tensor]]
    unseen: list[int]

    def figures(self, settings: Settings, seed: int = 0) -> dict[str, float]:
        """Mean AUROC of each kind of concept, and mean place of an unseen name's own row (1: the nearest)."""
        ids = words.class_ids()
        anchors = all_anchors(self.sources, settings, without=frozenset(ids[i] for i in self.unseen))
        head = fit_head.fit(
            anchors, self.collector.sentences(anchors.texts), self.sources.rows, self.collector.mean, settings, seed
        )
        ranks = unseen_ranks(head, self.sources, self.unseen, self.collector)
        return by_kind(head, self.shown, self.collector) | {"unseen names": 1 - float(ranks.float().mean()) / 999}


def main() -> None:
    """Choose and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=Path, required=True, help="folder described in assets/photo/collect.py")
    parser.add_argument("--birds", type=Path, required=True, help="manifest of annotated photographs of birds")
    parser.add_argument("--kept", type=Path, help="folder for features, to go on from there")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    ensure_torchvision()
    collector = Collector(options.sources, "photo", options.kept)
    trial = Trial(collector, collector.sources(), collector.photographs("choose", options.birds), unseen_classes())
    best, history = descend(trial, Settings())
    record = {"settings": asdict(best), "fits": len(history), "first": history[0], "best": max(history, key=score)}
    (options.out / "settings.json").write_text(json.dumps(record, indent=1) + "\n")


def descend(trial: Trial, settings: Settings) -> tuple[Settings, list[dict[str, float]]]:
    """The best settings found, and the figures of every fit."""
    history = [trial.figures(settings)]
    best = score(history[0])
    for name, values in CHOICES.items():
        for value in sorted(set(values) - {getattr(settings, name)}):
            other = replace(settings, **{name: value})
            history.append(trial.figures(other))
            if score(history[-1]) > best:
                best, settings = score(history[-1]), other
    return settings, history


def score(figures: dict[str, float]) -> float:
    """Mean of colours and objects."""
    return float(np.mean([np.mean([figures[kind] for kind in kinds]) for kinds in (COLOURS, OBJECTS)]))


def by_kind(head: Head, shown: list[tuple[Album, Tensor]], collector: Collector) -> dict[str, float]:
    """Mean AUROC of the concepts of each kind, from their names alone."""
    found: dict[str, list[float]] = {}
    for album, features in shown:
        scores = (
            image_side(head, features) @ text_side(head, collector.sentences(tuple(t for _, t in album.concepts))).T
        )
        for (kind, _), area in zip(album.concepts, photographs.areas(album.truth, scores.numpy()), strict=True):
            found.setdefault(kind, []).append(float(area))
    return {kind: float(np.mean(areas)) for kind, areas in found.items()}


def unseen_classes() -> list[int]:
    """The classes that are left out to ask for their names."""
    return np.random.default_rng(0).choice(1000, HELD_OUT_CLASSES, replace=False).tolist()


def unseen_ranks(head: Head, sources: Sources, unseen: list[int], collector: Collector) -> Tensor:
    """How many rows of classes are nearer to each unseen name than its own."""
    ids = words.class_ids()
    names = text_side(head, collector.sentences(tuple(sources.nouns.words[ids[i]][0] for i in unseen)))
    similar = names @ normalize(sources.rows @ head.projection.T, dim=1).T
    own = similar[torch.arange(len(unseen)), torch.tensor(unseen)]
    return (similar > own[:, None]).sum(1)


if __name__ == "__main__":
    main()
