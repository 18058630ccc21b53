"""How fast a model's decisions get better when an expert corrects its concepts, and which concept to ask for next.

A correction of a linear model changes one score, so it changes the logits by one column of the head's weights: the whole
curve costs as much as a few predictions. A model that infers its scores infers them again (`probes.inferred`). Who chooses the concepts is in `probes.policies`, what an answer means in `probes.corrections`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cbm.bottleneck import clamp_of
from cbm.errors import DataError, unknown
from cbm.model import ConceptModel
from cbm.progress import OnProgress, silent
from cbm.training_set import TrainingSet
from probes.corrections import EDGE, TrueScores, mistaken, true_scores, typical_scores
from probes.inferred import corrector, inferred_again, others_kept
from probes.intervals import Estimate, bootstrap, wilson
from probes.policies import POLICIES, State, expected, for_its_price, imagined
from probes.questions import Questions, questions
from probes.tables import decide

CORRECTIONS = ("answer", "class", "unknown")  # what a correction may set
CENT = 1e-4  # that sums of prices are off by


@dataclass(frozen=True)
class Curve:
    """Accuracy against the number of corrected concepts, or against what the questions cost.

    Attributes
    ----------
    policy, split
        Who chose the concepts, and on which images.
    accuracy
        At 0, 1, ... corrected concepts an image, or at the costs `spent`.
    area
        Mean height of the curve, by the trapezium rule: between 0 and 1.
    n
        Images.
    concepts
        How many concepts can be corrected.
    spent
        What may be spent on an image at each point: questions, or their costs.
    questions
        How many questions there are: as many as concepts, or groups of them.
    error
        Share of answers that are wrong.
    to
        What a correction sets, see `intervention_curve`.
    """

    policy: str
    split: str
    accuracy: tuple[Estimate, ...]
    area: Estimate
    n: int
    concepts: int
    spent: tuple[float, ...]
    questions: int
    error: float
    to: str

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
    to: str = "answer",
    error: float = 0.0,
    groups: Mapping[str, Sequence[str]] | None = None,
    costs: Mapping[str, float] | None = None,
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
        How many questions to ask; all that can be when not given. With costs, what so many questions cost on average.
    edge
        Quantile that stands for "present", see `true_scores`; 0.5 is a typical image with the concept.
    to
        What a correction sets: "answer", the score that "present" or "absent" stands for; "class", the score's quantile
        `edge` among training images of the image's own class with this annotation, which tells the model of the class;
        "unknown", the mean of all training images: nothing is told, something is taken away.
    error
        Probability with which the expert's answer is wrong, for each image and concept on its own; only for answers.
    groups, costs
        Concepts that are asked about together, and what concepts cost, see `probes.questions`. A policy then prefers what
        gains most for its price, and the curve says what can be had within a budget.
    seed
        Of the random order, of the wrong answers and of the interval of the area.

    Raises
    ------
    UnknownName
        If there is no such policy, split, kind of correction or concept.
    DataError
        If no concept of the model is annotated under its name, or no image of the split is; if the error is no
        probability, or not of answers.

    Notes
    -----
    Each point has Wilson's interval, the area the bootstrap's over images. A concept that nobody annotated on an image
    is never asked there. A group's priority is the mean of its concepts'. The expert errs on the same questions whoever
    chooses them.

    References
    ----------
    Koh et al., "Concept bottleneck models", ICML 2020; Shin et al., "A closer look at the intervention procedure of
    concept bottleneck models", ICML 2023; Chauhan et al., "Interactive concept bottleneck models", AAAI 2023.
    """
    if policy not in POLICIES:
        raise unknown("policy", policy, list(POLICIES))
    if to not in CORRECTIONS:
        raise unknown("kind of correction", to, list(CORRECTIONS))
    if not 0 <= error <= 1 or (error and to != "answer"):
        raise DataError(
            f"the expert cannot err with probability {error} here", hint="0 to 1, for corrections to answers"
        )
    truth = true_scores(model, data, edge=edge)
    asked = questions(truth.concepts, groups=groups, costs=costs)
    state = _start(model, truth, data, split, seed=seed, to=to, edge=edge, error=error)
    first = asked.members[asked.belongs.int().argmax(0), 0]
    state = replace(state, chance=state.chance[:, first])  # one for a group
    count = len(asked.names) if steps is None else min(max(0, steps), len(asked.names))
    budgets = torch.arange(count + 1) * float(asked.price.mean())
    right = _asked(model, truth, data.split(split).x, state, policy, asked, budgets, on_progress)
    on_progress(1.0, f"{policy}: asked {count} questions of {len(state.labels):,} images")
    found = _curve(policy, split, right, len(truth.concepts), seed)
    return replace(found, spent=tuple(budgets.tolist()), questions=len(asked.names), error=error, to=to)


