"""What an expert's answer is worth to a model: the score that "present" and "absent" stand for, by concept.

An expert says yes or no; a model reads scores. Both directions of that translation are learned from annotated images:
the score to set when a concept is present or absent, and how probable its presence is at a score.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.energy_parts import EnergyBottleneck
from cbm.errors import DataError
from cbm.model import ConceptModel
from cbm.training_set import TrainingSet

EDGE = 0.95  # quantile of the score among images with the concept; 1 - EDGE among those without
FEW = 5  # images of a side below which its quantile says nothing


@dataclass(frozen=True)
class TrueScores:
    """The concepts that an expert can correct, and what the answers mean as scores.

    Attributes
    ----------
    concepts
        Names, as the model has them; `m` of them.
    columns, annotated
        Where they are among the model's concepts and among the annotated ones, `[m]`.
    present, absent
        The score that is set when the expert says that the concept is there, or not, `[m]`.
    slope, intercept
        Probability that a concept is present at score `s`: `sigmoid(slope * s + intercept)`, `[m]`.
    """

    concepts: tuple[str, ...]
    columns: Int[Tensor, "m"]
    annotated: Int[Tensor, "m"]
    present: Float[Tensor, "m"]
    absent: Float[Tensor, "m"]
    slope: Float[Tensor, "m"]
    intercept: Float[Tensor, "m"]

    def of(self, labels: Float[Tensor, "n a"]) -> Float[Tensor, "n m"]:
        """What the scores become where an expert answers like these annotations; NaN where nobody knows."""
        known = labels[:, self.annotated]
        return torch.where(known.isnan(), torch.nan, torch.where(known >= 0.5, self.present, self.absent))

    def probability(self, scores: Float[Tensor, "n k"]) -> Float[Tensor, "n m"]:
        """How probable the presence of each concept is at the model's scores."""
        return torch.sigmoid(scores[:, self.columns] * self.slope + self.intercept)


def true_scores(model: ConceptModel, data: TrainingSet, *, split: str = "train", edge: float = EDGE) -> TrueScores:
    """The score of each annotated concept when an expert says that it is present or absent.

    Parameters
    ----------
    split
        The images whose scores and annotations are used.
    edge
        Quantile of the scores of the images with the concept that stands for "present"; `1 - edge` of the others for
        "absent".

    Raises
    ------
    UnknownName
        If no image is in the split.
    DataError
        If no concept of the model is annotated under its name, regardless of case.

    Notes
    -----
    Koh et al. take the quantiles of all training scores; we take them among the images with and without the concept,
    so that a rare concept's "present" is not a score that images without it have. Where fewer than 5 images are on a
    side, it is the outer quantiles of all scores, as in the paper.

    An outer quantile is more than most images with the concept have, so even the answer that the model expects moves
    its decision; 0.5, the typical image, is milder.

    The scores of an energy model are probabilities, so "present" is 1 and "absent" is 0.

    Probabilities are Platt's, fitted on the "val" images when there are any, since a concept's direction fits the
    images that it was made from better than others.

    References
    ----------
    Koh et al., "Concept bottleneck models", ICML 2020, section 5. Platt, "Probabilistic outputs for support vector
    machines", 1999.
    """
    pairs = _shared(model, data)
    columns, annotated = (torch.tensor(places) for places in zip(*pairs, strict=True))
    scores, labels = _sides(model, data, split, columns, annotated)
    sides = (
        [(0.0, 1.0)] * len(pairs)
        if isinstance(model.bottleneck, EnergyBottleneck)
        else [_ends(scores[:, j], labels[:, j], edge) for j in range(len(pairs))]
    )
    calibration = "val" if "val" in data.split_names else split
    slope, intercept = _platt(*_sides(model, data, calibration, columns, annotated))
    return TrueScores(
        concepts=tuple(model.concepts[k] for k, _ in pairs),
        columns=columns,
        annotated=annotated,
        present=torch.tensor([high for _, high in sides]),
        absent=torch.tensor([low for low, _ in sides]),
        slope=slope,
        intercept=intercept,
    )


def mistaken(labels: Float[Tensor, "n a"], error: float, *, seed: int = 0) -> Float[Tensor, "n a"]:
    """Annotations as an expert gives them who says the opposite with probability `error`, on each on its own."""
    wrong = torch.rand(labels.shape, generator=torch.Generator().manual_seed(seed)) < error
    return torch.where(wrong, 1 - labels, labels)


