"""The smallest set of concept changes that turns a decision, each within the concept's own range.

One concept alone often cannot turn a sure decision (`cbm.explanations.smallest_flip`). The fewest that can, and how far
each has to move, say how sure the decision is in the concepts' own words.
"""

from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.bottleneck import Clamp
from cbm.explanations import PAST
from cbm.heads import LinearHead
from cbm.model import ConceptModel

MOST = 8  # changes that the search for other heads tries together
STEPS = 16  # places between a concept's score and the end of its range at which the search stops
FLAT = 1e-6  # least spread of a concept; one that never varies has none


@dataclass(frozen=True)
class Change:
    """One concept's score, moved from `score` to `to`."""

    concept: str
    score: float
    to: float


@dataclass(frozen=True)
class Counterfactual:
    """A set of changes after which the model decides otherwise.

    Attributes
    ----------
    becomes
        The class that it decides for then.
    changes
        The concepts to move, the longest way first.
    total
        The sum of the ways, each in spreads of its concept.
    exact
        Whether no smaller set can turn the decision; otherwise the set was searched for.
    """

    becomes: str
    changes: tuple[Change, ...]
    total: float
    exact: bool

    def to_json(self) -> dict[str, object]:
        """A JSON object."""
        return {**asdict(self), "changes": [asdict(change) for change in self.changes]}


def smallest_change(
    model: ConceptModel,
    x: Float[Tensor, "d"],
    *,
    low: Float[Tensor, "k"],
    high: Float[Tensor, "k"],
    spread: Float[Tensor, "k"],
    clamp: Clamp | None = None,
) -> Counterfactual | None:
    """The fewest concepts that can turn the decision together, and the least that they have to move.

    Parameters
    ----------
    x
        Embedding of one image.
    low, high
        Range of each score, usually the one seen in the data; the image's own score always counts as in the range.
    spread
        Standard deviation of each score: the unit in which ways are compared.
    clamp
        Scores that a person has set; they may be moved too where the head is linear.

    Returns
    -------
    The changes, or `None` if all concepts together cannot turn the decision (or, where it is searched, if 8 of them
    that were tried cannot).

    Notes
    -----
    Linear heads, exactly. The decision turns if and only if some rival class passes the winner. Moving concept `k` by
    `m` gains `m * (w[rival, k] - w[winner, k])`, and gains add up, so the most that a set can gain is the sum of its
    members' largest gains `g[k] >= 0` within their ranges. Among sets of `s` concepts that sum is largest for the `s`
    largest `g`, so a set of `s` that turns the decision towards the rival exists if and only if these do: sorting and
    adding until the gap is closed gives the least `s`, and the least over rivals is the least of all.

    How far these then move is a continuous knapsack: the concept that gains most for a spread goes first, as far as
    is needed. The total is the least for that set; another set of as many concepts may need less, except where a single
    concept suffices, of which the one with the shortest way is taken.

    Other heads and models that infer their scores are searched: the end of a range that brings a rival nearest is added
    until one wins, then what is not needed is taken back. Sets found so turn the decision, but may not be the smallest.

    References
    ----------
    Wachter et al., "Counterfactual explanations without opening the black box", 2018; Dantzig, "Discrete-variable
    extremum problems", 1957.
    """
    if isinstance(model.head, LinearHead):
        return _sorted(model, model.head, x, low=low, high=high, spread=spread.clamp(min=FLAT), clamp=clamp)
    return _searched(model, x, low=low, high=high, spread=spread.clamp(min=FLAT), clamp=clamp)


def _sorted(
    model: ConceptModel,
    head: LinearHead,
    x: Float[Tensor, "d"],
    *,
    low: Float[Tensor, "k"],
    high: Float[Tensor, "k"],
    spread: Float[Tensor, "k"],
    clamp: Clamp | None,
) -> Counterfactual | None:
    """The smallest set, by sorting the gains on the winner for every rival class."""
    own = model.scores(x[None], clamp)
    scores, logits, spread = own[0].double(), head(own, x[None])[0].double(), spread.double()
    low, high = torch.minimum(low.double(), scores), torch.maximum(high.double(), scores)
    weight = head.weight.double()
    slope = weight - weight[int(logits.argmax())]  # [c k]
    room = torch.where(slope > 0, high - scores, low - scores)
    gain, gap = slope * room, logits.max() - logits + PAST
    ranked = gain.argsort(dim=1, descending=True, stable=True)
    enough = gain.gather(1, ranked).cumsum(1) >= gap[:, None]
    if not bool(enough.any()):
        return None
    size = int(enough.any(0).int().argmax()) + 1
    if size == 1:
        way = torch.where(gain >= gap[:, None], gap[:, None] / (slope.abs() * spread), torch.inf)
        rival, k = divmod(int(way.argmin()), len(scores))
        sets = [(rival, torch.tensor([k]))]
    else:
        sets = [(int(c), ranked[c, :size]) for c in enough[:, size - 1].nonzero()[:, 0]]
    ways = [_least_moves(gain[c], slope[c], gap[c], spread, chosen) for c, chosen in sets]
    moves = min(ways, key=lambda each: float((each.abs() / spread).sum()))
    to = torch.minimum(torch.maximum(scores + moves, low), high)
    return _counterfactual(model, scores, to, spread, int((logits + weight @ moves).argmax()), exact=True)


