"""Information in the bottleneck, in bits: what the scores tell of the class, and how much of the image passes them.

Information that is estimated from few images is too large: numbers that know nothing seem to know a little. So every
estimate comes with the same estimate on shuffled labels, and what is reported is the difference.
"""

from dataclasses import dataclass
from math import log, log2

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.dense_heads import fit_dense
from cbm.errors import DataError
from cbm.training_set import TrainingSet, fitting_split
from probes.intervals import Estimate, bootstrap

BINS = 8  # of a score, equally full
SHUFFLES = 20


@dataclass(frozen=True)
class Information:
    """Bits that each of `k` scores tells of something discrete.

    Attributes
    ----------
    bits
        `[k]`, less what shuffled scores seem to tell; not below 0.
    shuffled
        `[k]`, what they seem to tell, mean over the shuffles.
    p_values
        Probability that a shuffled score seems to tell as much, `[k]`, by the shuffles' mean and spread.
    entropy
        Bits that there are to tell.
    """

    bits: Float[Tensor, "k"]
    shuffled: Float[Tensor, "k"]
    p_values: Float[Tensor, "k"]
    entropy: float


def entropy(labels: Int[Tensor, "n"]) -> float:
    """Entropy of labels in bits.

    Examples
    --------
    >>> entropy(torch.tensor([0, 1, 2, 3]))
    2.0
    """
    share = labels.bincount().double() / len(labels)
    return float(-(share[share > 0] * share[share > 0].log2()).sum())


def binned(scores: Float[Tensor, "n k"], bins: int = BINS) -> Int[Tensor, "n k"]:
    """Each score's bin, from 0: bins are equally full, and equal scores share one."""
    ranks = torch.empty(scores.shape, dtype=torch.long)
    for j, column in enumerate(scores.T):
        order = column.contiguous().sort().values
        below = torch.searchsorted(order, column.contiguous())
        equal = torch.searchsorted(order, column.contiguous(), right=True) - below
        ranks[:, j] = ((2 * below + equal) * bins) // (2 * len(column) + 1)
    return ranks


def information_on_labels(
    scores: Float[Tensor, "n k"],
    labels: Int[Tensor, "n"],
    *,
    given: Int[Tensor, "n k"] | None = None,
    bins: int = BINS,
    shuffles: int = SHUFFLES,
    seed: int = 0,
) -> Information:
    """Bits that each score tells of the labels, by itself.

    Parameters
    ----------
    given
        Something known already, one column a score: then it is what the score tells *beyond* it, `I(score; label |
        given)`, and scores are shuffled among images on which it is equal.
    bins
        Into which scores are sorted, by rank among images on which `given` is equal.

    Notes
    -----
    Binning can only lose information, shuffling takes away the estimate's bias (Roulston, "Estimating the errors on
    measured entropy and mutual information", Physica D 1999, for the bias of the plug-in form).
    """
    strata = torch.zeros_like(scores, dtype=torch.long) if given is None else given
    values, generator = _bins_within(scores, strata, bins), torch.Generator().manual_seed(seed)
    found = _plug_in(values, labels, strata)
    chance = torch.stack([_plug_in(_shuffled(values, strata, generator), labels, strata) for _ in range(shuffles)])
    centre, spread = chance.mean(0), chance.std(0).clamp(min=1e-12)
    p_values = 1 - torch.special.ndtr((found - centre) / spread)
    return Information((found - centre).clamp(min=0), centre, p_values, entropy(labels))


def information_in_bottleneck(
    scores: Float[Tensor, "n k"],
    data: TrainingSet,
    split: str,
    *,
    ridge: float = 1e-3,
    shuffle: bool = False,
    seed: int = 0,
) -> Estimate:
    """Bits that all scores together tell of the class of images in `split`: a lower bound of I(C; Y).

    The entropy of the classes less the cross-entropy of a logistic regression on the scores, fitted on "train" (Barber
    and Agakov's bound).

    Parameters
    ----------
    scores
        One row for each image of `data`; standardised here.
    shuffle
        Fit and measure with shuffled labels instead: what the estimate says when there is nothing to tell.

    References
    ----------
    Barber and Agakov, "The IM algorithm: a variational approach to information maximization", NeurIPS 2003.
    """
    fitting_split(data)
    train, test = (torch.from_numpy(data.splits == name) for name in ("train", split))
    if not bool(test.any()):
        raise DataError(f"there is no image in the split {split!r}")
    labels = data.labels.clone()
    if shuffle:
        generator = torch.Generator().manual_seed(seed)
        for rows in (torch.nonzero(train).flatten(), torch.nonzero(test).flatten()):
            labels[rows] = labels[rows[torch.randperm(len(rows), generator=generator)]]
    centre, spread = scores[train].mean(0), scores[train].std(0).clamp(min=1e-6)
    z = (scores - centre) / spread
    head = fit_dense(z[train].float(), labels[train], len(data.classes), ridge=ridge)
    told = torch.log_softmax(head(z[test].float()).double(), 1)[torch.arange(int(test.sum())), labels[test]] / log(2)
    bits = entropy(labels[test])
    return bootstrap(lambda counts: bits + counts @ told / counts.sum(1), len(told), seed=seed, high=bits)


