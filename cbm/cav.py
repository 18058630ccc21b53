"""Concept activation vectors: for each concept, the direction that tells images with it from images without.

Each concept learns on as many images with it as without, drawn without replacement; the images that are left say how
good the vector is. Scores are signed distances to the concept's hyperplane.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cbm.bank import Quality
from cbm.cav_fits import FITS, Pool
from cbm.errors import DataError, UsageError, unknown
from cbm.progress import OnProgress, silent

CavMethod = Literal["svm", "ridge", "lda", "mean-difference", "logistic", "pattern"]
FEWEST = 2  # images of a side: one to learn from, one to check with
ENOUGH = 10  # held-out images of a side for a quality that can be trusted
AT_ONCE = 64  # concepts, to bound memory


@dataclass(frozen=True)
class Margins:
    """Signed distances of a concept's training images to its hyperplane, summarised; every field has shape `[k]`."""

    largest: Float[Tensor, "k"]
    smallest: Float[Tensor, "k"]
    positive_mean: Float[Tensor, "k"]
    positive_spread: Float[Tensor, "k"]
    negative_mean: Float[Tensor, "k"]
    negative_spread: Float[Tensor, "k"]
    upper_decile: Float[Tensor, "k"]
    lower_decile: Float[Tensor, "k"]


@dataclass(frozen=True)
class Cavs:
    """Concept activation vectors and how well each does.

    Attributes
    ----------
    vectors, intercepts
        Shapes `[k d]` and `[k]`, in the embeddings' own coordinates; zero where not `learned`.
    learned
        False for a concept with fewer than two images of a side.
    train_accuracy, accuracy
        Mean of the shares of right signs on images with and without the concept: those learned from, those held out.
    auroc, p_value
        On held-out images; the probability that randomly placed labels reach that AUROC.
    images
        Training images of each side.
    positives, negatives
        Held-out images of each side.
    margins
        Of the training images.
    notes
        A sentence for each weak concept; empty for the others.

    Notes
    -----
    What is not measured is NaN.
    """

    vectors: Float[Tensor, "k d"]
    intercepts: Float[Tensor, "k"]
    learned: Bool[Tensor, "k"]
    train_accuracy: Float[Tensor, "k"]
    accuracy: Float[Tensor, "k"]
    auroc: Float[Tensor, "k"]
    p_value: Float[Tensor, "k"]
    images: Int[Tensor, "k"]
    positives: Int[Tensor, "k"]
    negatives: Int[Tensor, "k"]
    margins: Margins
    notes: tuple[str, ...]

    @property
    def quality(self) -> tuple[Quality, ...]:
        """The same numbers, one record a concept."""
        return tuple(
            Quality(
                auroc=_known(self.auroc[k]),
                accuracy=_known(self.accuracy[k]),
                train_accuracy=_known(self.train_accuracy[k]),
                p_value=_known(self.p_value[k]),
                positives=int(self.positives[k]),
                negatives=int(self.negatives[k]),
                note=note,
            )
            for k, note in enumerate(self.notes)
        )


