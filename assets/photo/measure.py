"""Measures `builtin:photo` and writes `quality.json`.

Held-out ImageNet classes (names and rows left out of a second fit), fresh renders, and, where a manifest of photographs
is given, zero-shot and supervised figures on them. Photographs are only measured on, never fitted to or copied.

    python -m assets.photo.measure --wordnet /usr/share/wordnet --photographs MANIFEST.csv --out assets/photo
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import normalize

from assets.photo import fit_head, renders, words
from cbm import photo
from cbm.data import ImageDataset
from cbm.embeddings import embed
from cbm.encoders import TextEncoder, load_encoder
from cbm.torchvision_guard import ensure_torchvision

HELD_OUT_CLASSES = 100
FRESH_RENDERS = 300
LIMIT = 2000  # iterations of the probes


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wordnet", type=Path, required=True)
    parser.add_argument("--photographs", type=Path, help="a manifest with splits and concept columns")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    ensure_torchvision()
    towers = photo.load_towers()
    encoder = load_encoder("builtin:photo")
    quality: dict[str, object] = {
        "unseen_names": unseen_names(*towers, words.read_nouns(options.wordnet)),
        "renders": unseen_renders(encoder),
    }
    if options.photographs:
        data = ImageDataset.from_manifest(options.photographs, name=options.photographs.parent.name)
        quality["photographs"] = photographs(data, encoder)
    (options.out / "quality.json").write_text(json.dumps(quality, indent=1) + "\n")


def unseen_names(model: nn.Module, tokenizer: photo.Tokenizer, nouns: words.Nouns) -> dict[str, float]:
    """Of classes that a second fit never saw: how often the name's direction is nearest to the class's own row.

    Chance is 1 in 1,000; a name competes with the rows of classes that were seen.
    """
    rows = fit_head.class_rows()
    picked = np.random.default_rng(fit_head.SEED).choice(len(rows), HELD_OUT_CLASSES, replace=False)
    ids = words.class_ids()
    looks = fit_head.render_directions(model)
    anchors = fit_head.all_anchors(nouns, rows, looks, without=frozenset(ids[i] for i in picked))
    embedded = fit_head.sentences(model, tokenizer, anchors.texts)
    head = fit_head.fit(anchors, embedded, rows, fit_head.mean_feature(model))
    names = fit_head.sentences(model, tokenizer, tuple(nouns.words[ids[i]][0] for i in picked))
    similar = text_side(head, names) @ normalize(rows @ head.projection.T, dim=1).T
    own = similar[torch.arange(len(picked)), torch.from_numpy(picked)]
    rank = (similar > own[:, None]).sum(1)
    return {
        "classes": len(picked),
        "recall_at_1": share(rank < 1),
        "recall_at_5": share(rank < 5),
        "recall_at_20": share(rank < 20),
    }


def text_side(head: fit_head.Head, sentences: Tensor) -> Tensor:
    """What `cbm.photo.KernelRidge` computes, as unit rows."""
    similar = fit_head.kernel(normalize(sentences - head.centre, dim=1), head.landmarks)
    return normalize(similar @ head.coefficients, dim=1)


def unseen_renders(encoder: TextEncoder) -> dict[str, float]:
    """Mean AUROC of colour, pattern and shape words on renders of another seed; 0.5 is chance."""
    things = renders.choose(FRESH_RENDERS, fit_head.SEED + 1)
    images = [renders.draw(thing, 100_000 + i) for i, thing in enumerate(things)]
    x = torch.cat([encoder.encode_images(images[i : i + 16]) for i in range(0, len(images), 16)])
    groups = {"colour": tuple(renders.COLOURS), "pattern": renders.PATTERNS, "shape": renders.SHAPES}
    return {
        kind: mean_auroc(
            np.array([[getattr(thing, kind) == name for name in names] for thing in things]),
            x @ encoder.encode_texts([f"something {name}" for name in names]).T,
        )
        for kind, names in groups.items()
    }


def photographs(data: ImageDataset, encoder: TextEncoder) -> dict[str, object]:
    """Zero-shot and supervised figures on a data set of photographs; all on its test split."""
    training = embed(data, encoder)
    train, test = training.split("train"), training.split("test")
    names = encoder.encode_texts([f"a photo of a {name}" for name in data.classes])
    probe = LogisticRegression(C=10, max_iter=LIMIT).fit(train.x, train.labels)
    return {
        "data": f"{data.name}: {len(test)} test photographs, {len(data.classes)} classes, {len(data.concepts)} concepts",
        "zero_shot_accuracy": share((test.x @ names.T).argmax(1) == test.labels),
        "linear_probe_accuracy": float(probe.score(test.x, test.labels)),
        **concept_figures(train, test, encoder),
    }


def concept_figures(train, test, encoder: TextEncoder) -> dict[str, float]:
    """Mean AUROC of the annotated concepts, from their names alone and from labelled examples."""
    known = [j for j in range(len(test.concepts)) if 0 < test.concept_labels[:, j].nanmean() < 1]
    truth, learn = test.concept_labels[:, known].numpy() > 0.5, train.concept_labels[:, known].numpy() > 0.5
    texts = encoder.encode_texts([test.concepts[j] for j in known])
    margins = [
        LogisticRegression(C=10, max_iter=LIMIT).fit(train.x, labels).decision_function(test.x) for labels in learn.T
    ]
    return {
        "concept_auroc_from_text": mean_auroc(truth, test.x @ texts.T),
        "concept_auroc_from_examples": mean_auroc(truth, np.stack(margins, 1)),
    }


def mean_auroc(truth: np.ndarray, scores: Tensor | np.ndarray) -> float:
    """Mean over columns of the area under the ROC curve."""
    columns = zip(truth.T, np.asarray(scores).T, strict=True)
    return round(float(np.mean([roc_auc_score(labels, column) for labels, column in columns])), 3)


def share(hits: Tensor) -> float:
    """Of true among all."""
    return round(float(hits.float().mean()), 3)


if __name__ == "__main__":
    main()
