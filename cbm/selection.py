"""Choosing few concepts out of many: discriminative ones that together cover what the candidates say.

The objective is submodular, so picking greedily comes within 1 - 1/e of the best choice. The greedy is lazy: a gain
can only shrink, so a candidate whose last known gain is too small is not looked at again.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from cbm.errors import DataError, UsageError
from cbm.progress import OnProgress, silent

LOOKS = 16  # stale gains that are computed at once


@dataclass(frozen=True)
class Pick:
    """A chosen candidate and what spoke for it.

    Attributes
    ----------
    position
        Among all candidates.
    value
        Its discriminability, scaled so that the class's candidates run from 0 to 1.
    covers
        How much it added to the coverage of the class's candidates when it was picked, as a share.
    """

    position: int
    value: float
    covers: float


def class_similarity(
    x: Float[Tensor, "n d"], y: Int[Tensor, "n"], classes: int, candidates: Float[Tensor, "m d"]
) -> Float[Tensor, "m c"]:
    """Mean dot product of each candidate with the images of each class; zero for a class without images."""
    means = torch.zeros(classes, x.shape[1], dtype=x.dtype).index_add_(0, y, x)
    counts = torch.bincount(y, minlength=classes).clamp_min(1)
    return candidates @ (means / counts[:, None]).T


def discriminability(similarity: Float[Tensor, "m c"], *, temperature: float | None = None) -> Float[Tensor, "m"]:
    """Negative entropy of the class given the concept, `sum_y q(y) log q(y)`: zero is best, `-log c` says nothing.

    Parameters
    ----------
    similarity
        Of each candidate with each class; see `class_similarity`.
    temperature
        With one, `q` is the softmax of `similarity / temperature` over classes. Without, as in the paper, it is each
        similarity's share of their sum, for which all have to be positive.

    Raises
    ------
    DataError
        If shares are asked for and a similarity is not positive.

    References
    ----------
    Yang et al., "Language in a bottle", CVPR 2023, section 3.2.
    """
    if temperature is not None:
        log_q = torch.log_softmax(similarity / temperature, dim=1)
        return (log_q.exp() * log_q).sum(1)
    if bool((similarity <= 0).any()):
        raise DataError(
            "a candidate has a negative similarity with a class, so shares of similarity mean nothing",
            hint="use a temperature",
        )
    q = similarity / similarity.sum(1, keepdim=True)
    return (q * q.log()).sum(1)


def discriminability_as_published(similarity: Float[Tensor, "m c"]) -> Float[Tensor, "m"]:
    """What LaBo's code uses instead: mutual information, `p(concept) (log c + sum_y q log q)`, NaN when one is negative."""
    c = similarity.shape[1]
    joint = similarity / similarity.sum(0) / c
    concept = joint.sum(1, keepdim=True)
    return (joint * (joint * c / concept).log()).sum(1)


def choose(
    vectors: Float[Tensor, "m d"],
    value: Float[Tensor, "m"],
    owners: Sequence[Sequence[int]],
    classes: int,
    *,
    count: int,
    coverage: float = 0.5,
    on_progress: OnProgress = silent,
) -> list[list[Pick]]:
    """For each class, up to `count` of its candidates: discriminative, and covering the others by their cosines.

    Maximises `(1 - coverage) * mean value + coverage * mean over candidates of the largest cosine with a chosen one`,
    with values scaled to 0 to 1 within a class and negative cosines as zero.

    Parameters
    ----------
    value
        Discriminability of each candidate.
    owners
        For each candidate the classes that list it.
    coverage
        Between 0, discriminative only, and 1, covering only.

    Raises
    ------
    UsageError
        If `coverage` is not between 0 and 1.

    Notes
    -----
    What is chosen is worth at least 1 - 1/e of the best choice; `certified` says how much in a given case.
    """
    if not 0 <= coverage <= 1:
        raise UsageError(f"coverage is {coverage:g}; it must be between 0 and 1")
    unit = normalize(vectors, dim=1)
    picks = []
    for label, members in enumerate(members_of(owners, classes)):
        on_progress(label / classes, f"choosing concepts of class {label + 1} of {classes}")
        few = min(count, len(members))
        own, cover = _problem(unit, value, members, coverage)
        chosen, covers = greedy((1 - coverage) / max(few, 1) * own, cover, few)
        shares = [cover / coverage if coverage else 0.0 for cover in covers]
        picks.append([Pick(int(members[i]), float(own[i]), share) for i, share in zip(chosen, shares, strict=True)])
    return picks