def typical_scores(
    model: ConceptModel,
    data: TrainingSet,
    answers: TrueScores,
    annotations: Float[Tensor, "n a"],
    labels: Int[Tensor, "n"] | None,
    *,
    edge: float = EDGE,
) -> Float[Tensor, "n m"]:
    """What a score is like on training images: on all, or on those of one class that are annotated alike.

    Parameters
    ----------
    annotations
        Of the images to correct; the scores of concepts without one stay NaN.
    labels
        Classes of the images in `data`; without them the score is the mean of all training images, and says nothing.
    edge
        Quantile among training images of the class with the concept; `1 - edge` among those without. Where fewer than
        5 are of a side, it is what the answer stands for in any class.
    """
    train, known = data.split("train"), annotations[:, answers.annotated]
    scores = model.scores(train.x)[:, answers.columns]
    if labels is None:
        return torch.where(known.isnan(), torch.nan, scores.mean(0))
    assert train.concept_labels is not None
    there, found = train.concept_labels[:, answers.annotated], answers.of(annotations)
    for c in set(labels.tolist()):
        own = train.labels == c
        for j in range(len(answers.columns)):
            for present, share in ((True, edge), (False, 1 - edge)):
                seen = scores[own & _said(there[:, j], present), j]
                if len(seen) >= FEW:
                    found[(labels == c) & _said(known[:, j], present), j] = _quantile(seen, share)
    return found


def _said(labels: Float[Tensor, "n"], present: bool) -> Tensor:
    """Where the annotation says so; nowhere where there is none."""
    return labels >= 0.5 if present else labels < 0.5


def _shared(model: ConceptModel, data: TrainingSet) -> list[tuple[int, int]]:
    """Places among the model's concepts and the annotated ones of those that are both."""
    if data.concept_labels is None:
        raise DataError(
            "the images are not annotated with concepts, so nobody can say which ones to correct",
            hint="import a manifest with columns c:CONCEPT",
        )
    place = {name.casefold(): j for j, name in enumerate(data.concepts)}
    shared = [(k, place[name.casefold()]) for k, name in enumerate(model.concepts) if name.casefold() in place]
    if not shared:
        raise DataError(
            "no concept of the model is annotated under its name",
            hint="rename concepts to what the annotations call them, or build a model from annotated examples",
        )
    return shared


def _sides(
    model: ConceptModel, data: TrainingSet, split: str, columns: Int[Tensor, "m"], annotated: Int[Tensor, "m"]
) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m"]]:
    """Scores and annotations of the shared concepts."""
    images = data.split(split)
    assert images.concept_labels is not None
    return model.scores(images.x)[:, columns], images.concept_labels[:, annotated]


def _ends(scores: Float[Tensor, "n"], labels: Float[Tensor, "n"], edge: float) -> tuple[float, float]:
    """The scores of "absent" and "present"."""
    absent, present = scores[labels < 0.5], scores[labels >= 0.5]
    low = _quantile(absent, 1 - edge) if len(absent) >= FEW else _quantile(scores, 1 - EDGE)
    high = _quantile(present, edge) if len(present) >= FEW else _quantile(scores, EDGE)
    return low, high


def _quantile(scores: Float[Tensor, "n"], share: float) -> float:
    place = max(1, min(len(scores), round(share * (len(scores) - 1)) + 1))
    return float(scores.kthvalue(place).values)


def _platt(scores: Float[Tensor, "n m"], labels: Float[Tensor, "n m"]) -> tuple[Float[Tensor, "m"], Float[Tensor, "m"]]:
    """Slope and intercept of the logistic regression of each concept's annotation on its score."""
    known, positive = ~labels.isnan(), labels >= 0.5
    hits, misses = positive.sum(0).double(), (known & ~positive).sum(0).double()
    target = torch.where(positive, (hits + 1) / (hits + 2), 1 / (misses + 2))  # Platt's, finite on separable scores
    centre, spread = scores.double().mean(0), scores.double().std(0, correction=0).clamp(min=1e-9)
    z = (scores.double() - centre) / spread
    fit = torch.zeros(2, z.shape[1], dtype=torch.float64, requires_grad=True)
    descent = torch.optim.LBFGS([fit], max_iter=100, tolerance_grad=1e-6, line_search_fn="strong_wolfe")
    share = known / known.sum(0).clamp(min=1)

    def loss() -> Tensor:
        descent.zero_grad()
        logits = z * fit[0] + fit[1]
        value = (share * torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        descent.step(loss)  # type: ignore[no-untyped-call]
    slope, intercept = fit.detach()
    return (slope / spread).float(), (intercept - slope * centre / spread).float()
