"""Whether concept scores carry more than their concepts: about the class, and about other concepts.

A score that only says whether its concept is there can tell no more of the class than the concept itself does. What it
tells beyond is leakage: the model may decide right and yet not for the reason that it names. All of it needs
annotations; without them only the controls of `probes.controls` speak (random concepts that do as well).
"""

from dataclasses import dataclass
from itertools import pairwise
from math import log

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from cbm.dense_heads import fit_dense
from cbm.errors import DataError
from cbm.training_set import TrainingSet, fitting_split
from probes.information import BINS, binned, entropy, information_on_labels
from probes.intervals import Estimate, bootstrap, wilson

SHUFFLES_OF_PAIRS = 5  # pairs are many, so that their mean is sure with few


@dataclass(frozen=True)
class TaskLeakage:
    """What each score tells of the class, against its concept's annotation.

    Attributes
    ----------
    ctl
        `[k]`, `max(0, I(score; class) - I(concept; class)) / H(class)`, NaN where the concept is not annotated.
    beyond
        `[k]`, `I(score; class | concept) / H(class)`: what the score tells among images on which the concept is the
        same; NaN likewise.
    p_values
        `[k]`, probability that a score that tells nothing beyond its concept seems to, not corrected for their number.
    """

    ctl: Float[Tensor, "k"]
    beyond: Float[Tensor, "k"]
    p_values: Float[Tensor, "k"]

    @property
    def mean_ctl(self) -> float:
        """Mean over the annotated concepts."""
        return float(self.ctl.nanmean())

    @property
    def mean_beyond(self) -> float:
        """Mean over the annotated concepts."""
        return float(self.beyond.nanmean())


def task_leakage(
    scores: Float[Tensor, "n k"],
    present: Float[Tensor, "n k"],
    labels: Int[Tensor, "n"],
    *,
    bins: int = BINS,
    seed: int = 0,
) -> TaskLeakage:
    """Concepts-task leakage (CTL) of each score, and what it tells of the class beyond its concept.

    Parameters
    ----------
    present
        Annotations of the same concepts, 0 to 1; an image on which one is unknown (NaN) is left out for it.

    Notes
    -----
    CTL is a difference of two estimates, so a score that leaks can hide behind one that sees its concept badly. The
    conditional form has no such excuse, and its null is exact: scores are shuffled among images on which the concept is
    the same.

    References
    ----------
    Parisini et al., "Leakage and interpretability in concept-based models", arXiv 2504.14094, 2025 (CTL; here one
    concept at a time).
    """
    found = torch.full((3, scores.shape[1]), torch.nan, dtype=torch.float64)
    for columns in _alike(~present.isnan()):
        known = ~present[:, columns[0]].isnan()
        shown, own = (present[known][:, columns] >= 0.5).long(), labels[known]
        both = shown.any(0) & ~shown.all(0)
        there = entropy(own) if len(own) else 0.0
        if there > 0 and bool(both.any()):
            ctl, beyond, p_values = _leaks(scores[known][:, columns[both]], shown[:, both], own, bins, seed)
            found[:, columns[both]] = torch.stack([ctl / there, beyond / there, p_values])
    return TaskLeakage(*found)


def interconcept_leakage(
    scores: Float[Tensor, "n k"], present: Float[Tensor, "n k"], *, bins: int = BINS, seed: int = 0
) -> Float[Tensor, "k k"]:
    """Interconcept leakage (ICL): what score i tells of concept j beyond what concept i does, as a share of H(concept j).

    NaN on the diagonal, and in columns of concepts of which one side has no image. Images with an unknown annotation
    are left out.

    References
    ----------
    Parisini et al., "Leakage and interpretability in concept-based models", arXiv 2504.14094, 2025.
    """
    known = ~present.isnan().any(1)
    if not bool(known.any()):
        raise DataError("no image has every concept annotated", hint="ask for fewer concepts")
    scores, shown = scores[known], (present[known] >= 0.5).long()
    there = shown.double().mean(0)
    told, due = (_pair_bits(values, shown, seed) for values in (binned(scores, bins), shown))
    bits = -(torch.xlogy(there, there) + torch.xlogy(1 - there, 1 - there)) / log(2)
    leaks = torch.where(bits > 0, (told - due).clamp(min=0) / bits, torch.nan)
    return leaks.fill_diagonal_(torch.nan)