def _problem(
    unit: Float[Tensor, "m d"], value: Float[Tensor, "m"], members: NDArray[np.int64], coverage: float
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """A class's values, scaled to 0 to 1, and what its candidates cover of each other, weighted."""
    own = value[members].double().numpy()
    spread = np.ptp(own) if len(own) else 0.0
    own = (own - own.min()) / spread if spread > 0 else np.zeros(len(own))
    around = unit[torch.from_numpy(members)]
    return own, (around @ around.T).clamp_min_(0).mul_(coverage / max(len(members), 1)).numpy()


def certified(
    vectors: Float[Tensor, "m d"],
    value: Float[Tensor, "m"],
    owners: Sequence[Sequence[int]],
    picks: Sequence[Sequence[Pick]],
    *,
    coverage: float = 0.5,
) -> float:
    """The share of the best possible objective that what was chosen reaches at least, for the class where it is least.

    Notes
    -----
    The best set is worth at most what the chosen one is, plus the largest gains that as many further candidates would
    each add to it: gains only shrink.

    References
    ----------
    Minoux, "Accelerated greedy algorithms", 1978.
    """
    unit = normalize(vectors, dim=1)
    shares = [1.0]
    for members, row in zip(members_of(owners, len(picks)), picks, strict=True):
        place = {int(member): i for i, member in enumerate(members)}
        chosen = [place[pick.position] for pick in row]
        if 0 < len(chosen) < len(members):
            own, cover = _problem(unit, value, members, coverage)
            shares.append(_reached((1 - coverage) / len(chosen) * own, cover, chosen))
    return min(shares)


def _reached(value: NDArray[np.floating], cover: NDArray[np.floating], chosen: list[int]) -> float:
    """What the chosen are worth, as a share of the least upper bound from some of the sets on the way to them."""
    count = len(chosen)
    bound, worth, best, start = np.inf, 0.0, np.zeros(cover.shape[1], cover.dtype), 0
    for end in sorted({0, count // 4, count // 2, count}):
        best = np.maximum(best, cover[chosen[start:end]].max(0, initial=0))
        worth, start = float(value[chosen[:end]].sum() + best.sum()), end
        gains = value + np.maximum(cover - best, 0).sum(1)
        gains[chosen[:end]] = 0
        bound = min(bound, worth + float(np.sort(gains)[-count:].sum()))
    return worth / bound if bound > 0 else 1.0


def choose_as_published(
    vectors: Float[Tensor, "m d"],
    value: Float[Tensor, "m"],
    owners: Sequence[Sequence[int]],
    classes: int,
    *,
    count: int,
    scale: float = 1e7,
    weight: float = 1.0,
) -> list[list[Pick]]:
    """The choice of LaBo's code, whose coverage runs over the columns of the raw text features and the scaled value.

    It is not what the paper describes; for comparison only. `scale` and `weight` are the two numbers of its configs.
    """
    picks = []
    for members in members_of(owners, classes):
        own = value[members].float() * scale
        columns = torch.cat([own[:, None], vectors[members]], dim=1)
        cover = columns.double().numpy() * (weight if scale else 1.0)
        chosen, covers = greedy(own.double().numpy(), cover, min(count, len(members)))
        picks.append([Pick(int(members[i]), float(own[i]), gain) for i, gain in zip(chosen, covers, strict=True)])
    return picks


def greedy(value: NDArray[np.floating], cover: NDArray[np.floating], count: int) -> tuple[list[int], list[float]]:
    """Maximise `sum of value[T] + sum over columns of max(0, largest cover[T])` by picking one after another.

    Parameters
    ----------
    value, cover
        Shapes `[m]` and `[m p]`. Of equal gains the first candidate is picked.

    Returns
    -------
    Positions in the order of picking, and what each added to the second sum.

    Notes
    -----
    Within 1 - 1/e of the best set when no value is negative. The picks are those of the plain greedy.

    References
    ----------
    Nemhauser, Wolsey, Fisher, 1978; Minoux, "Accelerated greedy algorithms", 1978.
    """
    best = np.zeros(cover.shape[1], cover.dtype)
    adds = np.maximum(cover, 0).sum(1)
    bound = value + adds
    fresh = np.ones(len(value), dtype=bool)
    picked: list[int] = []
    covers: list[float] = []
    for _ in range(min(count, len(value))):
        while not fresh[i := int(bound.argmax())]:
            stale = np.where(fresh, -np.inf, bound)
            looks = np.argpartition(-stale, LOOKS)[:LOOKS] if len(stale) > LOOKS else np.arange(len(stale))
            looks = looks[np.isfinite(stale[looks])]
            adds[looks] = np.maximum(cover[looks] - best, 0).sum(1)
            bound[looks], fresh[looks] = value[looks] + adds[looks], True
        picked.append(i)
        covers.append(float(adds[i]))
        best = np.maximum(best, cover[i])
        fresh[:], bound[i] = False, -np.inf
    return picked, covers


def members_of(owners: Sequence[Sequence[int]], classes: int) -> list[NDArray[np.int64]]:
    """Positions of each class's own candidates."""
    found: list[list[int]] = [[] for _ in range(classes)]
    for position, labels in enumerate(owners):
        for label in labels:
            found[label].append(position)
    return [np.array(positions, dtype=np.int64) for positions in found]


def strongest_by_class(
    value: Float[Tensor, "m"], owners: Sequence[Sequence[int]], classes: int, *, count: int
) -> list[list[int]]:
    """For each class the `count` of its candidates with the largest value, the largest first."""
    order = value.argsort(descending=True, stable=True).tolist()
    own = [set(members.tolist()) for members in members_of(owners, classes)]
    return [[i for i in order if i in members][:count] for members in own]


def random_choice(owners: Sequence[Sequence[int]], classes: int, *, count: int, seed: int = 0) -> list[list[Pick]]:
    """For each class, `count` of its candidates drawn by chance: what a choice has to beat."""
    rng = np.random.default_rng(seed)
    drawn = [rng.permutation(members)[:count] for members in members_of(owners, classes)]
    return [[Pick(int(i), math.nan, math.nan) for i in positions] for positions in drawn]
