"""Accuracy against the number of effective concepts (NEC), the only way in which concept models are fairly compared.

With many concepts even random ones reach a linear probe; with five a class, names have to carry the decision. A head is
solved again for each number of concepts; a head that was never fitted, or that a person edited, is only cut.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from cbm.bottleneck import LinearBottleneck
from cbm.errors import ModelError
from cbm.heads import LinearHead
from cbm.model import ConceptModel, linear_head
from cbm.progress import OnProgress, part, silent
from cbm.solvers import NEC_LEVELS, at_nec, elastic_net_path
from cbm.sparsity import SMALLEST_WEIGHT, Truncation, effective_concepts, truncate
from cbm.training_set import TrainingSet, fitting_split
from probes.intervals import Estimate, bootstrap, wilson
from probes.tables import decide, decided

SMALLEST_SPREAD = 1e-6
How = Literal["refit", "cut"]


@dataclass(frozen=True)
class NecPoint:
    """Accuracy at one number of effective concepts.

    Attributes
    ----------
    level
        The number that was allowed, on average over classes.
    nec
        What the head has: less than allowed where the model has fewer concepts or no penalty keeps more.
    fewest, most
        Concepts of the class with the fewest and with the most; the largest weights of all are kept, so classes differ.
    """

    level: int
    nec: float
    fewest: int
    most: int
    accuracy: Estimate


@dataclass(frozen=True)
class NecCurve:
    """Accuracy at several numbers of effective concepts on the images of a split.

    Attributes
    ----------
    how
        "refit" when a sparse head was solved for each number on the training images, "cut" when the model's own head
        lost all but its largest weights.
    mean
        Mean of the accuracies over the levels; ANEC-avg for the usual six.
    """

    split: str
    how: How
    points: tuple[NecPoint, ...]
    mean: Estimate

    def at(self, level: int) -> Estimate:
        """Accuracy at a level."""
        return next(point.accuracy for point in self.points if point.level == level)

    def anec(self) -> tuple[Estimate, Estimate]:
        """The two numbers that the literature reports: accuracy at five concepts a class, and the mean of all levels."""
        return self.at(5), self.mean

    def to_json(self) -> dict[str, object]:
        """A JSON object."""
        return asdict(self)


def read_curve(saved: Mapping[str, Any]) -> NecCurve:
    """The curve that `NecCurve.to_json` wrote."""
    points = [NecPoint(**{**point, "accuracy": Estimate(**point["accuracy"])}) for point in saved["points"]]
    return NecCurve(saved["split"], saved["how"], tuple(points), Estimate(**saved["mean"]))


def nec_curve(
    model: ConceptModel,
    data: TrainingSet,
    *,
    split: str = "test",
    levels: Sequence[int] = NEC_LEVELS,
    truncation: Truncation = "global",
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> NecCurve:
    """Accuracy on a split with 5, 10, ... 30 effective concepts a class.

    Parameters
    ----------
    data
        Heads are solved on "train" and measured on `split`.
    levels
        Numbers of effective concepts; VLG-CBM's by default.
    truncation
        Whether the largest weights of all stay ("global", as published), or as many in each class ("per-class").
    seed
        Of the interval of the mean.

    Raises
    ------
    ModelError
        If the model has no concepts, no linear head, or a residual that decides past the concepts.
    DataError, UnknownName, EncoderError
        As `probes.tables.decide`.

    References
    ----------
    Srivastava, Yan, Weng, "VLG-CBM: training concept bottleneck models with vision-language guidance", NeurIPS 2024,
    section 4.

    Notes
    -----
    As published: scores are standardised on the training images, a path of elastic-net heads (alpha 0.99) is followed
    until it has 30 concepts a class, and the first head with enough of them is cut to its largest weights. We then fit the
    weights that stay again, without the penalty that had shrunk them, and solve to a certified gap.
    """
    how = how_measured(model)
    decisions = decide(model, data, split)
    scores = model.scores(decisions.data.x)
    heads = (
        _refitted(model, data, levels, truncation, on_progress)
        if how == "refit"
        else [_cut(model, level, truncation) for level in levels]
    )
    right = [head(scores, decisions.data.x).argmax(1) == decisions.truth for head in heads]
    on_progress(1.0, f"measured {len(heads)} numbers of concepts")
    points = tuple(_point(level, head, hits) for level, head, hits in zip(levels, heads, right, strict=True))
    return NecCurve(split, how, points, _mean(torch.stack(right, 1), seed))


def random_concepts(model: ConceptModel, data: TrainingSet, *, seed: int = 0) -> ConceptModel:
    """The same model on as many random directions: the control that `nec_curve` is read against.

    Raises
    ------
    ModelError
        If heads are not solved again for this model, so that it has nothing to learn from random scores.

    Notes
    -----
    The fixed random concept layer of VLG-CBM. Where it does as well, the names of the concepts carry nothing.
    """
    if how_measured(model) == "cut":
        raise ModelError("a head that is only cut has nothing to learn from random concepts")
    directions = torch.randn(len(model.concepts), data.x.shape[1], generator=torch.Generator().manual_seed(seed))
    return replace(model, bottleneck=LinearBottleneck(normalize(directions, dim=1), torch.zeros(len(directions))))


def how_measured(model: ConceptModel) -> How:
    """Whether heads are solved again for this model, which takes seconds, or its own head is cut, which takes none.

    Raises
    ------
    ModelError
        If accuracy at a number of concepts means nothing for it.
    """
    if not model.concepts:
        raise ModelError("the model has no concepts")
    if linear_head(model).residual is not None:
        raise ModelError("the residual decides past the concepts, so their number says little")
    return "refit" if model.recipe.images > 0 and not model.edits else "cut"


def _refitted(
    model: ConceptModel, data: TrainingSet, levels: Sequence[int], truncation: Truncation, on_progress: OnProgress
) -> list[LinearHead]:
    """A sparse head on the model's scores for each level, as heads that read the scores as they are."""
    train = fitting_split(data)
    scores = model.scores(train.x)
    labels = decided(model, train, model.head(scores, train.x)).truth
    mean, spread = scores.mean(0), scores.std(0, correction=0)
    gain = torch.where(spread > SMALLEST_SPREAD * spread.max(), 1 / spread, 0.0)
    s, k = (scores - mean) * gain, len(model.concepts)
    wanted = [min(level, k) for level in levels]
    path = elastic_net_path(s, labels, len(model.classes), nec=wanted, on_progress=part(on_progress, 0.0, 0.6))
    reached = max(solution.nec for solution in path)
    solved: dict[float, LinearHead] = {}
    for i, target in enumerate(wanted):
        on_progress(0.6 + 0.4 * i / len(wanted), f"fitting {target} concepts a class")
        if min(target, reached) not in solved:  # beyond what is reached, the densest head stands for all
            found = at_nec(path, target, s, labels, truncation=truncation)
            head = LinearHead(found.weight * gain, found.bias - found.weight @ (mean * gain))
            solved[min(target, reached)] = head
    return [solved[min(target, reached)] for target in wanted]


def _cut(model: ConceptModel, level: int, truncation: Truncation) -> LinearHead:
    head = linear_head(model)
    return LinearHead(truncate(head.weight, min(level, len(model.concepts)), truncation), head.bias)


def _point(level: int, head: LinearHead, hits: Bool[Tensor, "n"]) -> NecPoint:
    used = (head.weight.abs() > SMALLEST_WEIGHT).sum(1)
    accuracy = wilson(int(hits.sum()), len(hits))
    return NecPoint(level, effective_concepts(head.weight), int(used.min()), int(used.max()), accuracy)


def _mean(right: Bool[Tensor, "n levels"], seed: int) -> Estimate:
    share = right.double().mean(1)

    def mean(counts: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
        return counts @ share / counts.sum(1)

    return bootstrap(mean, len(share), seed=seed)
