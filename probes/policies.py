"""Policies: which concept of an image to ask an expert about next, answered for all images at once.

A policy sees the state between two questions and gives every concept a priority. Some look ahead: they imagine each
answer, which costs one logit for every image, concept and class.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

AT_ONCE = 1 << 17  # logits of imagined answers held in memory, few enough for a processor's cache


@dataclass(frozen=True)
class State:
    """All images between two questions.

    Attributes
    ----------
    effects
        What one unit of each concept that can be corrected adds to each logit, `[c m]`; the weights of a linear head.
    scores, truth
        What the model says and what the expert would set, `[n m]`; equal where the expert does not know.
    present, absent
        Scores that the answers stand for, `[m]`.
    probability
        That a concept is present, `[n m]`.
    logits
        After the corrections so far, `[n c]`.
    labels
        The right classes, `[n]`; only the bound looks at them.
    chance
        One random number for each image and concept, `[n m]`.
    done
        Which concepts are corrected, or cannot be, `[n m]`.
    asked
        Logits `[b m c]` of some images if each concept alone had the scores `[n m]`; by the effects when not given.
    """

    effects: Float[Tensor, "c m"]
    scores: Float[Tensor, "n m"]
    truth: Float[Tensor, "n m"]
    present: Float[Tensor, "m"]
    absent: Float[Tensor, "m"]
    probability: Float[Tensor, "n m"]
    logits: Float[Tensor, "n c"]
    labels: Int[Tensor, "n"]
    chance: Float[Tensor, "n m"]
    done: Bool[Tensor, "n m"]
    asked: Callable[[Float[Tensor, "n m"], slice], Float[Tensor, "b m c"]] | None = None


def _random(state: State) -> Float[Tensor, "n m"]:
    """In random order."""
    return state.chance


def _uncertainty(state: State) -> Float[Tensor, "n m"]:
    """The concept whose presence is least certain first, by the entropy of its calibrated probability."""
    entropy: Tensor = torch.special.entr(state.probability) + torch.special.entr(1 - state.probability)
    return entropy


def _contribution(state: State) -> Float[Tensor, "n m"]:
    """The concept that adds or takes most to the logit of the current decision first."""
    return (state.scores * state.effects[state.logits.argmax(1)]).abs()


def _coop(state: State) -> Float[Tensor, "n m"]:
    """Uncertainty times influence: how far the two answers would put the decision's probability apart."""
    present, absent = (_kept(state, end) for end in (state.present, state.absent))
    return _uncertainty(state) * (present - absent).abs()


def expected(state: State) -> Float[Tensor, "n m"]:
    """The largest expected change of the decision's probability first, over both answers."""
    now = torch.softmax(state.logits, 1).amax(1, keepdim=True)
    present, absent = ((_kept(state, end) - now).abs() for end in (state.present, state.absent))
    return state.probability * present + (1 - state.probability) * absent


def _greedy(state: State) -> Float[Tensor, "n m"]:
    """A bound that looks at annotations and labels: the correction that helps the right class most first."""
    parts = []
    for rows in _chunks(state):
        logits = _shifted(state, state.truth, rows)  # [b m c]
        place = state.labels[rows, None, None].expand(-1, logits.shape[1], 1)
        own = logits.gather(2, place)[..., 0]
        parts.append(own - logits.scatter(2, place, -torch.inf).amax(2))
    return torch.cat(parts) - _margin(state)[:, None]


def _margin(state: State) -> Float[Tensor, "n"]:
    """By how much the right class leads now."""
    place = state.labels[:, None]
    best = state.logits.scatter(1, place, -torch.inf).amax(1)
    return state.logits.gather(1, place)[:, 0] - best


def for_its_price(gain: Float[Tensor, "n q"], price: Float[Tensor, "q"]) -> Float[Tensor, "n q"]:
    """Gains in the order of what they are for their price; a loss is worse where it costs more."""
    return torch.where(gain > 0, gain / price, gain * price)


def _kept(state: State, end: Float[Tensor, "m"]) -> Float[Tensor, "n m"]:
    """Probability of the current decision if each concept alone had the score `end`."""
    decision, parts = state.logits.argmax(1), []
    for rows in _chunks(state):
        logits = _shifted(state, end.expand_as(state.scores), rows)
        own = logits.gather(2, decision[rows, None, None].expand(-1, logits.shape[1], 1))[..., 0]
        odds = logits.sub_(own[..., None]).exp_().sum(2)  # of all classes against this one; infinite for a lost one
        parts.append(odds.reciprocal())
    return torch.cat(parts)


def imagined(state: State, end: Float[Tensor, "m"]) -> Float[Tensor, "n m c"]:
    """Logits if each concept alone had the score `end`."""
    return _shifted(state, end.expand_as(state.scores), slice(None))


def _shifted(state: State, to: Float[Tensor, "n m"], rows: slice) -> Float[Tensor, "b m c"]:
    """Logits of some images if each concept alone had the scores `to`."""
    if state.asked is not None:
        return state.asked(to, rows)
    shift = (to - state.scores)[rows]
    logits = state.logits[rows, None, :]
    return torch.addcmul(logits, shift[:, :, None], state.effects.T)


def _chunks(state: State) -> list[slice]:
    """Images whose imagined answers are held together."""
    rows = max(1, AT_ONCE // max(1, state.effects.numel()))
    return [slice(start, start + rows) for start in range(0, len(state.logits), rows)]


POLICIES: Mapping[str, Callable[[State], Float[Tensor, "n m"]]] = {
    "random": _random,
    "uncertainty": _uncertainty,
    "contribution": _contribution,
    "coop": _coop,
    "expected": expected,
    "greedy": _greedy,
}
