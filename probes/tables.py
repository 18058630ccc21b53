"""What a model decides on a split: the predictions, and tables of them by class and by group."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.errors import DataError, EncoderError
from cbm.model import ConceptModel
from cbm.training_set import TrainingSet
from probes.intervals import Estimate, wilson


@dataclass(frozen=True)
class Decisions:
    """A model's answers for the images of a split.

    Attributes
    ----------
    data
        The images, in the order of the rows below.
    truth, predicted
        Positions in the model's classes, `[n]`.
    probabilities
        Shape `[n c]`, double.
    """

    data: TrainingSet
    truth: Int[Tensor, "n"]
    predicted: Int[Tensor, "n"]
    probabilities: Float[Tensor, "n c"]

    def __len__(self) -> int:
        return len(self.truth)


@dataclass(frozen=True)
class GroupRow:
    """Accuracy of one group of images."""

    group: str
    accuracy: Estimate


@dataclass(frozen=True)
class Confusion:
    """How many images of each class (rows) were taken for each class (columns)."""

    classes: tuple[str, ...]
    counts: Int[Tensor, "c c"]

    def recalls(self) -> tuple[tuple[str, Estimate], ...]:
        """The share of its images that each class keeps, for classes that have images."""
        rows = zip(self.classes, self.counts.diagonal().tolist(), self.counts.sum(1).tolist(), strict=True)
        return tuple((name, wilson(hits, n)) for name, hits, n in rows if n)


def decide(model: ConceptModel, data: TrainingSet, split: str) -> Decisions:
    """The model's answers on a split.

    Raises
    ------
    UnknownName
        If no image is in the split.
    DataError
        If an image is of a class that the model does not have.
    EncoderError
        If model and images belong to different encoders.
    """
    check_encoder(model, data)
    images = data.split(split)
    return decided(model, images, model.logits(images.x))


def decided(model: ConceptModel, images: TrainingSet, logits: Float[Tensor, "n c"]) -> Decisions:
    """The answers that the model's logits on these images are, when somebody has computed them already."""
    probabilities = torch.softmax(logits.double(), dim=1)
    return Decisions(images, _in_classes_of(model, images), probabilities.argmax(1), probabilities)


def check_encoder(model: ConceptModel, data: TrainingSet) -> None:
    """Raise `EncoderError` unless the model was fitted on embeddings like these."""
    if model.recipe.contract and data.contract and model.recipe.contract != data.contract:
        raise EncoderError(
            f"the model reads embeddings of {model.recipe.encoder_id}, these are of {data.encoder_id}",
            hint="embed the images with the encoder and preprocessing that the model was built on",
        )


def groups_table(model: ConceptModel, data: TrainingSet, split: str) -> tuple[GroupRow, ...]:
    """Accuracy of each group in a split, the worst first; empty when the data set has no groups."""
    return group_rows(decide(model, data, split))


def confusion(model: ConceptModel, data: TrainingSet, split: str) -> Confusion:
    """How the classes of a split are taken for each other."""
    decisions = decide(model, data, split)
    c = len(model.classes)
    flat = torch.bincount(decisions.truth * c + decisions.predicted, minlength=c * c)
    return Confusion(model.classes, flat.reshape(c, c))


def accuracy_of(decisions: Decisions) -> Estimate:
    """Share of right decisions, with Wilson's interval."""
    return wilson(int((decisions.predicted == decisions.truth).sum()), len(decisions))


def group_rows(decisions: Decisions) -> tuple[GroupRow, ...]:
    """Accuracy of each named group, the worst first; images without a group are left out."""
    return _rows_by(decisions.data.groups or (), decisions)


def class_rows(decisions: Decisions) -> tuple[GroupRow, ...]:
    """Accuracy of each class that has images, the worst first."""
    names = [decisions.data.classes[label] for label in decisions.data.labels.tolist()]
    return _rows_by(names, decisions)


def _rows_by(names: Sequence[str], decisions: Decisions) -> tuple[GroupRow, ...]:
    right = Counter(compress(names, (decisions.predicted == decisions.truth).tolist()))
    rows = [GroupRow(name, wilson(right[name], count)) for name, count in Counter(names).items() if name]
    return tuple(sorted(rows, key=lambda row: (row.accuracy.value, row.group)))


def _in_classes_of(model: ConceptModel, images: TrainingSet) -> Int[Tensor, "n"]:
    """Labels as positions in the model's classes; the data set may list them in another order, or more of them."""
    known = {name: i for i, name in enumerate(model.classes)}
    place = torch.tensor([known.get(name, -1) for name in images.classes])
    truth = place[images.labels]
    if bool((truth < 0).any()):
        name = images.classes[int(images.labels[truth < 0][0])]
        raise DataError(
            f"there are images of the class {name!r}, which the model does not have",
            hint="evaluate on a split whose classes the model was fitted on",
        )
    return truth
