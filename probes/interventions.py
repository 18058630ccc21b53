"""How fast a model's decisions get better when an expert corrects its concepts, and which concept to ask for next.

A correction of a linear model changes one score, so it changes the logits by one column of the head's weights: the whole
curve costs as much as a few predictions. A model that infers its scores infers them again (`probes.inferred`). Who chooses the concepts is in `probes.policies`, what an answer means in `probes.corrections`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cbm.bottleneck import clamp_of
from cbm.errors import DataError, unknown
from cbm.model import ConceptModel
from cbm.progress import OnProgress, silent
from cbm.training_set import TrainingSet
from probes.corrections import EDGE, TrueScores, true_scores
from probes.inferred import corrector, inferred_again, others_kept
from probes.intervals import Estimate, bootstrap, wilson
from probes.policies import POLICIES, State, expected, imagined
from probes.tables import decide


@dataclass(frozen=True)
class Curve:
    """Accuracy against the number of corrected concepts.

    Attributes
    ----------
    policy, split
        Who chose the concepts, and on which images.
    accuracy
        At 0, 1, ... corrected concepts an image.
    area
        Mean height of the curve, by the trapezium rule: between 0 and 1.
    n
        Images.
    concepts
        How many concepts can be corrected.
    """

    policy: str
    split: str
    accuracy: tuple[Estimate, ...]
    area: Estimate
    n: int
    concepts: int

    def to_json(self) -> dict[str, object]:
        """A JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class Question:
    """A concept to ask an expert about.

    Attributes
    ----------
    concept
        Its name.
    probability
        That it is present, as the model sees the image.
    change
        Expected change of the decision's probability when the expert answers.
    if_present, if_absent
        What the model would decide after each answer.
    """

    concept: str
    probability: float
    change: float
    if_present: str
    if_absent: str


