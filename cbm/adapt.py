"""A training-free fix for a concept model in a new place: which concepts mislead there, and the edit that helps.

A few labelled images a class from the new place show which concepts are misactivated there (`cbm.shift`): they rise in
classes that should lack them, and push images towards wrong classes by it. Those are masked: put to their neutral
value. Concepts that follow their pattern, only more faintly, are amplified. Every change must help the support images,
whichever one of them is left out. Nothing is trained and no gradient is taken.

    source = source_statistics(model.scores(x), labels, len(model.classes))
    fix = find_fix(model, support_x, support_labels, source)
    fixed = apply(model, fix.edits)

Notes
-----
The problem and the strategy (mask misactivated concepts, amplify under-activated ones, four images a class) are those
of He et al., "Training-free test-time improvement for explainable medical image classification", MICCAI 2025,
arXiv 2506.18070. Its formulas were not available to us: the statistics and thresholds are our own, and `null_check`
says how often they find something where there is nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from jaxtyping import Float, Float64, Int
from scipy.special import logsumexp, softmax
from torch import Tensor

from cbm.config import option
from cbm.edits import Edit, TestTimeFix
from cbm.errors import DataError
from cbm.model import ConceptModel, linear_head
from cbm.shift import Shift, SourceStatistics, measure_shift


@dataclass(frozen=True)
class FixConfig:
    """When a concept counts as misleading or faint, and what is done about it."""

    q: float = option(0.05, help="False discovery rate of the test whether a concept has moved.", low=1e-6, high=0.5)
    mask_rise: float = option(
        1 / 3,
        help="A misactivated concept rises, where it should be absent, by this share of the way to its presence more "
        "than it falls where it should be present; an under-activated one the other way round.",
        low=0,
        high=10,
    )
    mask_agreement: float = option(
        0.5,
        help="A concept that agrees with its source pattern by less than this correlation has another one.",
        low=-1,
        high=1,
    )
    mask_peak: float = option(
        0.5, help="One of another pattern is misactivated if it rises by this share in some class.", low=0, high=10
    )
    most_masked: float = option(0.3, help="Largest share of the concepts to mask.", low=0, high=1)
    amplify_from: int = option(4, help="Amplify faint concepts from this many images a class.", low=1)
    amplify_agreement: float = option(
        0.7, help="A faint concept agrees with its source pattern by at least this correlation.", low=-1, high=1
    )
    amplify_slope: float = option(0.8, help="A faint concept follows it with less than this slope.", low=0, high=1)
    most_gain: float = option(3.0, help="Largest factor by which a faint concept is amplified.", low=1, high=100)
    jackknife: bool = option(
        True, help="Keep a change only if the support images gain from it whichever one of them is left out."
    )


class Verdict(Enum):
    """What a concept does in the new place."""

    STEADY = "as at the source"
    SHIFTED = "shifted"
    MISACTIVATED = "misactivated"
    UNDER_ACTIVATED = "under-activated"


@dataclass(frozen=True)
class Evidence:
    """Why a concept was masked, amplified or left alone.

    Attributes
    ----------
    rise, fall
        How far the concept's mean rises in the classes that should lack it, and falls in those that should have it,
        as shares of the distance between the two at the source.
    confusion
        How much more than at the source the concept raises wrong classes over the right one, in logits; over all
        concepts these add up to the change of the mean soft margin.
    gain
        Factor on the concept's distance from its neutral value: 0 masked, 1 left alone, above 1 amplified.
    """

    concept: str
    verdict: Verdict
    p: float
    slope: float
    agreement: float
    separability: float
    rise: float
    fall: float
    confusion: float
    gain: float


@dataclass(frozen=True)
class Fix:
    """What was found in the new place, and the edit that it suggests.

    Attributes
    ----------
    evidence
        One entry a concept, in the model's order.
    edits
        Nothing, or one `TestTimeFix`.
    images
        Support images it rests on.
    """

    evidence: tuple[Evidence, ...]
    edits: tuple[Edit, ...]
    images: int

    @property
    def masked(self) -> tuple[str, ...]:
        """Concepts put to their neutral value."""
        return tuple(e.concept for e in self.evidence if e.gain == 0)

    @property
    def amplified(self) -> Mapping[str, float]:
        """Amplified concepts and their factors."""
        return {e.concept: e.gain for e in self.evidence if e.gain > 1}


def find_fix(
    model: ConceptModel,
    x: Float[Tensor, "n d"],
    labels: Int[Tensor, "n"],
    source: SourceStatistics,
    config: FixConfig | None = None,
) -> Fix:
    """The fix that a few labelled images of a new place call for.

    Parameters
    ----------
    x, labels
        Support images: embeddings, and positions in the model's classes.
    source
        What the concepts do at the source; `source_statistics` of scores by this very model.

    Raises
    ------
    ModelError
        If the model's head is not linear.
    DataError
        If there is no support image of at least two classes, or the statistics are of other concepts or classes.
    """
    config = config or FixConfig()
    support = _support(model, x, labels, source)
    shift = measure_shift(model.scores(x), labels, source)
    confusion = support.confusions(source)
    gains, verdicts = _decide(support, shift, confusion, config)
    columns = (shift.p, shift.slope, shift.agreement, shift.separability, shift.rise, shift.fall, confusion, gains)
    evidence = tuple(
        Evidence(name, verdicts[k], *(float(column[k]) for column in columns)) for k, name in enumerate(model.concepts)
    )
    return Fix(evidence, fix_edits(model, gains, source.neutral), len(x))


def judge_shift(shift: Shift, config: FixConfig) -> list[Verdict]:
    """What each concept does in the new place, one verdict a concept."""
    moved = shift.detected(config.q)
    raised, lowered = shift.rise - np.maximum(shift.fall, 0), shift.fall - np.maximum(shift.rise, 0)
    other = (shift.agreement < config.mask_agreement) | (shift.slope <= 0)
    misactivated = moved & ((raised >= config.mask_rise) | (other & (shift.peak >= config.mask_peak)))
    under = _faint(shift, config) | moved & (lowered >= config.mask_rise)
    steps = ((misactivated, Verdict.MISACTIVATED), (under, Verdict.UNDER_ACTIVATED), (moved, Verdict.SHIFTED))
    return [next((verdict for mask, verdict in steps if mask[k]), Verdict.STEADY) for k in range(len(moved))]


def fix_edits(
    model: ConceptModel, gains: Float64[np.ndarray, "k"], neutral: Float64[np.ndarray, "k"]
) -> tuple[Edit, ...]:
    """The edit with these gains about these neutral scores; none when every gain is 1."""
    changed = [k for k in range(len(gains)) if gains[k] != 1]
    if not changed:
        return ()
    names = model.concepts
    return (
        TestTimeFix(
            mask=tuple(names[k] for k in changed if gains[k] == 0),
            amplify=tuple((names[k], float(gains[k])) for k in changed if gains[k] != 0),
            neutral=tuple((names[k], float(neutral[k])) for k in changed),
        ),
    )


@dataclass(frozen=True)
class _Support:
    """The support images as the head sees them: scores `[n k]` about their neutral value, and what the head makes of them."""

    deviations: Float64[np.ndarray, "n k"]
    labels: Int[np.ndarray, "n"]
    weight: Float64[np.ndarray, "c k"]
    rest: Float64[np.ndarray, "n c"]  # the logits of neutral scores

    def logits(self, gains: Float64[np.ndarray, "k"]) -> Float64[np.ndarray, "n c"]:
        return np.asarray(self.rest + (self.deviations * gains) @ self.weight.T)

    def losses(self, gains: Float64[np.ndarray, "k"]) -> Float64[np.ndarray, "n"]:
        """Cross-entropy of each image, `[n]`."""
        logits = self.logits(gains)
        return np.asarray(logsumexp(logits, axis=1) - logits[np.arange(len(logits)), self.labels])

    def pushes(self) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n k"]]:
        """For each image, its difficulty `[n]` and what one unit of each concept adds to rivals over the truth `[n k]`."""
        logits = self.logits(np.ones(self.weight.shape[1]))
        rows = np.arange(len(logits))
        difficulty = 1 - softmax(logits, axis=1)[rows, self.labels]
        logits[rows, self.labels] = -np.inf
        return difficulty, softmax(logits, axis=1) @ self.weight - self.weight[self.labels]

    def confusions(self, source: SourceStatistics) -> Float64[np.ndarray, "k"]:
        """Weighted mean change of the rivals' margin that each concept brings, against the source, `[k]`."""
        difficulty, pushes = self.pushes()
        usual = source.means[self.labels] - source.neutral
        weights = difficulty / max(float(difficulty.sum()), 1e-12)
        return np.asarray((weights[:, None] * pushes * (self.deviations - usual)).sum(0))


