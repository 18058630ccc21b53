"""Logits of many images that follow edits within milliseconds, because an edit touches few weights.

Concept scores and class-major logits are computed once. An edit then changes only the rows of the classes that it
touches, by the columns that it touches, and only the predictions that these rows can change. Like every fitted thing
here, a `LiveLogits` is a value: an edit makes another one, which shares what has not changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.edits import DropConcept, Edit, MergeConcepts, ScaleScore, SetScore, apply
from cbm.model import ConceptModel, linear_head


@dataclass(frozen=True)
class LiveLogits:
    """A model with a linear head, and what it says of a set of images.

    Attributes
    ----------
    model
        The model, with all edits so far.
    scores
        For each concept the scores of all images, shape `[n]`.
    logits
        Class-major, `[c n]`.
    predictions
        Position of the class with the largest logit, `[n]`.

    Notes
    -----
    Logits agree with `model.logits` to rounding, about 1e-6 of their size for each edit.
    """

    model: ConceptModel
    scores: tuple[Float[Tensor, "n"], ...]
    logits: Float[Tensor, "c n"]
    predictions: Int[Tensor, "n"]

    def accuracy(self, labels: Int[Tensor, "n"]) -> float:
        """Share of images whose class is predicted."""
        return float((self.predictions == labels).double().mean())

    def edited(self, edit: Edit) -> "LiveLogits":
        """The same images seen by the edited model.

        Raises
        ------
        PellucidError
            If the edit does not fit the model.
        """
        model = apply(self.model, (edit,))
        scores = _edited_scores(self, edit)
        change, columns = _changed_weights(self, model, scores)
        bias = linear_head(model).bias - linear_head(self.model).bias
        classes = torch.nonzero(change.any(1) | (bias != 0)).flatten()
        logits = self.logits.clone()
        if len(classes):
            logits[classes] += bias[classes, None] + (change[classes] @ torch.stack(columns) if columns else 0.0)
        return LiveLogits(model, scores, logits, _updated(self.predictions, self.logits, logits, classes))

    def intervened(self, concept: str, value: float, images: Int[Tensor, "m"]) -> "LiveLogits":
        """The same model, where a person has set a concept's score on some images.

        Raises
        ------
        UnknownName
            If there is no such concept.
        """
        k = self.model.concept(concept)
        row = self.scores[k].clone()
        row[images] = value
        weight = linear_head(self.model).weight[:, k]
        logits, predictions = self.logits.clone(), self.predictions.clone()
        logits[:, images] += torch.outer(weight, value - self.scores[k][images])
        predictions[images] = logits[:, images].argmax(0)
        scores = (*self.scores[:k], row, *self.scores[k + 1 :])
        return replace(self, scores=scores, logits=logits, predictions=predictions)


def live_logits(model: ConceptModel, x: Float[Tensor, "n d"]) -> LiveLogits:
    """The model's logits on these embeddings, ready to follow edits.

    Raises
    ------
    ModelError
        If the head is not linear: a model that infers its answer has to infer it again.
    """
    head = linear_head(model)
    scores = model.scores(x).T.contiguous()
    logits = torch.addmm(head.bias[:, None], head.weight, scores) + head.residual_logits(x).T
    return LiveLogits(model, scores.unbind(), logits, logits.argmax(0))


def _edited_scores(live: LiveLogits, edit: Edit) -> tuple[Float[Tensor, "n"], ...]:
    """Scores of the edited model's concepts; those that the edit leaves alone are the same tensors."""
    rows, place = list(live.scores), live.model.concept
    match edit:
        case SetScore(concept, value):
            k = place(concept)
            rows[k] = torch.full_like(rows[k], value)
        case ScaleScore(concept, factor):
            k = place(concept)
            rows[k] = rows[k] * factor
        case DropConcept(concept):
            del rows[place(concept)]
        case MergeConcepts(concepts, _):
            first, *others = sorted({place(concept) for concept in concepts})
            rows[first] = torch.stack([rows[k] for k in (first, *others)]).mean(0)
            for k in reversed(others):
                del rows[k]
    return tuple(rows)


def _changed_weights(
    live: LiveLogits, model: ConceptModel, scores: Sequence[Float[Tensor, "n"]]
) -> tuple[Float[Tensor, "c m"], list[Float[Tensor, "n"]]]:
    """How the weight of each score changes, for the scores of before and after that are affected at all."""
    before, after = linear_head(live.model).weight, linear_head(model).weight
    place = {id(row): k for k, row in enumerate(live.scores)}
    kept = [(place[id(row)], j) for j, row in enumerate(scores) if id(row) in place]
    fresh = [j for j, row in enumerate(scores) if id(row) not in place]
    change = -before
    change[:, [k for k, _ in kept]] += after[:, [j for _, j in kept]]
    used = torch.nonzero(change.any(0)).flatten().tolist()
    rows = [*(live.scores[k] for k in used), *(scores[j] for j in fresh)]
    return torch.cat([change[:, used], after[:, fresh]], 1), rows


def _updated(
    predictions: Int[Tensor, "n"], before: Float[Tensor, "c n"], after: Float[Tensor, "c n"], classes: Int[Tensor, "m"]
) -> Int[Tensor, "n"]:
    """Predictions after some classes' logits have changed: a full comparison only where one of these had won."""
    if not len(classes):
        return predictions
    best = before.gather(0, predictions[None])[0]
    rival, winner = after[classes].max(0)
    updated = torch.where(rival > best, classes[winner], predictions)
    lost = torch.nonzero(torch.isin(predictions, classes)).flatten()
    updated[lost] = after[:, lost].argmax(0)
    return updated
