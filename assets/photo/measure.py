"""Measures `builtin:photo` and its tiers and writes `quality.json`. Run once: it opens the testing half.

Text alone: the shipped heads on photographs that nothing was fitted to or chosen by, the spread over seeds, and what each
source adds. Held-out ImageNet classes (a second fit), fresh renders, and the birds from labelled examples besides.

    python -m assets.photo.measure --sources FOLDER --birds MANIFEST.csv --kept FEATURES --out assets/photo
"""

import argparse
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import normalize

from assets.photo import collect, fit_head, photographs, renders, words
from assets.photo.anchors import Settings, all_anchors, read_settings
from assets.photo.choose import unseen_classes, unseen_ranks
from assets.photo.collect import Collector
from assets.photo.fit_head import Head, image_side, read_head, text_side
from assets.photo.photographs import Album
from assets.photo.words import Anchors
from cbm.data import ImageDataset
from cbm.embeddings import embed
from cbm.encoders import TextEncoder, load_encoder
from cbm.photo_wheels import TIERS
from cbm.torchvision_guard import ensure_torchvision

SEEDS = ((0, 0), (1, 1), (0, 2))  # of the renders, of the first landmark
FRESH_RENDERS, FRESH_SEED = 300, 99
RESAMPLED = 200
LIMIT = 2000  # iterations of the probes
SOURCES = {
    "names": ("names",),
    "names, pictures": ("names", "emoji", "clipart"),
    "names, pictures, renders": ("names", "emoji", "clipart", "looks", "things", "materials", "parts"),
    "all": ("names", "emoji", "clipart", "looks", "things", "materials", "parts", "categories"),
}
Text = Callable[[Head, Tensor], Tensor]
Shown = list[tuple[Album, Tensor]]


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=Path, required=True, help="folder described in assets/photo/collect.py")
    parser.add_argument("--birds", type=Path, required=True, help="manifest of annotated photographs of birds")
    parser.add_argument("--kept", type=Path, help="folder for features, to go on from there")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    ensure_torchvision()
    collector = Collector(options.sources, "photo", options.kept)
    settings = read_settings(options.out / "settings.json")
    encoder = load_encoder("builtin:photo")
    tiers = {name: tier for name, tier in TIERS.items() if tier.reads_text}
    parts: dict[str, Callable[[], object]] = {
        "heads": lambda: {tier.head: checksum(options.out / tier.head) for tier in tiers.values()},
        "from_text": lambda: {
            name: tested(
                options.out / tier.head,
                collector if name == "photo" else Collector(options.sources, name, options.kept),
                options.birds,
            )
            for name, tier in tiers.items()
        },
        "photographs": lambda: from_examples(ImageDataset.from_manifest(options.birds, name="birds20"), encoder),
        "renders": lambda: unseen_renders(encoder),
        "seeds": lambda: seeds(collector, settings, options.birds),
        "by_source": lambda: by_source(collector, settings, options.birds),
        "unseen_names": lambda: unseen_names(collector, settings),
    }
    quality: dict[str, object] = {}
    for name, measured in parts.items():
        quality[name] = measured()
        (options.out / "quality.json").write_text(json.dumps(quality, indent=1) + "\n")


def checksum(file: Path) -> str:
    """SHA-256."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def tested(file: Path, collector: Collector, birds: Path) -> dict[str, dict[str, float]]:
    """What a shipped head makes of the testing half, with 95 % intervals over the species and things shown."""
    head = read_head(file)
    return {
        kind: figure | {"low": low, "high": high}
        for album, features in collector.photographs("test", birds)
        for kind, figure, (low, high) in intervals(album, scored(head, album, features, collector))
    }


def scored(head: Head, album: Album, features: Tensor, collector: Collector, text: Text = text_side) -> np.ndarray:
    """Scores of an album's concepts from their names alone, `[n k]`."""
    texts = collector.sentences(tuple(text for _, text in album.concepts))
    return (image_side(head, features) @ text(head, texts).T).numpy()


def intervals(album: Album, scores: np.ndarray) -> list[tuple[str, dict[str, float], tuple[float, float]]]:
    """Of each kind: mean AUROC, concepts and photographs, and the middle 95 % where the groups are resampled."""
    random = np.random.default_rng(0)
    groups, member = np.unique(album.groups, return_inverse=True)
    rows = [np.flatnonzero(member == g) for g in range(len(groups))]
    draws = [
        photographs.areas(album.truth[some], scores[some])
        for _ in range(RESAMPLED)
        for some in [np.concatenate([rows[g] for g in random.integers(len(groups), size=len(groups))])]
    ]
    whole, kinds = photographs.areas(album.truth, scores), np.array([kind for kind, _ in album.concepts])
    found = []
    for kind in dict.fromkeys(kinds):
        means = [np.nanmean(draw[kinds == kind]) for draw in draws]
        low, high = (round(float(value), 3) for value in np.percentile(means, (2.5, 97.5)))
        figure = {
            "auroc": mean(whole[kinds == kind]),
            "concepts": int((kinds == kind).sum()),
            "photographs": len(scores),
        }
        found.append((str(kind), figure, (low, high)))
    return found


def seeds(collector: Collector, settings: Settings, birds: Path) -> dict[str, object]:
    """Heads of other seeds of renders and landmarks on the testing half: mean and standard deviation."""
    shown = collector.photographs("test", birds)
    runs = []
    for drawn, first in SEEDS:
        sources = collector.sources(drawn)
        anchors = all_anchors(sources, settings)
        runs.append(means(fitted(collector, anchors, sources.rows, settings, first), shown, collector))
    return {
        "heads": len(runs),
        **{
            kind: {
                "mean": mean([run[kind] for run in runs]),
                "sd": round(float(np.std([run[kind] for run in runs], ddof=1)), 3),
            }
            for kind in runs[0]
        },
    }