def passed_information(scores: Float[Tensor, "n k"], *, noise: float = 0.1) -> float:
    """Bits of the image that pass the bottleneck when each score is read with an error of `noise` standard deviations.

    Scores are functions of the image, so without an error I(X; C) has no bound. With a Gaussian one it is
    `log2 det(I + R / noise^2) / 2` for Gaussian scores with correlations `R`, and less for any others.

    References
    ----------
    Cover and Thomas, "Elements of information theory", 2nd edition, theorem 9.4.1 and chapter 9.5.

    Examples
    --------
    >>> round(passed_information(torch.tensor([[1.0], [-1.0]]), noise=1.0), 3)
    0.5
    """
    z = scores.double() - scores.double().mean(0)
    spread = z.std(0, correction=0)
    z = z[:, spread > 1e-9] / spread[spread > 1e-9]
    if not z.shape[1]:
        return 0.0
    eigenvalues = torch.linalg.eigvalsh(z.T @ z / len(z)).clamp(min=0)
    return float((1 + eigenvalues / noise**2).log2().sum() / 2)


def passed_at_most(concepts: int, *, noise: float = 0.1) -> float:
    """What `passed_information` would be if no score told anything of another.

    Examples
    --------
    >>> round(passed_at_most(2, noise=1.0), 3)
    1.0
    """
    return concepts * log2(1 + noise**-2) / 2


def _bins_within(scores: Float[Tensor, "n k"], strata: Int[Tensor, "n k"], bins: int) -> Int[Tensor, "n k"]:
    if not bool(strata.any()):
        return binned(scores, bins)
    values = torch.zeros(scores.shape, dtype=torch.long)
    for j in range(scores.shape[1]):
        for stratum in range(int(strata[:, j].max()) + 1):
            rows = strata[:, j] == stratum
            values[rows, j] = binned(scores[rows, j : j + 1], bins)[:, 0]
    return values


def _plug_in(values: Int[Tensor, "n k"], labels: Int[Tensor, "n"], strata: Int[Tensor, "n k"]) -> Float[Tensor, "k"]:
    """I(value; label | stratum) of the counts as they are, in bits."""
    k, bins, groups, classes = values.shape[1], int(values.max()) + 1, int(strata.max()) + 1, int(labels.max()) + 1
    cells = ((torch.arange(k) * groups + strata) * bins + values) * classes + labels[:, None]  # [n k]
    counts = cells.flatten().bincount(minlength=k * groups * bins * classes).reshape(k, groups, bins, classes)
    joint = counts.double() / len(labels)
    whole, by_label, by_value = joint.sum((2, 3), keepdim=True), joint.sum(2, keepdim=True), joint.sum(3, keepdim=True)
    ratio = joint * whole / (by_label * by_value).clamp(min=1e-300)
    return torch.where(joint > 0, joint * ratio.clamp(min=1e-300).log2(), 0.0).sum((1, 2, 3))


def _shuffled(values: Int[Tensor, "n k"], strata: Int[Tensor, "n k"], generator: torch.Generator) -> Int[Tensor, "n k"]:
    """Values in another order among rows of the same stratum, in each column."""
    n, k = values.shape
    drawn = torch.rand(n, k, generator=generator, dtype=torch.float64)
    source = (strata + drawn).argsort(0)  # stratum by stratum, at random inside
    target = (strata + torch.rand(n, k, generator=generator, dtype=torch.float64)).argsort(0)
    return torch.empty_like(values).scatter_(0, target, values.gather(0, source))
