"""Why a model decides as it does: for one image, and for one class.

For a linear head the explanation is exact: bias, contributions and residual add up to the logit, and a test holds
every image to that.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.bottleneck import Clamp
from cbm.errors import DataError
from cbm.heads import LinearHead
from cbm.model import ConceptModel

PAST = 1e-4  # lead in the logit of the class that a flip decides for: more than single precision loses


@dataclass(frozen=True)
class Contribution:
    """One concept's part in a decision: its score on the image, and what that added to the logit."""

    name: str
    score: float
    contribution: float


@dataclass(frozen=True)
class Explanation:
    """Why an image got the logit that it got for one class.

    Attributes
    ----------
    prediction
        The class that the model decides for.
    target
        The class that is explained; the prediction unless another was asked for.
    probability, logit
        Of the target.
    bias, residual
        The parts of the logit that no concept has.
    exact
        Whether contributions, bias and residual sum to the logit.
    concepts
        Every concept, the largest absolute contribution first.
    """

    prediction: str
    target: str
    probability: float
    logit: float
    bias: float
    residual: float
    exact: bool
    concepts: tuple[Contribution, ...]

    def to_json(self, top: int | None = None) -> dict[str, object]:
        """A JSON object; with `top`, only that many concepts and the sum of the others under `rest`."""
        shown = self.concepts[:top]
        rest = sum(c.contribution for c in self.concepts[len(shown) :])
        return {**asdict(self), "concepts": [asdict(c) for c in shown], "rest": rest}


@dataclass(frozen=True)
class Flip:
    """The change of one concept's score that turns a decision: from `score` to `to`, for the class `becomes`."""

    concept: str
    score: float
    to: float
    becomes: str


def explain(
    model: ConceptModel, x: Float[Tensor, "d"], *, target: str | None = None, clamp: Clamp | None = None
) -> Explanation:
    """Why the image with embedding `x` gets its logit for a class.

    Parameters
    ----------
    x
        Embedding of one image.
    target
        The class to explain; the predicted one when not given.
    clamp
        Scores that a person has set.

    Raises
    ------
    UnknownName
        If the model has no class `target`.
    """
    row = x[None]
    scores = model.scores(row, clamp)
    logits = model.head(scores, row)[0]
    prediction = int(logits.argmax())
    c = prediction if target is None else model.class_(target)
    parts = model.head.contributions(scores, row, c)[0]
    order = parts.abs().argsort(descending=True, stable=True).tolist()
    head = model.head
    return Explanation(
        prediction=model.classes[prediction],
        target=model.classes[c],
        probability=float(torch.softmax(logits, 0)[c]),
        logit=float(logits[c]),
        bias=float(head.bias[c]) if isinstance(head, LinearHead) else 0.0,
        residual=float(head.residual_logits(row)[0, c]) if isinstance(head, LinearHead) else 0.0,
        exact=model.exact,
        concepts=tuple(Contribution(model.concepts[k], float(scores[0, k]), float(parts[k])) for k in order),
    )


def smallest_flip(
    model: ConceptModel,
    x: Float[Tensor, "d"],
    *,
    low: Float[Tensor, "k"],
    high: Float[Tensor, "k"],
    clamp: Clamp | None = None,
) -> Flip | None:
    """The smallest change of a single concept's score that changes the decision, if one exists.

    With one score moving along a line every logit of a linear head is linear in it, so the answer is exact: the nearest
    crossing of the winner's line with another class's line that lies inside the concept's range. A model that infers
    its scores is asked again with each concept at either end of its range.

    Parameters
    ----------
    low, high
        Range that each score may take; the range seen in the data, so that the change is one that occurs.

    Returns
    -------
    The flip with the least absolute change in score, a hair past the crossing, or `None` if no concept alone can.
    """
    if not isinstance(model.head, LinearHead):
        return _end_that_flips(model, x, low=low, high=high, clamp=clamp)
    head = model.head
    row = x[None]
    scores = model.scores(row, clamp)[0].double()
    logits = model.head(scores[None].float(), row)[0].double()
    winner = int(logits.argmax())
    weight = head.weight.double()
    slope = weight - weight[winner]  # [c k], what one unit of score gains on the winner
    step = (logits[winner] - logits + PAST)[:, None] / slope  # [c k]
    reached = scores + step
    possible = (slope != 0) & (reached >= low) & (reached <= high)
    if not bool(possible.any()):
        return None
    cost = torch.where(possible, step.abs(), torch.inf)
    c, k = divmod(int(cost.argmin()), len(model.concepts))
    becomes = int((logits + weight[:, k] * step[c, k]).argmax())
    return Flip(model.concepts[k], float(scores[k]), float(reached[c, k]), model.classes[becomes])


def _end_that_flips(
    model: ConceptModel,
    x: Float[Tensor, "d"],
    *,
    low: Float[Tensor, "k"],
    high: Float[Tensor, "k"],
    clamp: Clamp | None,
) -> Flip | None:
    """The concept whose score has the shortest way to an end of its range at which another class wins."""
    k = len(model.concepts)
    own, rows = torch.eye(k, dtype=torch.bool).repeat(2, 1), x.expand(2 * k, -1)
    ends = torch.cat([low.expand(k, k), high.expand(k, k)]).float()
    said = clamp if clamp is not None else Clamp(torch.zeros(k, dtype=torch.bool), torch.zeros(k))
    asked = Clamp(own | said.mask, torch.where(own, ends, said.values))
    scores, now = model.scores(x[None], clamp)[0], int(model.predict(x[None], clamp))
    decided = model.predict(rows, asked)
    to = ends[own]
    cost = torch.where(decided != now, (to - scores.repeat(2)).abs(), torch.inf)
    best = int(cost.argmin())
    if not bool(cost[best].isfinite()):
        return None
    j = best % k
    return Flip(model.concepts[j], float(scores[j]), float(to[best]), model.classes[int(decided[best])])


def class_weights(model: ConceptModel, target: str) -> tuple[tuple[str, float], ...]:
    """The concepts that a class uses, with what one unit of their score adds, the largest absolute weight first."""
    row = model.head.effects()[model.class_(target)]
    order = row.abs().argsort(descending=True, stable=True).tolist()
    return tuple((model.concepts[k], float(row[k])) for k in order if row[k] != 0)


def nearest(
    scores: Float[Tensor, "n k"], query: Float[Tensor, "k"], *, count: int, importance: Float[Tensor, "k"] | None = None
) -> list[int]:
    """Positions of the images whose concept scores are closest to `query`, the closest first.

    Parameters
    ----------
    importance
        Weight of each concept in the distance; equal when not given.

    Raises
    ------
    DataError
        If there are no images.
    """
    if len(scores) == 0:
        raise DataError("there are no images to compare with")
    scale = torch.ones_like(query) if importance is None else importance.abs()
    distance = (((scores - query) * scale) ** 2).sum(1)
    return distance.topk(min(count, len(scores)), largest=False).indices.tolist()


def rank_changes(before: Mapping[str, float], after: Mapping[str, float]) -> list[tuple[str, int, int]]:
    """Classes whose rank by probability changed: name, rank before, rank after (1 is the top), best new rank first."""
    old = {name: rank for rank, name in enumerate(sorted(before, key=lambda n: -before[n]), start=1)}
    new = {name: rank for rank, name in enumerate(sorted(after, key=lambda n: -after[n]), start=1)}
    moved = [(name, old[name], new[name]) for name in before if old[name] != new[name]]
    return sorted(moved, key=lambda item: item[2])
