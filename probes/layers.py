"""At which layer a concept can be read off: linear probes of every layer, each beside a control task.

A probe that is strong enough finds anything. So each concept's AUROC stands beside that of control tasks: the same probe asked
for labels that are as frequent and as consistent within a class, but mean nothing. What it does better on the concept is its
selectivity.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cbm.errors import DataError
from cbm.model import ConceptModel
from cbm.progress import OnProgress, silent
from cbm.ranking import auroc_components
from cbm.training_set import TrainingSet
from probes.intervals import Estimate, Z

COSTS = tuple(10.0**power for power in range(-3, 2))
FOLDS, FEWEST = 3, 10  # of cross-validation; images of either side in training, and half as many in test
FEW_CLASSES = 6  # below it, control tasks give labels to images and not to classes
NEAR = 0.01  # of the best AUROC


@dataclass(frozen=True)
class Labelled:
    """Images that show a concept and images that do not.

    Attributes
    ----------
    source
        "annotation", or "model" where nobody annotated it and the model's own score stands in: above its median on the
        training images.
    """

    concept: str
    present: Bool[Tensor, "n"]
    known: Bool[Tensor, "n"]
    source: str


def concept_labels(data: TrainingSet, concept: str, model: ConceptModel | None = None) -> Labelled:
    """The labels of a concept by its name, regardless of case.

    Raises
    ------
    UnknownName
        If neither the annotations nor the model know the concept.
    DataError
        If it is not annotated and no model is given.
    """
    names = [name.casefold() for name in data.concepts]
    if data.concept_labels is not None and concept.casefold() in names:
        values = data.concept_labels[:, names.index(concept.casefold())]
        return Labelled(concept, values >= 0.5, ~values.isnan(), "annotation")
    if model is None:
        raise DataError(f"the images are not annotated with {concept!r}", hint="give a model that has the concept")
    scores = model.scores(data.x)[:, model.concept(concept)]
    middle = (
        scores[torch.from_numpy(data.splits == "train")].median() if (data.splits == "train").any() else scores.median()
    )
    return Labelled(concept, scores > middle, torch.ones(len(data), dtype=torch.bool), "model")


@dataclass(frozen=True)
class LayerProbe:
    """How well one layer tells images with a concept from images without.

    Attributes
    ----------
    layer
        0 is what enters the first block.
    auroc
        On test images, with DeLong's interval.
    control
        Mean AUROC of the control tasks on the same images, with the range of their draws.
    """

    layer: int
    auroc: Estimate
    control: Estimate

    @property
    def selectivity(self) -> float:
        """AUROC above that of the control tasks."""
        return self.auroc.value - self.control.value


@dataclass(frozen=True)
class Task:
    """What probes are asked: the concept's labels and those of its control tasks, of training and of test images."""

    train: Bool[Tensor, "n draws"]
    test: Bool[Tensor, "m draws"]
    by_class: bool


def probing_task(
    labelled: Bool[Tensor, "n"], classes: Int[Tensor, "n"], train: Tensor, test: Tensor, *, draws: int, seed: int = 0
) -> Task:
    """The concept's labels in the first column, then `draws` control tasks.

    Parameters
    ----------
    train, test
        Positions of images.

    Raises
    ------
    DataError
        If one side has too few images.

    References
    ----------
    Hewitt and Liang, "Designing and interpreting probes with control tasks", EMNLP 2019. Their types are words; ours are
    classes.
    """
    for name, rows, fewest in (("training", train, FEWEST), ("test", test, FEWEST // 2)):
        here = labelled[rows]
        if min(int(here.sum()), int((~here).sum())) < fewest:
            raise DataError(
                f"of {len(rows)} {name} images {int(here.sum())} show the concept",
                hint=f"a probe needs at least {fewest} with it and {fewest} without it",
            )
    by_class = len(torch.unique(classes)) >= FEW_CLASSES
    make = control_labels if by_class else shuffled_labels
    columns = [labelled, *(make(labelled, classes, seed=seed + draw) for draw in range(draws))]
    table = torch.stack(columns, 1)
    return Task(table[train], table[test], by_class)


def control_labels(labels: Bool[Tensor, "n"], classes: Int[Tensor, "n"], *, seed: int) -> Bool[Tensor, "n"]:
    """Labels without meaning, the same for all images of a class, about as frequent as the given ones."""
    chance = torch.Generator().manual_seed(seed)
    names = torch.unique(classes)
    order = names[torch.randperm(len(names), generator=chance)]
    sizes = torch.stack([(classes == c).sum() for c in order]).cumsum(0)
    count = int((sizes - labels.sum()).abs().argmin()) + 1
    return torch.isin(classes, order[: min(count, len(names) - 1)])


def shuffled_labels(labels: Bool[Tensor, "n"], classes: Int[Tensor, "n"], *, seed: int) -> Bool[Tensor, "n"]:
    """The same labels on other images."""
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))]


