"""How concepts behave in a new place, against what they did at the source: profiles by class, tested concept by concept.

Notes
-----
Every statistic here is our own; see `cbm.adapt` for the paper that posed the problem.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy import stats
from torch import Tensor

from cbm.errors import DataError

SMALLEST = 1e-9
LEAST_SPREAD = 1e-3  # of the deviation between classes, for concepts that are the same on all images of a class


@dataclass(frozen=True)
class SourceStatistics:
    """What the concepts do at the source, class by class; the images themselves are not needed again.

    Attributes
    ----------
    means
        Mean score of each concept in each class, `[c k]`.
    spread
        Standard deviation of each concept within a class, pooled over classes, `[k]`.
    counts
        Images of each class, `[c]`.
    """

    means: Float64[np.ndarray, "c k"]
    spread: Float64[np.ndarray, "k"]
    counts: Int[np.ndarray, "c"]

    @property
    def neutral(self) -> Float64[np.ndarray, "k"]:
        """The score of a concept that speaks for no class: the mean of the class means, `[k]`."""
        return np.asarray(self.means.mean(0))


@dataclass(frozen=True)
class Shift:
    """How far and in which way each concept has moved, one entry a concept.

    Attributes
    ----------
    deviation
        Squared distance of the class means from the source, in squared standard errors; chi-square with as many
        degrees of freedom as there are classes with images when nothing has moved.
    p
        Its p-value; 1 for a concept that never varies.
    slope
        How strongly the concept follows its source pattern over the classes: 1 as at the source, 0 not at all.
    slope_error
        Standard error of the slope.
    agreement
        Correlation of the class means with those of the source; 0 where either pattern is flat.
    separability
        Standard deviation of the class means at the source in units of the spread.
    rise, fall
        How far the mean rises in the classes below the neutral score, and falls in those above it, as shares of the
        distance between the two at the source; 0 where there is no such distance.
    peak
        The largest rise of a class mean, in units of the same distance, or of the spread where that is larger.
    """

    deviation: Float64[np.ndarray, "k"]
    p: Float64[np.ndarray, "k"]
    slope: Float64[np.ndarray, "k"]
    slope_error: Float64[np.ndarray, "k"]
    agreement: Float64[np.ndarray, "k"]
    separability: Float64[np.ndarray, "k"]
    rise: Float64[np.ndarray, "k"]
    fall: Float64[np.ndarray, "k"]
    peak: Float64[np.ndarray, "k"]

    def detected(self, q: float) -> np.ndarray:
        """Which concepts have moved, at false discovery rate `q` (Benjamini and Hochberg 1995), `[k]`."""
        return np.asarray(stats.false_discovery_control(self.p) <= q) if len(self.p) else np.zeros(0, dtype=bool)


def source_statistics(scores: Float[Tensor, "n k"], labels: Int[Tensor, "n"], classes: int) -> SourceStatistics:
    """Statistics of concept scores on labelled source images.

    Raises
    ------
    DataError
        If a class has no image, or no class has two.
    """
    values, truth = scores.double().numpy(), labels.numpy()
    means, counts = _class_means(values, truth, classes)
    if not counts.all():
        raise DataError(f"{int((counts == 0).sum())} of {classes} classes have no source image")
    if len(values) <= classes:
        raise DataError("the spread within a class cannot be told from one source image a class")
    within = values - means[truth]
    return SourceStatistics(means, np.sqrt((within**2).sum(0) / (len(values) - classes)), counts)


def measure_shift(scores: Float[Tensor, "n k"], labels: Int[Tensor, "n"], source: SourceStatistics) -> Shift:
    """What a few labelled images of a new place say about each concept; classes without an image are left out.

    Raises
    ------
    DataError
        If there are images of fewer than two classes.
    """
    means, counts = _class_means(scores.double().numpy(), labels.numpy(), len(source.counts))
    there = counts > 0
    if there.sum() < 2:
        raise DataError(
            "the images from the new place belong to fewer than two classes", hint="label a few images of every class"
        )
    old, new, n = source.means[there], means[there], counts[there][:, None]
    spread = np.maximum(source.spread, LEAST_SPREAD * old.std(0))
    flat = spread <= SMALLEST
    variance = np.where(flat, 1.0, spread**2)
    deviation = np.where(
        flat, 0.0, (n * (new - old) ** 2 / (variance * (1 + n / source.counts[there][:, None]))).sum(0)
    )
    pattern, seen = old - old.mean(0), new - new.mean(0)
    energy = (pattern**2).sum(0)
    steady = energy > SMALLEST * variance
    safe = np.where(steady, energy, 1.0)
    high = pattern > 0
    distance = _mean(old, high) - _mean(old, ~high)
    apart = steady & (distance > SMALLEST)
    share = np.where(apart, (new - old) / np.where(apart, distance, 1.0), 0.0)
    lengths = np.sqrt(energy * (seen**2).sum(0))
    return Shift(
        deviation=deviation,
        p=np.where(flat, 1.0, stats.chi2.sf(deviation, int(there.sum()))),
        slope=np.where(steady, (pattern * seen).sum(0) / safe, 1.0),
        slope_error=np.sqrt(variance * (pattern**2 / n).sum(0)) / safe,
        agreement=np.where(
            lengths > SMALLEST, (pattern * seen).sum(0) / np.where(lengths > SMALLEST, lengths, 1.0), 0.0
        ),
        separability=np.where(flat, 0.0, pattern.std(0) / np.sqrt(variance)),
        rise=_mean(share, ~high),
        fall=_mean(-share, high),
        peak=np.where(flat, 0.0, (new - old).max(0) / np.maximum(np.where(apart, distance, 0.0), np.sqrt(variance))),
    )


def _mean(values: Float64[np.ndarray, "c k"], where: np.ndarray) -> Float64[np.ndarray, "k"]:
    """Mean over the classes for which the mask `[c k]` is true; zero where there is none."""
    return np.asarray((values * where).sum(0) / np.maximum(where.sum(0), 1))


def _class_means(values: np.ndarray, labels: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Means `[c k]` and counts `[c]`; zero where a class has no image."""
    counts = np.bincount(labels, minlength=classes)
    sums = np.zeros((classes, values.shape[1]))
    np.add.at(sums, labels, values)
    return sums / np.maximum(counts, 1)[:, None], counts
