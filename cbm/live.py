"""Logits of many images that follow edits within milliseconds, because an edit touches few weights.

Concept scores and class-major logits are computed once. An edit then changes only the rows of the classes that it
touches, by the columns that it touches, and only the predictions that these rows can change. Like every fitted thing
here, a `LiveLogits` is a value: an edit makes another one, which shares what has not changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import is_

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
    rivals
        No other class of the image has a larger logit than this, `[n]`: where an edit leaves the prediction above it,
        nothing has to be compared.

    Notes
    -----
    Logits agree with `model.logits` to rounding, about 1e-6 of their size for each edit.
    """

    model: ConceptModel
    scores: tuple[Float[Tensor, "n"], ...]
    logits: Float[Tensor, "c n"]
    predictions: Int[Tensor, "n"]
    rivals: Float[Tensor, "n"]

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
        return LiveLogits(model, scores, logits, *_updated(self.predictions, self.rivals, logits, classes))

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
        logits, predictions, rivals = self.logits.clone(), self.predictions.clone(), self.rivals.clone()
        changed = self.logits[:, images] + torch.outer(weight, value - self.scores[k][images])
        logits[:, images] = changed
        predictions[images], rivals[images] = _compared(changed)
        scores = (*self.scores[:k], row, *self.scores[k + 1 :])
        return replace(self, scores=scores, logits=logits, predictions=predictions, rivals=rivals)


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
    return LiveLogits(model, scores.unbind(), logits, *_compared(logits))


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
    if len(scores) == len(live.scores) and all(map(is_, scores, live.scores)):
        kept, fresh, change = list(scores), [], after - before
    else:
        place = {id(row): k for k, row in enumerate(live.scores)}
        at = torch.tensor([place.get(id(row), -1) for row in scores], dtype=torch.long)
        kept, fresh, change = list(live.scores), torch.nonzero(at < 0).flatten().tolist(), -before
        change[:, at[at >= 0]] += after[:, at >= 0]
    used = torch.nonzero(change.any(0)).flatten()
    rows = [*(kept[k] for k in used.tolist()), *(scores[j] for j in fresh)]
    return torch.cat([change[:, used], after[:, fresh]], 1), rows


def _compared(logits: Float[Tensor, "c n"]) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
    """The class with the largest logit, the first of equal ones, and the largest logit of the others."""
    later = torch.arange(len(logits), 0.0, -1)[:, None]  # a maximum over rows is many times quicker than its position
    predictions = len(logits) - torch.where(logits == logits.amax(0), later, 0.0).amax(0).long()
    return predictions, logits.scatter(0, predictions[None], -torch.inf).amax(0)


def _updated(
    predictions: Int[Tensor, "n"], rivals: Float[Tensor, "n"], logits: Float[Tensor, "c n"], classes: Int[Tensor, "m"]
) -> tuple[Int[Tensor, "n"], Float[Tensor, "n"]]:
    """Predictions and rivals after some classes' logits have changed: all classes are compared only where neither what
    won before nor one of these is above what the others can be."""
    if not len(classes):
        return predictions, rivals
    best, rows = logits.gather(0, predictions[None])[0], logits[classes]
    highest, which = rows.max(0)
    taken = (highest > best) & (highest > rivals)
    updated = torch.where(taken, classes[which], predictions)
    others = rows.masked_fill_(classes[:, None] == updated, -torch.inf).amax(0)
    bound = torch.maximum(rivals, others)
    bound = torch.where(taken, torch.maximum(bound, best), bound)
    unsure = torch.nonzero(~taken & ((best <= rivals) | (highest > best))).flatten()
    updated[unsure], bound[unsure] = _compared(logits.index_select(1, unsure))
    return updated, bound