def _pair_bits(values: Int[Tensor, "n k"], shown: Int[Tensor, "n j"], seed: int) -> Float[Tensor, "k j"]:
    """Bits that each value tells of each concept, less what they seem to tell when images are shuffled."""
    generator, n = torch.Generator().manual_seed(seed), len(values)
    cells = one_hot(values, int(values.max()) + 1).float()  # [n k b]

    def bits(order: Int[Tensor, "n"]) -> Float[Tensor, "k j"]:
        with_it = torch.einsum("nkb,nj->kbj", cells[order], shown.float()).double() / n
        of_value = cells.mean(0).double()[:, :, None]  # [k b 1]
        joint = torch.stack([with_it, of_value - with_it])  # [2 k b j]
        alone = torch.stack([shown.double().mean(0), 1 - shown.double().mean(0)])[:, None, None]  # [2 1 1 j]
        ratio = joint / (of_value * alone).clamp(min=1e-12)
        return torch.xlogy(joint.clamp(min=0), ratio.clamp(min=1e-12)).sum((0, 2)) / log(2)

    chance = [bits(torch.randperm(n, generator=generator)) for _ in range(SHUFFLES_OF_PAIRS)]
    return (bits(torch.arange(n)) - torch.stack(chance).mean(0)).clamp(min=0)


def oracle_impurity(scores: Float[Tensor, "n k"], present: Float[Tensor, "n k"]) -> float:
    """Oracle impurity score (OIS): how far the scores' AUROCs for all concepts are from those of the annotations.

    0 when every score ranks every concept as its own concept does, 1 at most. Images with an unknown annotation and
    concepts of which one side has no image are left out.

    Raises
    ------
    DataError
        If fewer than two concepts are left.

    Notes
    -----
    The paper predicts concepts from representations by a small network; a score is one number, so it is used as it is,
    turned around where that is better.

    References
    ----------
    Espinosa Zarlenga et al., "Towards robust metrics for concept representation evaluation", AAAI 2023.
    """
    known = ~present.isnan().any(1)
    shown = present[known] >= 0.5
    both = shown.any(0) & ~shown.all(0)
    if int(both.sum()) < 2:
        raise DataError("impurity needs two annotated concepts with images of both sides")
    shown, scores = shown[:, both], scores[known][:, both]
    folded = [(auroc_table(values, shown.float()) - 0.5).abs() for values in (scores, shown.float())]
    gap = folded[0] - folded[1]
    return float(2 * gap.norm() / len(gap))


def auroc_table(scores: Float[Tensor, "n k"], present: Float[Tensor, "n j"]) -> Float[Tensor, "k j"]:
    """AUROC of every score (rows) for every concept (columns); NaN where one side of the concept has no image.

    Images on which a concept is unknown (NaN) are left out for it.
    """
    table = torch.full((scores.shape[1], present.shape[1]), torch.nan, dtype=torch.float64)
    for columns in _alike(~present.isnan()):
        known = ~present[:, columns[0]].isnan()
        shown = (present[known][:, columns] >= 0.5).double()
        ranks = torch.stack([_mid_ranks(column) for column in scores[known].T.contiguous()], 1)
        up = shown.sum(0)
        table[:, columns] = ((ranks.T @ shown) / up - (up + 1) / 2) / (len(shown) - up)
    return table.nan_to_num(nan=torch.nan, posinf=torch.nan, neginf=torch.nan)


@dataclass(frozen=True)
class Completeness:
    """How much of what embeddings tell of the class is left in the scores.

    Attributes
    ----------
    value
        `(a - r) / (p - r)`: accuracies of the best head on the scores, of a linear probe, and by chance.
    area
        Mean completeness over growing sets of concepts, the most used first (concept-set AUC).
    curve
        Number of concepts and completeness of each set.
    """

    value: Estimate
    area: float
    curve: tuple[tuple[int, float], ...]


