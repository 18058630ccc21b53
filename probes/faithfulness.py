"""Whether the concepts that an explanation names are those that the decision rests on.

A concept is taken away by giving it its typical score, the mean over training images. Concepts go (deletion) or come
back (insertion) in the order of an explanation; the same in random order is the control.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.errors import DataError
from cbm.heads import LinearHead
from cbm.model import ConceptModel
from cbm.training_set import TrainingSet
from probes.intervals import Estimate, Z, bootstrap, wilson

SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)  # of the concepts, for comprehensiveness and sufficiency
POINTS = 12  # of a curve


@dataclass(frozen=True)
class Faithfulness:
    """How the probability of the decided class falls and rises with the concepts that explain it.

    Attributes
    ----------
    counts
        Numbers of concepts at which the curves are measured, from none to all.
    deletion, insertion
        Mean probability of the decided class after taking away, or giving back, that many concepts, most important
        first.
    deletion_random, insertion_random
        The same in random order.
    comprehensiveness, sufficiency
        Mean loss of probability without the most important concepts, and with nothing but them, over `SHARES` of the
        concepts; high and low are good.
    comprehensiveness_random, sufficiency_random
        The same for concepts at random.
    deletion_gap
        Area between the random curve and the explanation's, as a mean loss of probability; 0 for a random explanation.
    """

    counts: tuple[int, ...]
    deletion: tuple[float, ...]
    insertion: tuple[float, ...]
    deletion_random: tuple[float, ...]
    insertion_random: tuple[float, ...]
    comprehensiveness: Estimate
    sufficiency: Estimate
    comprehensiveness_random: Estimate
    sufficiency_random: Estimate
    deletion_gap: Estimate


@dataclass(frozen=True)
class Use:
    """What decisions lose without a concept.

    Attributes
    ----------
    changed
        Share of decisions that become another class.
    moved
        Mean change of the decided class's probability, in either direction.
    """

    changed: Estimate
    moved: Estimate


def faithfulness_curves(
    model: ConceptModel, data: TrainingSet, *, split: str = "test", images: int = 400, seed: int = 0
) -> Faithfulness:
    """Deletion and insertion of concepts in the order of their contributions, with random order as control.

    Parameters
    ----------
    images
        How many of the split's images are used at most, drawn with the seed.

    Raises
    ------
    DataError
        If the model has no concepts.

    References
    ----------
    Petsiuk et al., "RISE", BMVC 2018 (deletion, insertion); DeYoung et al., "ERASER", ACL 2020, section 4
    (comprehensiveness, sufficiency).
    """
    if not model.concepts:
        raise DataError("a model without concepts has no explanation to be faithful")
    x, scores, typical = _sampled(model, data, split, images, seed)
    decided = model.head(scores, x).argmax(1)
    by_weight = _ranks(contributions(model, scores, typical, x, decided))
    by_chance = _ranks(torch.rand(scores.shape, generator=torch.Generator().manual_seed(seed)))
    k = len(model.concepts)
    counts = sorted(
        {round(k * i / (POINTS - 1)) for i in range(POINTS)}
        | {round(k * (i / (POINTS - 1)) ** 2) for i in range(POINTS)}
    )

    def deletion(ranks: Int[Tensor, "n k"]) -> Float[Tensor, "n p"]:
        gone = [_probability(model, torch.where(ranks < m, typical, scores), x, decided) for m in counts]
        return torch.stack(gone, 1)

    def insertion(ranks: Int[Tensor, "n k"]) -> Float[Tensor, "n p"]:
        back = [_probability(model, torch.where(ranks < m, scores, typical), x, decided) for m in counts]
        return torch.stack(back, 1)

    gone, gone_random, back, back_random = (
        curve(ranks) for curve in (deletion, insertion) for ranks in (by_weight, by_chance)
    )
    at = torch.tensor([min(range(len(counts)), key=lambda i: abs(counts[i] - max(1, round(k * s)))) for s in SHARES])

    def loss(curve: Float[Tensor, "n p"]) -> Estimate:
        return _mean((gone[:, :1] - curve[:, at]).mean(1), seed)

    return Faithfulness(
        counts=tuple(counts),
        deletion=tuple(gone.mean(0).tolist()),
        insertion=tuple(back.mean(0).tolist()),
        deletion_random=tuple(gone_random.mean(0).tolist()),
        insertion_random=tuple(back_random.mean(0).tolist()),
        comprehensiveness=loss(gone),
        sufficiency=loss(back),
        comprehensiveness_random=loss(gone_random),
        sufficiency_random=loss(back_random),
        deletion_gap=_mean(_area(gone_random, counts) - _area(gone, counts), seed),
    )


def uses(
    model: ConceptModel, data: TrainingSet, *, split: str = "test", images: int = 1000, seed: int = 0
) -> tuple[Use, ...]:
    """What the decisions lose without each concept, in the order of the model's concepts."""
    x, scores, typical = _sampled(model, data, split, images, seed)
    logits = model.head(scores, x)
    before = torch.softmax(logits.double(), 1)
    decided = before.argmax(1)
    found = []
    for k in range(len(model.concepts)):
        after = torch.softmax(_without(model, logits, scores, typical, x, k).double(), 1)
        moved = (after - before).gather(1, decided[:, None])[:, 0].abs()
        found.append(Use(wilson(int((after.argmax(1) != decided).sum()), len(x)), _normal_mean(moved)))
    return tuple(found)