def intervention_curve(
    model: ConceptModel,
    data: TrainingSet,
    *,
    policy: str,
    split: str = "test",
    steps: int | None = None,
    edge: float = EDGE,
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> Curve:
    """Accuracy after 0, 1, ... concepts of each image were corrected, each image in its own order.

    Parameters
    ----------
    policy
        One of `POLICIES`, where each says how it chooses.
    split
        The images to correct; scores that stand for "present" and "absent" come from "train".
    steps
        How many concepts to correct; all that can be when not given.
    edge
        Quantile that stands for "present", see `true_scores`; 0.5 is a typical image with the concept.
    seed
        Of the random order and of the interval of the area.

    Raises
    ------
    UnknownName
        If there is no such policy or split.
    DataError
        If no concept of the model is annotated under its name, or no image of the split is.

    Notes
    -----
    Each point has Wilson's interval, the area the bootstrap's over images. A concept that nobody annotated on an image
    is never asked there.

    References
    ----------
    Koh et al., "Concept bottleneck models", ICML 2020; Shin et al., "A closer look at the intervention procedure of
    concept bottleneck models", ICML 2023; Chauhan et al., "Interactive concept bottleneck models", AAAI 2023.
    """
    if policy not in POLICIES:
        raise unknown("policy", policy, list(POLICIES))
    priority = POLICIES[policy]
    truth = true_scores(model, data, edge=edge)
    state = _start(model, truth, data, split, seed)
    correct = _correct if model.exact else corrector(model, truth, data.split(split).x, state)
    count = min(len(truth.concepts), len(truth.concepts) if steps is None else max(0, steps))
    right = [state.logits.argmax(1) == state.labels]
    for step in range(count):
        on_progress(step / count, f"{policy}: correcting concept {step + 1} of {count}")
        correct(state, priority(state).masked_fill(state.done, -torch.inf).argmax(1))
        right.append(state.logits.argmax(1) == state.labels)
    on_progress(1.0, f"{policy}: corrected {count} concepts of {len(state.labels):,} images")
    return _curve(policy, split, torch.stack(right, 1), len(truth.concepts), seed)


def ask_next(
    model: ConceptModel,
    x: Float[Tensor, "d"],
    answers: TrueScores,
    *,
    said: Mapping[str, float] | None = None,
    count: int = 3,
) -> tuple[Question, ...]:
    """The concepts of one image whose answer would change the decision most, the best question first.

    Parameters
    ----------
    x
        Embedding of the image.
    answers
        What an expert's answers mean as scores.
    said
        Scores that the person has set already; these concepts are not asked again.
    count
        How many questions.

    Notes
    -----
    The change is that of the probability of the class that the model decides for now, its average over both answers,
    each as probable as the model's calibrated score says: the policy "expected".
    """
    said = said or {}
    clamp = clamp_of(model.concepts, said) if said else None
    logits = model.logits(x[None], clamp)
    state = _state(answers, model, model.scores(x[None], None if model.exact else clamp), logits)
    if not model.exact:
        state = replace(state, asked=inferred_again(model, answers, x, clamp))
    change = expected(state)[0]
    asked = torch.tensor([name in said for name in answers.concepts])
    order = change.masked_fill(asked, -1.0).argsort(descending=True, stable=True)[: max(0, count)].tolist()
    becomes = [imagined(state, end)[0].argmax(1).tolist() for end in (answers.present, answers.absent)]
    return tuple(
        Question(
            concept=answers.concepts[j],
            probability=float(state.probability[0, j]),
            change=float(change[j]),
            if_present=model.classes[becomes[0][j]],
            if_absent=model.classes[becomes[1][j]],
        )
        for j in order
        if not asked[j]
    )


def _start(model: ConceptModel, answers: TrueScores, data: TrainingSet, split: str, seed: int) -> State:
    """The images before any correction."""
    decisions = decide(model, data, split)
    images = decisions.data
    assert images.concept_labels is not None
    truth = answers.of(images.concept_labels)
    if bool(truth.isnan().all()):
        raise DataError(
            f"no image of the split {split!r} is annotated with a concept of the model",
            hint="choose another split, or annotate some of its images",
        )
    chance = torch.rand(truth.shape, generator=torch.Generator().manual_seed(seed))
    logits = model.logits(images.x)
    state = _state(answers, model, model.scores(images.x), logits, truth=truth, labels=decisions.truth, chance=chance)
    return state if model.exact else replace(state, asked=others_kept(model, answers, images.x, state))


def _state(
    answers: TrueScores,
    model: ConceptModel,
    scores: Float[Tensor, "n k"],
    logits: Float[Tensor, "n c"],
    *,
    truth: Float[Tensor, "n m"] | None = None,
    labels: Int[Tensor, "n"] | None = None,
    chance: Float[Tensor, "n m"] | None = None,
) -> State:
    own = scores[:, answers.columns]
    known = torch.zeros_like(own, dtype=torch.bool) if truth is None else ~truth.isnan()
    return State(
        effects=model.head.effects()[:, answers.columns],
        scores=own,
        truth=own if truth is None else torch.where(known, truth, own),
        present=answers.present,
        absent=answers.absent,
        probability=answers.probability(scores),
        logits=logits.clone(),
        labels=logits.argmax(1) if labels is None else labels,
        chance=torch.zeros_like(own) if chance is None else chance,
        done=~known,
    )


def _correct(state: State, chosen: Int[Tensor, "n"]) -> None:
    """Correct one concept of each image, in place: the one mutable thing here, since copies would take the time."""
    rows = torch.arange(len(chosen))
    shift = torch.where(state.done[rows, chosen], 0.0, (state.truth - state.scores)[rows, chosen])
    state.logits.add_(shift[:, None] * state.effects.T[chosen])  # rank one for each image
    state.done[rows, chosen] = True


def _curve(policy: str, split: str, right: Bool[Tensor, "n steps"], concepts: int, seed: int) -> Curve:
    n, points = right.shape
    hits = right.double()
    ends = (hits[:, 0] + hits[:, -1]) / 2
    areas = (hits.sum(1) - ends) / (points - 1) if points > 1 else hits[:, 0]

    def mean(counts: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
        return counts @ areas / n

    accuracy = tuple(wilson(int(column.sum()), n) for column in right.T)
    return Curve(policy, split, accuracy, bootstrap(mean, n, seed=seed), n, concepts)
