"""Whether an image comes from the new place: a gate in front of a fix, so that source images keep the model as it was.

The gate looks only at the concepts that the fix changes. It compares how likely their scores are under the class
profiles of the new place and of the source, and lets the fix act when the new place is more likely than for 99 % of
the source images.
"""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float64, Int
from scipy.special import logsumexp
from torch import Tensor

from cbm.errors import DataError
from cbm.shift import SMALLEST, SourceStatistics

FEWEST = 10  # images from which a spread of their own is estimated in the new place


@dataclass(frozen=True)
class Gate:
    """Log-likelihood ratio of two mixtures of class profiles on some concepts, with a threshold.

    Attributes
    ----------
    concepts
        Positions of the concepts it looks at, `[j]`.
    source, target
        Class means `[c j]` at the source and in the new place.
    source_spread, target_spread
        Spread within a class, `[j]`.
    threshold
        The fix acts above it.
    """

    concepts: Int[np.ndarray, "j"]
    source: Float64[np.ndarray, "c j"]
    target: Float64[np.ndarray, "t j"]
    source_spread: Float64[np.ndarray, "j"]
    target_spread: Float64[np.ndarray, "j"]
    threshold: float = 0.0

    def evidence(self, scores: Float[Tensor, "n k"]) -> Float64[np.ndarray, "n"]:
        """How much more likely each image is in the new place, in nats."""
        values = scores.double().numpy()[:, self.concepts]
        here = _likelihood(values, self.target, self.target_spread)
        return np.asarray(here - _likelihood(values, self.source, self.source_spread))

    def opens(self, scores: Float[Tensor, "n k"]) -> Bool[np.ndarray, "n"]:
        """For which images the fix acts."""
        return np.asarray(self.evidence(scores) > self.threshold)


def fit_gate(
    concepts: Int[np.ndarray, "j"],
    support: Float[Tensor, "m k"],
    support_labels: Int[Tensor, "m"],
    source_scores: Float[Tensor, "n k"],
    source: SourceStatistics,
    *,
    quantile: float = 0.99,
) -> Gate:
    """A gate on these concepts that `1 - quantile` of the source images pass by mistake.

    Raises
    ------
    DataError
        If there is no concept to look at, or no source image.
    """
    if not len(concepts) or not len(source_scores):
        raise DataError("a gate needs a changed concept and source images", hint="there is nothing to gate")
    there = np.unique(support_labels.numpy())
    labels = np.searchsorted(there, support_labels.numpy())
    values = support.double().numpy()[:, concepts]
    means = np.stack([values[labels == row].mean(0) for row in range(len(there))])
    spread = np.maximum(source.spread[concepts], SMALLEST)
    if len(values) >= len(there) + FEWEST:
        own = np.sqrt(((values - means[labels]) ** 2).sum(0) / (len(values) - len(there)))
        spread = np.maximum(own, SMALLEST)
    gate = Gate(concepts, source.means[:, concepts], means, np.maximum(source.spread[concepts], SMALLEST), spread)
    limit = float(np.quantile(gate.evidence(source_scores), quantile))
    return replace(gate, threshold=max(0.0, limit))


def _likelihood(
    values: Float64[np.ndarray, "n j"], means: Float64[np.ndarray, "c j"], spread: Float64[np.ndarray, "j"]
) -> Float64[np.ndarray, "n"]:
    """Log density of an equal mixture of Gaussians about the means, up to a constant."""
    distances = ((values[:, None] - means[None]) / spread) ** 2
    terms = -0.5 * distances.sum(2) - np.log(spread).sum() - np.log(len(means))
    return np.asarray(logsumexp(terms, axis=1))