def _least_moves(
    gain: Float[Tensor, "k"],
    slope: Float[Tensor, "k"],
    gap: Float[Tensor, ""],
    spread: Float[Tensor, "k"],
    chosen: Tensor,
) -> Float[Tensor, "k"]:
    """How far each chosen concept moves so that the gap closes with the least total in spreads."""
    order = chosen[(slope * spread)[chosen].abs().argsort(descending=True, stable=True)]
    before = gain[order].cumsum(0) - gain[order]
    taken = (gap - before).clamp(min=0).minimum(gain[order])
    moves = torch.zeros_like(gain)
    moves[order] = torch.where(taken > 0, taken / slope[order], 0.0)
    return moves


def _searched(
    model: ConceptModel,
    x: Float[Tensor, "d"],
    *,
    low: Float[Tensor, "k"],
    high: Float[Tensor, "k"],
    spread: Float[Tensor, "k"],
    clamp: Clamp | None,
) -> Counterfactual | None:
    """A small set that turns the decision: ends of ranges added one by one, then taken back as far as possible."""
    k = len(model.concepts)
    said = clamp if clamp is not None else Clamp(torch.zeros(k, dtype=torch.bool), torch.zeros(k))
    scores = model.scores(x[None], clamp)[0]
    winner = int(model.predict(x[None], clamp))
    low, high = torch.minimum(low.float(), scores), torch.maximum(high.float(), scores)
    to, moved = scores.clone(), torch.zeros(k, dtype=torch.bool)

    def leads(mask: Tensor, values: Tensor) -> Tensor:
        """By how much the best rival leads the winner, for rows of scores that are set."""
        asked = Clamp(mask | said.mask, torch.where(mask, values, said.values))
        logits = model.logits(x.expand(len(mask), -1), asked)
        own = logits[:, winner].clone()
        logits[:, winner] = -torch.inf
        return logits.amax(1) - own

    eye = torch.eye(k, dtype=torch.bool)
    for _ in range(min(MOST, k)):
        free = (~moved & ~said.mask).nonzero()[:, 0]
        if not len(free):
            return None
        ways = torch.cat([eye[free], eye[free]])
        ends = torch.where(ways, torch.cat([low.expand(len(free), k), high.expand(len(free), k)]), to)
        lead = leads(ways | moved, ends)
        cost = ((ends - to).abs() / spread).sum(1)
        best = int(torch.where(lead > 0, cost, torch.inf).argmin() if bool((lead > 0).any()) else lead.argmax())
        moved, to = moved | ways[best], ends[best]
        if float(lead[best]) > 0:
            break
    else:
        return None
    for j in moved.nonzero()[:, 0].tolist():
        share = torch.arange(STEPS + 1)[:, None] / STEPS
        values = torch.where(eye[j], scores + share * (to - scores), to)
        masks = moved.repeat(STEPS + 1, 1)
        masks[0, j] = False  # not moved at all
        first = int((leads(masks, values) > 0).int().argmax())
        moved, to = masks[first], values[first]
    becomes = int(model.logits(x[None], Clamp(moved | said.mask, torch.where(moved, to, said.values))).argmax())
    return _counterfactual(model, scores, torch.where(moved, to, scores), spread, becomes, exact=False)


def _counterfactual(
    model: ConceptModel, scores: Tensor, to: Tensor, spread: Tensor, becomes: int, *, exact: bool
) -> Counterfactual:
    way = (to - scores).abs() / spread
    order = [int(k) for k in way.argsort(descending=True, stable=True) if way[k] > 0]
    return Counterfactual(
        becomes=model.classes[becomes],
        changes=tuple(Change(model.concepts[k], float(scores[k]), float(to[k])) for k in order),
        total=float(way.sum()),
        exact=exact,
    )