def _asked(
    model: ConceptModel,
    truth: TrueScores,
    x: Float[Tensor, "n d"],
    state: State,
    policy: str,
    asked: Questions,
    budgets: Float[Tensor, "b"],
    on_progress: OnProgress,
) -> Bool[Tensor, "n b"]:
    """Which images are decided rightly within each budget."""
    priority, unpriced = POLICIES[policy], bool((asked.price == 1).all())
    correct = _correct if model.exact else corrector(model, truth, x, state)
    right, spent = [state.logits.argmax(1) == state.labels], [torch.zeros(len(state.labels))]
    most = len(budgets) - 1 if unpriced else len(asked.names)
    for step in range(most):
        if float(spent[-1].min()) >= float(budgets[-1]) or bool(state.done.all()):
            break
        on_progress(step / most, f"{policy}: question {step + 1}")
        wish = asked.mean(priority(state), state.done)
        chosen = (wish if unpriced or policy == "random" else for_its_price(wish, asked.price)).argmax(1)
        members = asked.members[chosen]
        anew = (~state.done.gather(1, members)).any(1)
        correct(state, members)
        right.append(state.logits.argmax(1) == state.labels)
        spent.append(spent[-1] + torch.where(anew, asked.price[chosen], 0.0))
    last = torch.searchsorted(torch.stack(spent, 1), budgets.expand(len(state.labels), -1) + CENT, right=True) - 1
    return torch.stack(right, 1).gather(1, last)


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


def _start(
    model: ConceptModel,
    answers: TrueScores,
    data: TrainingSet,
    split: str,
    *,
    seed: int,
    to: str,
    edge: float,
    error: float,
) -> State:
    """The images before any correction, and what corrections will set."""
    decisions = decide(model, data, split)
    images = decisions.data
    assert images.concept_labels is not None
    truth = answers.of(mistaken(images.concept_labels, error, seed=seed))
    if bool(truth.isnan().all()):
        raise DataError(
            f"no image of the split {split!r} is annotated with a concept of the model",
            hint="choose another split, or annotate some of its images",
        )
    if to != "answer":
        labels = None if to == "unknown" else images.labels
        truth = typical_scores(model, data, answers, images.concept_labels, labels, edge=edge)
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


def _correct(state: State, chosen: Int[Tensor, "n s"]) -> None:
    """Correct some concepts of each image, in place: the one mutable thing here, since copies would take the time."""
    rows = torch.arange(len(chosen))
    for column in chosen.T:
        shift = torch.where(state.done[rows, column], 0.0, (state.truth - state.scores)[rows, column])
        state.logits.add_(shift[:, None] * state.effects.T[column])  # rank one for each image
        state.done[rows, column] = True


def _curve(policy: str, split: str, right: Bool[Tensor, "n steps"], concepts: int, seed: int) -> Curve:
    n, points = right.shape
    hits = right.double()
    ends = (hits[:, 0] + hits[:, -1]) / 2
    areas = (hits.sum(1) - ends) / (points - 1) if points > 1 else hits[:, 0]

    def mean(counts: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
        return counts @ areas / n

    accuracy = tuple(wilson(int(column.sum()), n) for column in right.T)
    area = bootstrap(mean, n, seed=seed)
    return Curve(policy, split, accuracy, area, n, concepts, spent=(), questions=concepts, error=0.0, to="answer")
