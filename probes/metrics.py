"""What a concept model is worth on a split: task, groups, calibration, concepts, sparsity, and controls beside them.

`evaluate` is what `pellucid eval` prints. A number that cannot be computed is left out and the reason is given, so
that nothing is ever filled in.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from cbm.errors import PellucidError
from cbm.heads import LinearHead, relative_logits
from cbm.model import ConceptModel
from cbm.progress import OnProgress, part, silent
from cbm.ranking import auroc_components
from cbm.sparsity import effective_concepts
from cbm.training_set import TrainingSet
from probes import controls as control_fits
from probes.effective_concepts import NecCurve, nec_curve, random_concepts
from probes.intervals import Estimate, Z, bootstrap, exact
from probes.tables import Decisions, GroupRow, accuracy_of, decide, group_rows

BINS = 15  # of confidence, equally wide
SMALLEST_GROUP = 10  # images; the accuracy of fewer says little
ANEC, RANDOM_ANEC = ("anec_5", "anec_avg"), ("random_anec_5", "random_anec_avg")


@dataclass(frozen=True)
class Evaluation:
    """What was measured on a split.

    Attributes
    ----------
    metrics
        Name to number and interval, in the order in which they are shown.
    not_computed
        Name to the reason, for the others.
    groups
        Accuracy of each group, the worst first.
    notes
        What a number leaves out, by the metric's name: groups too small to judge by.
    nec_curve, random_nec_curve
        Accuracy against the number of effective concepts, where it was asked for, and that of as many random concepts.
    """

    split: str
    n: int
    metrics: dict[str, Estimate]
    not_computed: dict[str, str] = field(default_factory=dict)
    groups: tuple[GroupRow, ...] = ()
    notes: dict[str, str] = field(default_factory=dict)
    nec_curve: NecCurve | None = None
    random_nec_curve: NecCurve | None = None

    def to_json(self) -> dict[str, object]:
        """The JSON object that `pellucid eval --json` prints."""
        return {
            "split": self.split,
            "n": self.n,
            "metrics": {name: asdict(estimate) for name, estimate in self.metrics.items()},
            "not_computed": dict(self.not_computed),
            "groups": [{"group": row.group, **asdict(row.accuracy)} for row in self.groups],
            "notes": dict(self.notes),
            **{name: curve.to_json() for name, curve in self._curves().items() if curve is not None},
        }

    def _curves(self) -> dict[str, NecCurve | None]:
        return {"nec_curve": self.nec_curve, "random_nec_curve": self.random_nec_curve}


class _Absent(Exception):
    """Why a metric cannot be computed here; becomes an entry of `not_computed`."""


def evaluate(
    model: ConceptModel,
    data: TrainingSet,
    *,
    split: str = "test",
    controls: bool = True,
    probe: ConceptModel | None = None,
    anec: bool = False,
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> Evaluation:
    """Measure a model on a split.

    Parameters
    ----------
    data
        All splits; the controls are fitted on "train" and measured on `split`.
    controls
        Whether to fit the linear probe, the random concepts and the shuffled labels, which takes three fits.
    probe
        A linear probe of the same training images, where there is one already; fitted when not given.
    anec
        Whether to measure accuracy at equal numbers of effective concepts, which solves a path of heads.
    seed
        Of the resampling and of the controls.

    Raises
    ------
    UnknownName
        If no image is in the split.
    DataError, EncoderError
        If the model does not fit the images.

    Notes
    -----
    Shares of images have Wilson's interval, the concepts' mean AUROC DeLong's, other statistics the bootstrap's over
    images. Counts of the model (`nec`) have no interval.
    """
    on_progress(0.0, f"deciding on the {split} images")
    decisions = decide(model, data, split)
    metrics: dict[str, Estimate] = {}
    absent: dict[str, str] = {}
    for name, measure in _MEASURES.items():
        try:
            metrics[name] = measure(model, decisions, seed)
        except _Absent as reason:
            absent[name] = str(reason)
    curve, chance = None, None
    if anec:
        stage = part(on_progress, 0.1, 0.25)
        curve = _curve(ANEC, lambda: model, data, split, seed, metrics, absent, stage)
    else:
        absent |= dict.fromkeys(ANEC, "accuracy at equal numbers of concepts was not asked for")
    if anec and controls:
        stage = part(on_progress, 0.25, 0.4)
        control = partial(random_concepts, model, data, seed=seed)
        chance = _curve(RANDOM_ANEC, control, data, split, seed, metrics, absent, stage)
    else:
        absent |= dict.fromkeys(RANDOM_ANEC, "controls of accuracy at equal numbers of concepts were not asked for")
    if controls:
        if probe is not None:
            metrics["linear_probe_accuracy"] = accuracy_of(decide(probe, data, split))
        _add_controls(model, data, split, seed, metrics, absent, part(on_progress, 0.4, 1.0))
    else:
        absent |= dict.fromkeys(control_fits.CONTROLS, "controls were not asked for")
    on_progress(1.0, f"evaluated on {len(decisions):,} images")
    rows = group_rows(decisions)
    return Evaluation(split, len(decisions), metrics, absent, rows, _notes(metrics, rows), curve, chance)


def _curve(
    names: tuple[str, str],
    of: Callable[[], ConceptModel],
    data: TrainingSet,
    split: str,
    seed: int,
    metrics: dict[str, Estimate],
    absent: dict[str, str],
    on_progress: OnProgress,
) -> NecCurve | None:
    """The curve of a model, its two numbers under these names, or why there is none."""
    try:
        curve = nec_curve(of(), data, split=split, seed=seed, on_progress=on_progress)
    except PellucidError as error:
        absent |= dict.fromkeys(names, error.message)
        return None
    metrics |= dict(zip(names, curve.anec(), strict=True))
    return curve


def _notes(metrics: dict[str, Estimate], rows: tuple[GroupRow, ...]) -> dict[str, str]:
    small = [f"{row.group} ({row.accuracy.n})" for row in rows if row.accuracy.n < SMALLEST_GROUP]
    if not small or "worst_group_accuracy" not in metrics:
        return {}
    return {"worst_group_accuracy": f"left out, with fewer than {SMALLEST_GROUP} images: {', '.join(small)}"}


def _add_controls(
    model: ConceptModel,
    data: TrainingSet,
    split: str,
    seed: int,
    metrics: dict[str, Estimate],
    absent: dict[str, str],
    on_progress: OnProgress,
) -> None:
    wanted = {name: fit_control for name, fit_control in control_fits.CONTROLS.items() if name not in metrics}
    for i, (name, fit_control) in enumerate(wanted.items()):
        stage = part(on_progress, i / len(wanted), (i + 1) / len(wanted))
        try:
            metrics[name] = accuracy_of(decide(fit_control(model, data, seed, stage), data, split))
        except PellucidError as error:
            absent[name] = error.message


def balanced_accuracy(model: ConceptModel, decisions: Decisions, seed: int) -> Estimate:
    """Mean over classes of the share of the class's images that are recognised; classes without images left out."""
    of_class = one_hot(decisions.truth, len(model.classes)).double()  # [n c]
    hits = of_class * (decisions.predicted == decisions.truth)[:, None]

    def mean_recall(counts: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
        return (counts @ hits / (counts @ of_class)).nanmean(1)

    return bootstrap(mean_recall, len(decisions), seed=seed)


def macro_f1(model: ConceptModel, decisions: Decisions, seed: int) -> Estimate:
    """Mean of the classes' F1, over classes that have images or are predicted."""
    of_class = one_hot(decisions.truth, len(model.classes)).double()
    taken_for = one_hot(decisions.predicted, len(model.classes)).double()

    def mean_f1(counts: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
        both = counts @ (of_class * taken_for)
        return (2 * both / (counts @ of_class + counts @ taken_for)).nanmean(1)

    return bootstrap(mean_f1, len(decisions), seed=seed)


def worst_group_accuracy(model: ConceptModel, decisions: Decisions, seed: int) -> Estimate:
    """Accuracy of the group with the lowest, with that group's own interval and size.

    Groups of fewer than ten images are left out: the worst of many small ones would be bad luck.
    """
    rows = group_rows(decisions)
    if not rows:
        raise _Absent("the images of this split belong to no groups")
    large = [row for row in rows if row.accuracy.n >= SMALLEST_GROUP]
    if not large:
        most = max(row.accuracy.n for row in rows)
        raise _Absent(f"no group has {SMALLEST_GROUP} images in this split; the largest has {most}")
    return large[0].accuracy


def ece(model: ConceptModel, decisions: Decisions, seed: int) -> Estimate:
    """Expected calibration error: mean distance of confidence from accuracy over 15 equally wide bins of confidence.

    References
    ----------
    Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    confidence = decisions.probabilities.max(1).values
    binned = one_hot((confidence * BINS).long().clamp(max=BINS - 1), BINS).double()
    excess = binned * (confidence - (decisions.predicted == decisions.truth).double())[:, None]

    def error(counts: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
        return (counts @ excess).abs().sum(1) / counts.sum(1)

    return bootstrap(error, len(decisions), seed=seed)


def brier(model: ConceptModel, decisions: Decisions, seed: int) -> Estimate:
    """Mean squared distance of the probabilities from the truth, summed over classes: 0 is perfect, 2 the worst."""
    truth = one_hot(decisions.truth, len(model.classes)).double()
    distance = (decisions.probabilities - truth).square().sum(1)

    def mean(counts: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
        return counts @ distance / counts.sum(1)

    return bootstrap(mean, len(decisions), seed=seed, high=2.0)


def concept_auroc_mean(model: ConceptModel, decisions: Decisions, seed: int) -> Estimate:
    """Mean AUROC of the scores of the concepts that are annotated under the same name, regardless of case.

    The interval is DeLong's, from each image's part in all concepts' AUROCs together.
    """
    data = decisions.data
    if data.concept_labels is None:
        raise _Absent("the images are not annotated with concepts")
    columns = {name.casefold(): j for j, name in enumerate(data.concepts)}
    shared = [(k, columns[name.casefold()]) for k, name in enumerate(model.concepts) if name.casefold() in columns]
    if not shared:
        raise _Absent("no concept of the model is annotated under its name")
    scores = model.scores(data.x)
    values, influences = [], []
    for k, j in shared:
        found = _influence(scores[:, k], data.concept_labels[:, j])
        if found is not None:
            values.append(found[0])
            influences.append(found[1])
    if not values:
        raise _Absent("no annotated concept has images of both sides in this split")
    value = sum(values) / len(values)
    error = float(torch.stack(influences).mean(0).square().sum().sqrt())
    return Estimate(value, max(0.0, value - Z * error), min(1.0, value + Z * error), len(data))


def _influence(scores: Float[Tensor, "n"], labels: Float[Tensor, "n"]) -> tuple[float, Float[Tensor, "n"]] | None:
    """AUROC of one concept and how far each image pulls it; `None` when only one side was annotated."""
    known = ~labels.isnan()
    positive = labels[known] >= 0.5
    sides = int(positive.sum()), int((~positive).sum())
    if min(sides) == 0:
        return None
    parts = auroc_components(scores[known], positive)
    value = float(parts[positive].mean())
    pull = torch.zeros(len(scores), dtype=torch.float64)
    pull[known] = (parts - value) / torch.where(positive, float(sides[0]), float(sides[1]))
    return value, pull


def nec(model: ConceptModel, decisions: Decisions, seed: int) -> Estimate:
    """Number of effective concepts: mean count of weights above 1e-5 a class; `n` is the number of classes."""
    if not model.concepts:
        raise _Absent("the model has no concepts")
    if not isinstance(model.head, LinearHead):
        raise _Absent("the head has no weight for a concept and a class")
    return exact(effective_concepts(model.head.weight), len(model.classes))


def residual_share(model: ConceptModel, decisions: Decisions, seed: int) -> Estimate:
    """Variance of the residual's logits as a share of the variance of all logits (see `cbm.heads.residual_share`)."""
    if not isinstance(model.head, LinearHead) or model.head.residual is None:
        raise _Absent("the model has no residual")
    residual = relative_logits(model.head.residual_logits(decisions.data.x)).double()
    logits = relative_logits(model.logits(decisions.data.x)).double()

    def share(counts: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
        return _variance(residual, counts) / _variance(logits, counts)

    return bootstrap(share, len(decisions), seed=seed, high=float("inf"))


def _variance(values: Float[Tensor, "n c"], counts: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
    """Variance over the counted images, summed over columns."""
    shares = counts / counts.sum(1, keepdim=True)
    centred = values - values.mean(0)
    return (shares @ centred.square() - (shares @ centred).square()).sum(1)


def accuracy(model: ConceptModel, decisions: Decisions, seed: int) -> Estimate:
    """Share of images whose class is predicted."""
    return accuracy_of(decisions)


_MEASURES: dict[str, Callable[[ConceptModel, Decisions, int], Estimate]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "macro_f1": macro_f1,
    "worst_group_accuracy": worst_group_accuracy,
    "ece": ece,
    "brier": brier,
    "concept_auroc_mean": concept_auroc_mean,
    "nec": nec,
    "residual_share": residual_share,
}