def completeness(
    scores: Float[Tensor, "n k"],
    data: TrainingSet,
    split: str,
    *,
    order: Int[Tensor, "k"],
    probe_accuracy: float,
    sizes: int = 6,
    ridge: float = 1e-3,
    seed: int = 0,
) -> Completeness:
    """Completeness of the scores for the classes of images in `split`.

    Parameters
    ----------
    order
        Concepts, the most used first; sets of growing size are its beginnings.
    probe_accuracy
        Of a linear probe on the embeddings of the same images.

    Raises
    ------
    DataError
        If the probe is no better than always naming the most frequent class.

    References
    ----------
    Yeh et al., "On completeness-aware concept-based explanations in deep neural networks", NeurIPS 2020, definition 3.1.
    The denominator holds a linear probe in place of the whole network.
    """
    train, test = fitting_split(data), data.split(split)
    chance = float(test.labels.bincount().max()) / len(test)
    if probe_accuracy <= chance:
        raise DataError("the embeddings tell nothing of the classes, so there is nothing to be complete about")
    rows = torch.from_numpy(data.splits == "train"), torch.from_numpy(data.splits == split)
    centre, spread = scores[rows[0]].mean(0), scores[rows[0]].std(0).clamp(min=1e-6)
    z = ((scores - centre) / spread).float()
    k, curve, hits = len(order), [], torch.zeros(0)
    for size in sorted({max(1, round(k ** ((i + 1) / sizes))) for i in range(sizes)}):
        chosen = order[:size]
        head = fit_dense(z[rows[0]][:, chosen], train.labels, len(data.classes), ridge=ridge)
        hits = (head(z[rows[1]][:, chosen]).argmax(1) == test.labels).double()
        curve.append((size, max(0.0, (float(hits.mean()) - chance) / (probe_accuracy - chance))))
    share = wilson(int(hits.sum()), len(hits))
    value, low, high = (
        max(0.0, (v - chance) / (probe_accuracy - chance)) for v in (share.value, share.low, share.high)
    )
    return Completeness(Estimate(value, low, high, share.n), _area(curve), tuple(curve))


def extra_bits(
    scores: Float[Tensor, "n k"],
    present: Float[Tensor, "n k"],
    data: TrainingSet,
    split: str,
    *,
    ridge: float = 1e-3,
    seed: int = 0,
) -> Estimate:
    """Bits that all scores together tell of the class beyond all annotations together; negative when they tell less.

    The difference of two logistic regressions' log-probabilities on the images of `split`: on the annotations, and on
    annotations and scores. Images with an unknown annotation have the concept's mean there.
    """
    train, test = (torch.from_numpy(data.splits == name) for name in ("train", split))
    known = torch.where(present.isnan(), present[train].nanmean(0).nan_to_num(), present)
    both = torch.cat([known, scores], 1)
    told = [_log2_right(columns, data, train, test, ridge) for columns in (known, both)]
    gain = told[1] - told[0]
    least = float(gain.min())
    found = bootstrap(lambda counts: counts @ (gain - least) / counts.sum(1), len(gain), seed=seed, high=float("inf"))
    return Estimate(found.value + least, found.low + least, found.high + least, found.n)


def _alike(known: Bool[Tensor, "n k"]) -> list[Int[Tensor, "m"]]:
    """Columns with the same known images, together; mostly all."""
    columns: dict[bytes, list[int]] = {}
    for j, column in enumerate(known.T):
        columns.setdefault(column.numpy().tobytes(), []).append(j)
    return [torch.tensor(group) for group in columns.values()]


def _leaks(
    scores: Float[Tensor, "n k"], shown: Int[Tensor, "n k"], labels: Int[Tensor, "n"], bins: int, seed: int
) -> tuple[Float[Tensor, "k"], Float[Tensor, "k"], Float[Tensor, "k"]]:
    """CTL and what is told beyond the concept, in bits, and the p-value of that."""
    told = information_on_labels(scores, labels, bins=bins, seed=seed)
    due = information_on_labels(shown.float(), labels, bins=2, seed=seed)
    beyond = information_on_labels(scores, labels, given=shown, bins=bins, seed=seed)
    return (told.bits - due.bits).clamp(min=0), beyond.bits, beyond.p_values


def _log2_right(
    columns: Float[Tensor, "n j"], data: TrainingSet, train: Tensor, test: Tensor, ridge: float
) -> Float[Tensor, "m"]:
    """Log-probability, to base 2, of each tested image's own class."""
    centre, spread = columns[train].mean(0), columns[train].std(0).clamp(min=1e-6)
    z = ((columns - centre) / spread).float()
    head = fit_dense(z[train], data.labels[train], len(data.classes), ridge=ridge)
    told = torch.log_softmax(head(z[test]).double(), 1)[torch.arange(int(test.sum())), data.labels[test]]
    return told / log(2)


def _mid_ranks(values: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    order = values.sort().values
    below, upto = torch.searchsorted(order, values), torch.searchsorted(order, values, right=True)
    return (below + upto + 1).double() / 2


def _area(curve: list[tuple[int, float]]) -> float:
    """Mean height over the number of concepts, from none, by the trapezium rule."""
    points = [(0, 0.0), *curve]
    parts = [(b[0] - a[0]) * (a[1] + b[1]) / 2 for a, b in pairwise(points)]
    return sum(parts) / points[-1][0]