def linear_probes(
    train: Float[Tensor, "n layers d"],
    test: Float[Tensor, "m layers d"],
    task: Task,
    *,
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> tuple[LayerProbe, ...]:
    """Logistic regression on the standardised features of every layer, its penalty chosen by cross-validation.

    References
    ----------
    Alain and Bengio, "Understanding intermediate layers using linear classifier probes", 2016.
    """
    found, layers = [], train.shape[1]
    for layer in range(layers):
        scores = logistic_scores(train[:, layer], test[:, layer], task.train, seed=seed)
        found.append(judged(layer, scores, task.test))
        on_progress((layer + 1) / layers, f"probed layer {layer} of {layers - 1}")
    return tuple(found)


def logistic_scores(
    train: Float[Tensor, "n d"], test: Float[Tensor, "m d"], labels: Bool[Tensor, "n draws"], *, seed: int
) -> Float[Tensor, "m draws"]:
    """Logits of test images, one fit a column of labels."""
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.model_selection import StratifiedKFold

    mean, spread = train.mean(0), train.std(0, unbiased=False)
    live = spread > 1e-6 * train.abs().max().clamp(
        min=1e-12
    )  # what enters the first block is the same class token always
    if not bool(live.any()):
        return torch.zeros(len(test), labels.shape[1])
    x, z = ((part - mean)[:, live] / spread[live] for part in (train, test))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    columns = []
    for column in labels.T.numpy():
        probe = LogisticRegressionCV(
            Cs=COSTS,
            cv=folds,
            scoring="neg_log_loss",
            solver="newton-cholesky",
            l1_ratios=(0.0,),
            use_legacy_attributes=False,
        )
        columns.append(probe.fit(x.double().numpy(), column).decision_function(z.double().numpy()))
    return torch.from_numpy(np.stack(columns, 1)).float()


def judged(layer: int, scores: Float[Tensor, "m draws"], labels: Bool[Tensor, "m draws"]) -> LayerProbe:
    """The AUROC of the concept, in the first column, and of the control tasks, in the others."""
    found = [auroc_estimate(scores[:, i], labels[:, i]) for i in range(scores.shape[1])]
    controls = [estimate.value for estimate in found[1:]] or [0.5]
    mean = sum(controls) / len(controls)
    return LayerProbe(layer, found[0], Estimate(mean, min(controls), max(controls), found[0].n))


def auroc_estimate(scores: Float[Tensor, "m"], present: Bool[Tensor, "m"]) -> Estimate:
    """AUROC with DeLong's interval; 0.5 without one where a control task gave all test images the same label."""
    if bool(present.all()) or not bool(present.any()):
        return Estimate(0.5, 0.5, 0.5, len(scores))
    parts = auroc_components(scores, present)
    up, down = parts[present], parts[~present]
    error = sum(float(side.var(unbiased=len(side) > 1)) / len(side) for side in (up, down)) ** 0.5
    value = float(up.mean())
    return Estimate(value, max(0.0, value - Z * error), min(1.0, value + Z * error), len(scores))


def earliest(probes: Sequence[LayerProbe]) -> int:
    """The first layer whose AUROC is within 0.01 of the best."""
    best = max(probe.auroc.value for probe in probes)
    return next(probe.layer for probe in probes if probe.auroc.value >= best - NEAR)