def contributions(
    model: ConceptModel,
    scores: Float[Tensor, "n k"],
    typical: Float[Tensor, "k"],
    x: Float[Tensor, "n d"],
    decided: Int[Tensor, "n"],
) -> Float[Tensor, "n k"]:
    """What each concept adds to the decided class's logit, against its typical score and against the mean over classes.

    For a head that is not linear, the logit that is lost when the concept is made typical.
    """
    if isinstance(model.head, LinearHead):
        weight = model.head.weight - model.head.weight.mean(0)
        return (scores - typical) * weight[decided]
    whole = model.head(scores, x)
    own = decided[:, None]
    without = [_without(model, whole, scores, typical, x, k).gather(1, own) for k in range(scores.shape[1])]
    return whole.gather(1, own) - torch.cat(without, 1)


def map_agreement(first: Float[Tensor, "m h w"], second: Float[Tensor, "m h w"], *, seed: int = 0) -> Estimate:
    """Mean size of Spearman's correlation between two sets of maps of the same cases.

    Between a model's maps and those of the same network with random weights it should be near 0: a map that survives
    does not explain the model.

    References
    ----------
    Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018.
    """
    from scipy.stats import spearmanr

    pairs = zip(first.flatten(1).numpy(), second.flatten(1).numpy(), strict=True)
    values = [float(spearmanr(a, b).statistic) if a.std() > 0 and b.std() > 0 else 0.0 for a, b in pairs]
    return _mean(torch.tensor(values, dtype=torch.float64).abs(), seed)


def _sampled(
    model: ConceptModel, data: TrainingSet, split: str, images: int, seed: int
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "n k"], Float[Tensor, "k"]]:
    """Embeddings and scores of some images, and every concept's typical score."""
    x = data.split(split).x
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:images]]
    known = data.split("train").x if "train" in data.split_names else data.x
    return x, model.scores(x), model.scores(known).mean(0)


def _ranks(importance: Float[Tensor, "n k"]) -> Int[Tensor, "n k"]:
    """Place of each concept on each image, 0 for the most important."""
    return importance.argsort(dim=1, descending=True, stable=True).argsort(dim=1)


def _probability(
    model: ConceptModel, scores: Float[Tensor, "n k"], x: Float[Tensor, "n d"], decided: Int[Tensor, "n"]
) -> Float[Tensor, "n"]:
    return torch.softmax(model.head(scores, x).double(), 1).gather(1, decided[:, None])[:, 0]


def _without(
    model: ConceptModel,
    logits: Float[Tensor, "n c"],
    scores: Float[Tensor, "n k"],
    typical: Float[Tensor, "k"],
    x: Float[Tensor, "n d"],
    k: int,
) -> Float[Tensor, "n c"]:
    """The logits when one concept has its typical score."""
    if isinstance(model.head, LinearHead):
        return logits - (scores[:, k] - typical[k])[:, None] * model.head.weight[:, k]
    changed = scores.clone()
    changed[:, k] = typical[k]
    return model.head(changed, x)


def _area(curves: Float[Tensor, "n p"], counts: list[int]) -> Float[Tensor, "n"]:
    return torch.trapezoid(curves, torch.tensor(counts, dtype=torch.float64), dim=1) / max(1, counts[-1])


def _normal_mean(values: Float[Tensor, "n"]) -> Estimate:
    """Mean of many shares, with the normal interval: there is one for each concept, too many to resample."""
    mean, error = float(values.mean()), float(values.std(correction=0)) / max(1, len(values)) ** 0.5
    return Estimate(mean, max(0.0, mean - Z * error), min(1.0, mean + Z * error), len(values))


def _mean(values: Float[Tensor, "n"], seed: int) -> Estimate:
    """Mean of numbers between -1 and 1, with the bootstrap's interval over images."""
    found = bootstrap(lambda counts: counts @ (values + 1) / counts.sum(1), len(values), seed=seed, high=2.0)
    return Estimate(found.value - 1, found.low - 1, found.high - 1, found.n)