def by_source(collector: Collector, settings: Settings, birds: Path) -> list[dict[str, object]]:
    """What each further kind of source adds, and what a linear map in place of the kernel does."""
    shown, sources = collector.photographs("test", birds), collector.sources()
    weights = {name for names in SOURCES.values() for name in names}
    rows: list[dict[str, object]] = []
    for name, used in SOURCES.items():
        some = replace(settings, **dict.fromkeys(weights - set(used), 0))
        anchors = all_anchors(sources, some)
        head = fitted(collector, anchors, sources.rows, some, 0)
        ways: dict[str, Text] = {"kernel": text_side, "linear": linear(collector, anchors, head, settings.ridge)}
        rows += [
            {"fit": way, "sources": name, "texts": len(anchors), **means(head, shown, collector, text)}
            for way, text in ways.items()
        ]
    return rows


def fitted(collector: Collector, anchors: Anchors, rows: Tensor, settings: Settings, seed: int) -> Head:
    """A head of these anchors."""
    return fit_head.fit(anchors, collector.sentences(anchors.texts), rows, collector.mean, settings, seed)


def linear(collector: Collector, anchors: Anchors, head: Head, ridge: float) -> Text:
    """Ridge regression on the centred sentence embedding itself, into the space of a head."""
    points = normalize(collector.sentences(anchors.texts) - head.centre, dim=1).double()
    weighted = points.T * anchors.weights
    normal = weighted @ points + ridge * torch.eye(points.shape[1])
    straight = torch.linalg.solve(normal, weighted @ anchors.directions.double()).float() @ head.projection.T
    return lambda _, sentences: normalize(normalize(sentences - head.centre, dim=1) @ straight, dim=1)


def means(head: Head, shown: Shown, collector: Collector, text: Text = text_side) -> dict[str, float]:
    """Mean AUROC of each kind of concept."""
    found: dict[str, float] = {}
    for album, features in shown:
        areas = photographs.areas(album.truth, scored(head, album, features, collector, text))
        for kind in dict.fromkeys(kind for kind, _ in album.concepts):
            found[kind] = mean([area for area, (other, _) in zip(areas, album.concepts, strict=True) if other == kind])
    return found


def unseen_names(collector: Collector, settings: Settings) -> dict[str, float]:
    """Of classes that a second fit never saw: how often the name's direction is nearest to the class's own row.

    Chance is 1 in 1,000; a name competes with the rows of classes that were seen.
    """
    ids, picked, sources = words.class_ids(), unseen_classes(), collector.sources()
    anchors = all_anchors(sources, settings, without=frozenset(ids[i] for i in picked))
    ranks = unseen_ranks(fitted(collector, anchors, sources.rows, settings, 0), sources, picked, collector)
    return {"classes": len(picked), **{f"recall_at_{k}": mean((ranks < k).numpy()) for k in (1, 5, 20)}}


def unseen_renders(encoder: TextEncoder) -> dict[str, float]:
    """Mean AUROC of colour, pattern and shape words on renders of another seed; 0.5 is chance."""
    things = renders.choose(FRESH_RENDERS, FRESH_SEED)
    images = [renders.draw(thing, FRESH_SEED * collect.SEEDS + i) for i, thing in enumerate(things)]
    x = torch.cat([encoder.encode_images(images[i : i + 16]) for i in range(0, len(images), 16)])
    groups = {"colour": tuple(renders.COLOURS), "pattern": renders.PATTERNS, "shape": renders.SHAPES}
    return {
        kind: mean(
            photographs.areas(
                np.array([[getattr(thing, kind) == name for name in names] for thing in things], float),
                (x @ encoder.encode_texts([f"something {name}" for name in names]).T).numpy(),
            )
        )
        for kind, names in groups.items()
    }


def from_examples(data: ImageDataset, encoder: TextEncoder) -> dict[str, object]:
    """Zero-shot and supervised figures on a data set of photographs; all on its test split."""
    training = embed(data, encoder)
    train, test = training.split("train"), training.split("test")
    names = encoder.encode_texts([f"a photo of a {name}" for name in data.classes])
    probe = LogisticRegression(C=10, max_iter=LIMIT).fit(train.x, train.labels)
    known = [j for j in range(len(test.concepts)) if 0 < test.concept_labels[:, j].nanmean() < 1]
    margins = [
        LogisticRegression(C=10, max_iter=LIMIT).fit(train.x, labels > 0.5).decision_function(test.x)
        for labels in train.concept_labels[:, known].T
    ]
    truth, texts = test.concept_labels[:, known].numpy(), encoder.encode_texts([test.concepts[j] for j in known])
    return {
        "data": f"{data.name}: {len(test)} test photographs, {len(data.classes)} classes, {len(data.concepts)} concepts",
        "zero_shot_accuracy": mean(((test.x @ names.T).argmax(1) == test.labels).numpy()),
        "linear_probe_accuracy": round(float(probe.score(test.x, test.labels)), 3),
        "concept_auroc_from_text": mean(photographs.areas(truth, (test.x @ texts.T).numpy())),
        "concept_auroc_from_examples": mean(photographs.areas(truth, np.stack(margins, 1))),
    }


def mean(values: object) -> float:
    """To three digits."""
    return round(float(np.mean(values)), 3)


if __name__ == "__main__":
    main()
