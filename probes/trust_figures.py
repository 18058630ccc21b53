"""The figures of a whole model that `probes.trust` shows: controls, leakage, information, importance and location."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.errors import DataError, PellucidError
from cbm.model import ConceptModel, linear_head
from cbm.progress import OnProgress, part
from cbm.training_set import TrainingSet
from probes import controls as control_fits
from probes.corrections import true_scores
from probes.faithfulness import contributions
from probes.importance import cem, cgim, class_frequency
from probes.information import entropy, information_in_bottleneck, passed_at_most, passed_information
from probes.intervals import Estimate, bootstrap, exact
from probes.leakage import extra_bits, interconcept_leakage, oracle_impurity, task_leakage
from probes.naming import annotated_columns
from probes.parts import Place
from probes.tables import accuracy_of, decide

MOST_PAIRS = 120  # concepts up to which all pairs are looked at
TOP = 5  # most important concepts of an image, for CEM-existence


@dataclass(frozen=True)
class Figure:
    """A number with its interval, and what chance or a model that knows nothing would get, where that is known."""

    estimate: Estimate
    chance: float | None = None


@dataclass(frozen=True)
class Subject:
    """What all figures are measured on.

    Attributes
    ----------
    images
        Those of the split.
    every, scores
        Scores of all images, and of the split's.
    known, columns
        Positions of the model's annotated concepts, among its own and among the annotated ones.
    """

    model: ConceptModel
    data: TrainingSet
    split: str
    images: TrainingSet
    every: Float[Tensor, "n k"]
    scores: Float[Tensor, "m k"]
    known: list[int]
    columns: list[int]
    seed: int

    def annotations(self, data: TrainingSet) -> Float[Tensor, "n j"]:
        """What some images show of the model's annotated concepts.

        Raises
        ------
        DataError
            If none of the model's concepts is annotated.
        """
        if data.concept_labels is None or not self.known:
            raise DataError("no concept of the model is annotated under its name")
        return data.concept_labels[:, self.columns]


def subject_of(model: ConceptModel, data: TrainingSet, split: str, seed: int) -> Subject:
    """A model before the images of a split; raises as `probes.tables.decide`."""
    images = decide(model, data, split).data
    annotated = data.concepts if data.concept_labels is not None else ()
    pairs = [(k, j) for k, j in enumerate(annotated_columns(model.concepts, annotated)) if j is not None]
    every = model.scores(data.x)
    scores = model.scores(images.x)
    return Subject(model, data, split, images, every, scores, [k for k, _ in pairs], [j for _, j in pairs], seed)


def add_controls(
    subject: Subject,
    known: Mapping[str, Estimate],
    figures: dict[str, Figure],
    absent: dict[str, str],
    on_progress: OnProgress,
) -> None:
    """Accuracy, and what it is read against; controls that are not known already are fitted."""
    figures["accuracy"] = Figure(accuracy_of(decide(subject.model, subject.data, subject.split)), _luck(subject))
    for i, (name, fit_control) in enumerate(control_fits.CONTROLS.items()):
        stage = part(on_progress, i / len(control_fits.CONTROLS), (i + 1) / len(control_fits.CONTROLS))
        try:
            if name in known:
                figures[name] = Figure(known[name], _luck(subject))
            else:
                fitted = fit_control(subject.model, subject.data, subject.seed, stage)
                figures[name] = Figure(accuracy_of(decide(fitted, subject.data, subject.split)), _luck(subject))
        except PellucidError as error:
            absent[name] = error.message


def mean_place(places: Mapping[str, Place]) -> dict[str, Figure]:
    """Means over concepts of where their maps lie, with intervals over concepts."""
    found = {}
    for name, key in (("relevance_mass", "mass"), ("pointing_game", "pointing"), ("clm", "clm")):
        measured = [getattr(place, key) for place in places.values()]
        values = torch.tensor([one.found.value for one in measured], dtype=torch.float64)
        chance = sum(one.chance for one in measured) / len(measured)
        found[name] = Figure(_over(values), chance)
    return found


def _luck(subject: Subject) -> float:
    """Accuracy of always naming the most frequent class."""
    return float(subject.images.labels.bincount().max()) / len(subject.images)


def _leakage(subject: Subject) -> dict[str, Figure]:
    """CTL and what is told beyond the concepts, means over concepts; both less what shuffled scores seem to tell."""
    scores = subject.scores[:, subject.known]
    found = task_leakage(scores, subject.annotations(subject.images), subject.images.labels, seed=subject.seed)
    if bool(found.ctl.isnan().all()):
        raise DataError("no annotated concept has images of both sides in this split")
    known = ~found.ctl.isnan()
    return {"ctl": Figure(_over(found.ctl[known]), 0.0), "beyond_concept": Figure(_over(found.beyond[known]), 0.0)}


def _pairs(subject: Subject) -> dict[str, Figure]:
    """ICL and OIS, which look at all pairs of concepts."""
    present = subject.annotations(subject.images)
    if len(subject.known) > MOST_PAIRS:
        raise DataError(f"all pairs are looked at up to {MOST_PAIRS} annotated concepts; here are {len(subject.known)}")
    scores = subject.scores[:, subject.known]
    leaks = interconcept_leakage(scores, present, seed=subject.seed)
    rows = leaks.nanmean(1)
    impurity = oracle_impurity(scores, present)
    return {"icl": Figure(_over(rows[~rows.isnan()]), 0.0), "ois": Figure(exact(impurity, len(subject.known)), 0.0)}


def _information(subject: Subject) -> dict[str, Figure]:
    """I(C; Y), beside the same with shuffled labels, as a share of what there is to tell; and what passes."""
    measured, shuffled = (
        information_in_bottleneck(subject.every, subject.data, subject.split, shuffle=shuffle, seed=subject.seed)
        for shuffle in (False, True)
    )
    passed = passed_information(subject.scores)
    return {
        "task_information": Figure(measured, max(0.0, shuffled.value)),
        "class_entropy": Figure(exact(entropy(subject.images.labels), len(subject.images))),
        "passed_information": Figure(exact(passed, len(subject.images)), passed_at_most(len(subject.model.concepts))),
    }


def _extra(subject: Subject) -> dict[str, Figure]:
    """What all scores together tell beyond all annotations together."""
    present = subject.annotations(subject.data)
    scores = subject.every[:, subject.known]
    found = extra_bits(scores, present, subject.data, subject.split)
    return {"extra_information": Figure(found, 0.0)}


def _global_importance(subject: Subject) -> dict[str, Figure]:
    """CGIM of the head's weights, each concept's in units of its own spread."""
    present = subject.annotations(subject.images)
    weight = linear_head(subject.model).weight[:, subject.known]
    frequency = class_frequency(subject.images.labels, present, len(subject.images.classes))
    places = torch.tensor([subject.images.classes.index(name) for name in subject.model.classes])
    found = cgim((weight - weight.mean(0)).T, frequency[:, places], permutations=1, seed=subject.seed)
    return {"cgim": Figure(found.centred, 0.0)}


def _existence(subject: Subject) -> dict[str, Figure]:
    """CEM-existence of the concepts that add most to each decision."""
    present = subject.annotations(subject.images)
    answers = true_scores(subject.model, subject.data)
    if answers.columns.tolist() != subject.known:
        raise DataError("concepts share an annotation, so it is not clear which of them claims it")
    claimed = answers.probability(subject.scores) > 0.5
    typical = subject.model.scores(subject.data.x).mean(0)
    decided = subject.model.head(subject.scores, subject.images.x).argmax(1)
    adds = contributions(subject.model, subject.scores, typical, subject.images.x, decided)[:, subject.known]
    found = cem(adds, present, claimed, top=min(TOP, len(subject.known)), seed=subject.seed)
    return {
        "cem_positive": Figure(found.positive.found, found.positive.chance),
        "cem_truthful": Figure(found.truthful.found, found.truthful.chance),
        "cem_published": Figure(found.published.found, found.published.chance),
    }


def _over(values: Float[Tensor, "k"]) -> Estimate:
    """Mean over concepts of numbers between -1 and 1, with the bootstrap's interval over concepts."""
    found = bootstrap(lambda counts: counts @ (values.double() + 1) / counts.sum(1), len(values), high=2.0)
    return Estimate(found.value - 1, found.low - 1, found.high - 1, found.n)


MEASURES: dict[str, Callable[[Subject], dict[str, Figure]]] = {
    "ctl": _leakage,
    "icl": _pairs,
    "task_information": _information,
    "extra_information": _extra,
    "cgim": _global_importance,
    "cem_existence": _existence,
}
