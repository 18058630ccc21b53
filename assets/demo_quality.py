"""Measures the demo encoder on pictures whose combinations of attributes it has never seen.

Concept scores come from one plain prompt each, as a person would write it; nothing is tuned on the pictures.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from assets import cells, species
from assets.captions import caption, kind_of
from assets.demo_model import MEAN, STD
from assets.training_pool import CONCEPTS, Pool, open_pool
from assets.word_tokenizer import WordTokenizer

if TYPE_CHECKING:
    from open_clip.model import CLIP

PROMPT = {"bird": "a photo of a bird with {}", "cell": "a photo of a blood cell with {}"}


def auroc(scores: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> float:
    """Return the share of (positive, negative) pairs in the right order; 0.5 is chance."""
    order = np.argsort(scores, kind="stable")
    ranks = np.empty(len(scores))
    ranks[order] = np.arange(1, len(scores) + 1)
    positives = int(truth.sum())
    return float((ranks[truth].sum() - positives * (positives + 1) / 2) / (positives * (len(truth) - positives)))


def measure(
    model: CLIP, tokenizer: WordTokenizer, folder: Path, *, birds: int = 2000, cells: int = 1000
) -> dict[str, object]:
    """Return the encoder's quality as plain numbers, rendering the pictures needed into a folder.

    ``auroc`` is on pictures that all hold a pair never trained on, ``auroc_any`` on fresh ones of any traits;
    a concept that no such pair brings along (two nucleus shapes) has only the second.
    """
    unseen = open_pool(folder, "unseen", birds=birds, cells=cells, seed=0)
    anything = open_pool(folder, "any", birds=birds // 2, cells=cells, seed=0)
    typical = open_pool(folder, "species", birds=birds // 2, cells=cells // 2, seed=0)
    x = embed_pictures(model, unseen.pictures)
    on_unseen = concept_aurocs(model, tokenizer, x, unseen)
    on_any = concept_aurocs(model, tokenizer, embed_pictures(model, anything.pictures), anything)
    return {
        "pictures": {
            "unseen birds": birds,
            "unseen cells": cells,
            "any": len(anything.labels),
            "species": len(typical.labels),
        },
        "prompt": PROMPT,
        "mean_auroc": {"birds": _mean(on_unseen, "bird"), "cells": _mean(on_unseen, "cell")},
        "mean_auroc_any": {"birds": _mean(on_any, "bird"), "cells": _mean(on_any, "cell")},
        "auroc": on_unseen,
        "auroc_any": on_any,
        "zero_shot_accuracy": _zero_shot(model, tokenizer, typical),
        "retrieval": _retrieval(model, tokenizer, x, unseen),
    }


def concept_aurocs(model: CLIP, tokenizer: WordTokenizer, x: Float[Tensor, "n d"], pool: Pool) -> dict[str, float]:
    """Return each concept's AUROC from its prompt, among the pictures of its own kind."""
    texts = embed_texts(model, tokenizer, [PROMPT[kind_of(concept)].format(concept) for concept in CONCEPTS])
    scores = (x @ texts.T).numpy()
    quality = {}
    for column, concept in enumerate(CONCEPTS):
        rows = pool.birds == (kind_of(concept) == "bird")
        truth = pool.concepts[rows, column]
        if 0 < truth.sum() < len(truth):
            quality[concept] = round(auroc(scores[rows, column], truth), 4)
    return quality


@torch.no_grad()
def embed_pictures(model: CLIP, pictures: np.ndarray, batch: int = 64) -> Float[Tensor, "n d"]:
    """Return unit embeddings of 8-bit pictures of the encoder's size."""
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    rows = []
    for start in range(0, len(pictures), batch):
        pixels = torch.from_numpy(pictures[start : start + batch]).permute(0, 3, 1, 2).float() / 255
        rows.append(model.encode_image((pixels - mean) / std, normalize=True))
    return torch.cat(rows)


@torch.no_grad()
def embed_texts(model: CLIP, tokenizer: WordTokenizer, texts: Sequence[str]) -> Float[Tensor, "m d"]:
    """Return unit embeddings of sentences."""
    return model.encode_text(tokenizer(texts), normalize=True)


def _mean(by_concept: dict[str, float], kind: str) -> float:
    return round(float(np.mean([value for concept, value in by_concept.items() if kind_of(concept) == kind])), 4)


def _zero_shot(model: CLIP, tokenizer: WordTokenizer, pool: Pool) -> dict[str, float]:
    """Accuracy of naming the class by the mean of the prompts of its usual traits; backgrounds are not used."""
    usual = {
        "bird": {one.name: list(one.traits) for one in species.SPECIES},
        "cell": cells.usual_traits(),
    }
    accuracy = {}
    x = embed_pictures(model, pool.pictures)
    for kind, classes in usual.items():
        profiles = [
            embed_texts(model, tokenizer, [PROMPT[kind].format(c) for c in traits]).mean(0)
            for traits in classes.values()
        ]
        rows = torch.from_numpy(pool.birds == (kind == "bird"))
        named = (x[rows] @ torch.stack(profiles).T).argmax(dim=1)
        accuracy[f"{kind}s"] = float(np.mean(np.array(list(classes))[named.numpy()] == pool.labels[rows.numpy()]))
    return accuracy


def _retrieval(model: CLIP, tokenizer: WordTokenizer, x: Float[Tensor, "n d"], pool: Pool) -> dict[str, float]:
    """Share of 500 birds whose own caption of eight traits is the best, or among the best five, of all captions."""
    rng = np.random.default_rng(0)
    rows = np.flatnonzero(pool.birds)[:500]
    captions = [
        caption([CONCEPTS[i] for i in rng.permutation(np.flatnonzero(pool.concepts[row]))[:8]], rng) for row in rows
    ]
    scores = x[rows] @ embed_texts(model, tokenizer, captions).T
    rank = (scores > scores.diagonal()[:, None]).sum(dim=1)
    return {
        "captions": len(rows),
        "recall_at_1": float((rank < 1).float().mean()),
        "recall_at_5": float((rank < 5).float().mean()),
    }


def write_quality(path: Path, quality: dict[str, object]) -> None:
    """Write measured quality to a JSON file."""
    path.write_text(json.dumps(quality, indent=1) + "\n", encoding="utf-8")