def _support(
    model: ConceptModel, x: Float[Tensor, "n d"], labels: Int[Tensor, "n"], source: SourceStatistics
) -> _Support:
    head = linear_head(model)
    if source.means.shape != (len(model.classes), len(model.concepts)):
        raise DataError(
            f"the source statistics are of {source.means.shape[1]} concepts and {source.means.shape[0]} classes, "
            f"the model has {len(model.concepts)} and {len(model.classes)}",
            hint="take them from the scores of this model",
        )
    if not len(x):
        raise DataError("there is no image from the new place", hint="label a few images of every class")
    scores = model.scores(x).double().numpy()
    weight = head.weight.double().numpy()
    rest = head.residual_logits(x).double().numpy() + head.bias.double().numpy() + weight @ source.neutral
    return _Support(scores - source.neutral, labels.numpy(), weight, rest)


def _decide(
    support: _Support, shift: Shift, confusion: Float64[np.ndarray, "k"], config: FixConfig
) -> tuple[Float64[np.ndarray, "k"], list[Verdict]]:
    """A gain and a verdict for each concept."""
    verdicts = judge_shift(shift, config)
    misactivated, under = (
        np.array([v is wanted for v in verdicts], dtype=bool)
        for wanted in (Verdict.MISACTIVATED, Verdict.UNDER_ACTIVATED)
    )
    faint = under & _faint(shift, config)
    gains = np.ones(len(confusion))
    candidates = np.flatnonzero(misactivated & (confusion > 0))
    for k in sorted(candidates, key=lambda k: -confusion[k])[: int(config.most_masked * len(gains))]:
        gains = _accepted(support, gains, int(k), 0.0, config)
    counts = np.bincount(support.labels)
    if counts[counts > 0].min() >= config.amplify_from:
        for k in np.flatnonzero(faint):
            gains = _accepted(support, gains, int(k), min(1 / float(shift.slope[k]), config.most_gain), config)
    return gains, verdicts


def _faint(shift: Shift, config: FixConfig) -> np.ndarray:
    """Which concepts follow their source pattern, but certainly less strongly, `[k]`."""
    same = (shift.agreement >= config.amplify_agreement) & (shift.slope > 0)
    certain = 1 - shift.slope > 2 * shift.slope_error
    return same & certain & (shift.slope < config.amplify_slope)


def _accepted(
    support: _Support, gains: Float64[np.ndarray, "k"], k: int, gain: float, config: FixConfig
) -> Float64[np.ndarray, "k"]:
    """The gains with that of concept `k` changed, if the support images are better off for it; else as they were."""
    changed = gains.copy()
    changed[k] = gain
    gained = support.losses(gains) - support.losses(changed)
    least = gained.sum() - (max(gained.max(), 0.0) if config.jackknife else 0.0)  # without the image that gains most
    return changed if least > 0 else gains