def learn_cavs(
    x: Float[Tensor, "n d"],
    labels: Float[Tensor, "n k"],
    *,
    method: CavMethod = "svm",
    c: float = 1.0,
    per_side: int = 100,
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> Cavs:
    """A vector for each annotated concept, with its quality on images that it did not learn from.

    Parameters
    ----------
    x
        Embeddings.
    labels
        From 0 to 1, NaN where unknown. An image shows a concept from 0.5 on.
    method
        "svm" is the linear support vector machine of the post-hoc CBM. "logistic" and "ridge" have other losses,
        "lda" divides the difference of means by the covariance of all images, "mean-difference" does not.
        "pattern" regresses the embedding on the label: equal to the difference of means for labels of 0 and 1.
    c
        How much a training image on the wrong side costs, for "svm"; others take ``1 / c`` as their ridge. Embeddings
        are centred and scaled to unit mean square first, so the same value fits every encoder.
    per_side
        Learn from at most as many images with and without the concept, and from two thirds of the rarer side at most.

    Raises
    ------
    DataError
        If embeddings are not finite, labels do not fit them, or no concept has two images of each side.

    References
    ----------
    Kim et al., "Interpretability beyond feature attribution: TCAV", ICML 2018; Yuksekgonul et al., "Post-hoc concept
    bottleneck models", ICLR 2023; Pahde et al., "Navigating neural space", 2022, for "pattern".

    Notes
    -----
    The post-hoc CBM's code draws with replacement when a concept is rare, so that the same image is learned from and
    checked with. We never do.
    """
    _check(x, labels, method, c)
    pool, mean, scale = _standardised(x)
    splits = [_split(labels[:, k], per_side, np.random.default_rng((seed, k))) for k in range(labels.shape[1])]
    if not any(len(split.train) for split in splits):
        raise DataError("no concept has two annotated images of each side", hint="annotate more images")
    vectors, intercepts = torch.zeros(labels.shape[1], x.shape[1]), torch.zeros(labels.shape[1])
    done = 0
    for concepts in _batches(splits):
        on_progress(done / len(splits), f"learning {len(splits):,} concept vectors")
        index = torch.stack([splits[k].train for k in concepts])
        graded = torch.stack([labels[splits[k].train, k] for k in concepts])
        vectors[concepts], intercepts[concepts] = FITS[method](pool, index, graded, c)
        done += len(concepts)
    on_progress(1.0, f"{done:,} concept vectors")
    vectors = vectors / scale
    return _measured(x, labels, splits, vectors, intercepts - vectors @ mean)


def project(
    x: Float[Tensor, "n d"], vectors: Float[Tensor, "k d"], intercepts: Float[Tensor, "k"]
) -> Float[Tensor, "n k"]:
    """Signed distance of each embedding to each concept's hyperplane.

    Examples
    --------
    >>> project(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([-2.0])).tolist()
    [[3.0]]
    """
    norm = vectors.norm(dim=1)
    return torch.addmm(intercepts / norm, x, (vectors / norm[:, None]).T)


@dataclass(frozen=True)
class _Split:
    """Places of a concept's images: to learn from (with the concept first, as many without) and held out."""

    train: Int[Tensor, "m"]
    held_out: Int[Tensor, "h"]


def _split(labels: Float[Tensor, "n"], per_side: int, generator: np.random.Generator) -> _Split:
    positive, negative = (
        torch.from_numpy(generator.permutation(torch.nonzero(side).flatten().numpy()))
        for side in (labels >= 0.5, labels < 0.5)
    )
    fewer = min(len(positive), len(negative))
    size = 0 if fewer < FEWEST else min(per_side, max(1, fewer * 2 // 3))
    return _Split(
        train=torch.cat([positive[:size], negative[:size]]),
        held_out=torch.cat([positive[size:], negative[size:]]).sort().values,
    )


def _batches(splits: Sequence[_Split]) -> Iterator[list[int]]:
    """Concepts that learn from equally many images, so many at once; those that cannot learn are left out."""
    for size in sorted({len(split.train) for split in splits} - {0}):
        same = [k for k, split in enumerate(splits) if len(split.train) == size]
        for start in range(0, len(same), AT_ONCE):
            yield same[start : start + AT_ONCE]


def _standardised(x: Float[Tensor, "n d"]) -> tuple[Pool, Float[Tensor, "d"], float]:
    mean = x.mean(0)
    centred = x - mean
    scale = max(float(centred.square().sum(1).mean().sqrt()), 1e-12)
    return Pool(centred / scale), mean, scale


def _measured(
    x: Float[Tensor, "n d"],
    labels: Float[Tensor, "n k"],
    splits: Sequence[_Split],
    vectors: Float[Tensor, "k d"],
    intercepts: Float[Tensor, "k"],
) -> Cavs:
    k = len(splits)
    learned = torch.tensor([len(split.train) > 0 for split in splits]) & (vectors.norm(dim=1) > 0)
    numbers = torch.full((k, 4), torch.nan, dtype=torch.float64)
    margins = torch.full((k, 8), torch.nan)
    sides = torch.zeros(k, 2, dtype=torch.int64)
    for j, split in enumerate(splits):
        shown = labels[split.held_out, j] >= 0.5
        sides[j] = torch.tensor([int(shown.sum()), int((~shown).sum())])
        if learned[j]:
            distance = project(x, vectors[j : j + 1], intercepts[j : j + 1])[:, 0]
            train = distance[split.train]
            margins[j] = summarise_margins(train)
            numbers[j, 0] = _accuracy(train, labels[split.train, j] >= 0.5)
            numbers[j, 1:] = _held_out(distance[split.held_out], shown)
    return Cavs(
        vectors=vectors,
        intercepts=intercepts,
        learned=learned,
        train_accuracy=numbers[:, 0],
        accuracy=numbers[:, 1],
        auroc=numbers[:, 2],
        p_value=numbers[:, 3],
        images=torch.tensor([len(split.train) // 2 for split in splits]),
        positives=sides[:, 0],
        negatives=sides[:, 1],
        margins=Margins(*margins.T),
        notes=tuple(_note(bool(learned[j]), *sides[j].tolist()) for j in range(k)),
    )


def summarise_margins(distance: Float[Tensor, "m"]) -> Float[Tensor, "8"]:
    """The fields of `Margins` in their order, for one concept; means and spreads go by the sign, not by the label."""
    above, below = distance[distance > 0], distance[distance < 0]
    spread = [part.std(correction=0) if len(part) else distance.new_tensor(torch.nan) for part in (above, below)]
    deciles = torch.quantile(distance, distance.new_tensor([0.9, 0.1]))
    return torch.stack([distance.max(), distance.min(), above.mean(), spread[0], below.mean(), spread[1], *deciles])


def _accuracy(distance: Float[Tensor, "m"], shown: Bool[Tensor, "m"]) -> float:
    """Mean over the two sides of the share on the right side of the plane."""
    return (float((distance[shown] > 0).double().mean()) + float((distance[~shown] <= 0).double().mean())) / 2


def _held_out(distance: Float[Tensor, "h"], shown: Bool[Tensor, "h"]) -> Float[Tensor, "3"]:
    """Accuracy, AUROC and its p-value under permutations of the labels (normal limit where both sides are large)."""
    from scipy.stats import mannwhitneyu

    test = mannwhitneyu(distance[shown].double().numpy(), distance[~shown].double().numpy(), alternative="greater")
    pairs = int(shown.sum()) * int((~shown).sum())
    return torch.tensor(
        [_accuracy(distance, shown), float(test.statistic) / pairs, float(test.pvalue)], dtype=torch.float64
    )


def _note(learned: bool, positives: int, negatives: int) -> str:
    fewer, side = min((positives, "with"), (negatives, "without"))
    if not learned:
        return f"not learned: only {fewer} annotated images {side} the concept"
    return "" if fewer >= ENOUGH else f"measured on only {fewer} images {side} the concept"


def _known(value: Float[Tensor, ""]) -> float | None:
    return None if bool(value.isnan()) else float(value)


def _check(x: Float[Tensor, "n d"], labels: Float[Tensor, "m k"], method: str, c: float) -> None:
    if len(x) != len(labels):
        raise DataError(f"{len(x)} embeddings and {len(labels)} rows of labels", hint="give one row for each image")
    if not bool(torch.isfinite(x).all()):
        raise DataError(f"{int((~torch.isfinite(x)).any(1).sum())} of {len(x)} embeddings are not finite")
    if bool(((labels < 0) | (labels > 1)).any()):
        raise DataError("concept labels must lie between 0 and 1", hint="leave unknown ones empty")
    if method not in FITS:
        raise unknown("way to learn a concept vector", method, FITS)
    if c <= 0:
        raise UsageError(f"c is {c:g}", hint="c must be positive")
