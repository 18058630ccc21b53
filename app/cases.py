"""What the screens compute from a model and its images, as plain functions: which images, which ranges, which tour.

Nothing here knows Streamlit or the database. Arrays are NumPy, since they feed tables and figures.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

if TYPE_CHECKING:
    from cbm.model import ConceptModel
    from cbm.training_set import TrainingSet

STANDS_OUT = 0.01  # a split this much less accurate than the usual ones is worth a look


@dataclass(frozen=True)
class Outcome:
    """What a model says of every image of a data set.

    Attributes
    ----------
    scores, logits, probabilities
        `[n k]`, `[n c]`, `[n c]`.
    labels, predictions
        Position of the true and of the most probable class in the model's classes, `[n]`; -1 for a class that the
        model does not have.
    wrong
        Whether the two differ, `[n]`.
    """

    scores: Float[Tensor, "n k"]
    logits: Float[Tensor, "n c"]
    probabilities: Float[Tensor, "n c"]
    labels: np.ndarray
    predictions: np.ndarray
    wrong: np.ndarray


def outcome(model: "ConceptModel", data: "TrainingSet") -> Outcome:
    """Run a model on every image."""
    scores = model.scores(data.x)
    logits = model.head(scores, data.x)
    predictions = logits.argmax(1).numpy()
    places = {name: position for position, name in enumerate(model.classes)}
    labels = np.array([places.get(name, -1) for name in data.classes])[data.labels.numpy()]
    return Outcome(scores, logits, torch.softmax(logits, 1), labels, predictions, predictions != labels)


def chosen(
    data: "TrainingSet", result: Outcome, *, split: str = "", class_: str = "", group: str = "", wrong: bool = False
) -> np.ndarray:
    """Positions of the images that pass the filters, `[m]`; an empty name lets all pass."""
    keep = np.ones(len(data), dtype=bool)
    if split:
        keep &= data.splits == split
    if class_ in data.classes:
        keep &= data.labels.numpy() == data.classes.index(class_)
    if group and data.groups is not None:
        keep &= np.asarray(data.groups) == group
    if wrong:
        keep &= result.wrong
    return np.flatnonzero(keep)


def around(positions: np.ndarray, current: int, count: int) -> np.ndarray:
    """The page of `count` positions that `current` is on; the first page when it is on none."""
    where = np.flatnonzero(positions == current)
    start = (int(where[0]) // count) * count if len(where) else 0
    return positions[start : start + count]


def step(positions: np.ndarray, current: int, by: int) -> int:
    """The position that lies `by` further in the list, round its end; the first when `current` is not in it."""
    where = np.flatnonzero(positions == current)
    return int(positions[(int(where[0]) + by) % len(positions)]) if len(where) else int(positions[0])


@dataclass(frozen=True)
class Ranges:
    """What each concept's score is like in the data: `low` to `high` covers 98 % of it. Shapes `[k]`."""

    low: Float[Tensor, "k"]
    high: Float[Tensor, "k"]
    mean: Float[Tensor, "k"]
    deviation: Float[Tensor, "k"]


def ranges(scores: Float[Tensor, "n k"]) -> Ranges:
    """The 1 % and 99 % quantiles, mean and standard deviation of every concept's scores."""
    values = scores.numpy()
    low, high = np.quantile(values, [0.01, 0.99], axis=0) if len(values) else np.zeros((2, values.shape[1]))
    high = np.maximum(high, low + 1e-6)
    return Ranges(
        torch.as_tensor(low, dtype=torch.float32),
        torch.as_tensor(high, dtype=torch.float32),
        scores.mean(0),
        scores.std(0, unbiased=False),
    )


def confusion_counts(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """How often label i was taken for class j, `[c c]`."""
    known = labels >= 0
    return np.bincount(labels[known] * classes + predictions[known], minlength=classes * classes).reshape(
        classes, classes
    )


def confused_pairs(counts: np.ndarray, class_: int) -> list[tuple[int, int, int]]:
    """Classes that are mixed up with one: its position, images taken for it, images of it taken for this one."""
    pairs = [(j, int(counts[class_, j]), int(counts[j, class_])) for j in range(len(counts)) if j != class_]
    return sorted((p for p in pairs if p[1] + p[2]), key=lambda p: -(p[1] + p[2]))


def separating(
    weight: Float[Tensor, "c k"], scores: Float[Tensor, "n k"], labels: np.ndarray, first: int, second: int
) -> np.ndarray:
    """What each concept adds, on average, to the margin of class `first` over `second` on images of the first
    against images of the second, `[k]`; positive concepts separate the two, negative ones mix them up."""
    ours = scores[torch.as_tensor(labels == first)].mean(0)
    theirs = scores[torch.as_tensor(labels == second)].mean(0)
    return torch.nan_to_num((weight[first] - weight[second]) * (ours - theirs)).numpy()


@dataclass(frozen=True)
class Tour:
    """A mistake that a single concept explains, for the guided path.

    Attributes
    ----------
    split
        The split on which the model is weakest.
    concept
        The concept that pushes the mistakes of that split the most towards the wrong class.
    image
        Position of the mistake in which that concept matters most; one that shows it, if there is one.
    accuracy, elsewhere
        Accuracy on the split, and on the test (or validation) images.
    """

    split: str
    concept: int
    image: int
    accuracy: float
    elsewhere: float


def tour(model: "ConceptModel", data: "TrainingSet", result: Outcome) -> Tour | None:
    """Find the split that goes wrong most and the concept that is most to blame; `None` if no split stands out.

    A concept's blame on a wrong image is what it adds to the logit of the prediction beyond the label's.
    """
    from cbm.model import linear_head

    if not model.exact or not model.concepts:
        return None
    weight = linear_head(model).weight
    shares = {s: float(1 - result.wrong[data.splits == s].mean()) for s in data.split_names if s != "train"}
    if not shares:
        return None
    split = min(shares, key=lambda s: shares[s])
    wrong = np.flatnonzero((data.splits == split) & result.wrong & (result.labels >= 0))
    elsewhere = next((shares[s] for s in ("test", "val") if s in shares and s != split), shares[split])
    if len(wrong) == 0 or elsewhere - shares[split] < STANDS_OUT:
        return None
    said, labels = torch.as_tensor(result.predictions[wrong]), torch.as_tensor(result.labels[wrong])
    blame = (weight[said] - weight[labels]) * result.scores[torch.as_tensor(wrong)]  # [m k]
    concept = int(blame.mean(0).argmax())
    seen = result.scores[torch.as_tensor(wrong), concept] > 0  # what is in the picture is easier to believe
    worst = blame[:, concept].where(seen | ~seen.any(), torch.tensor(-torch.inf))
    return Tour(split, concept, int(wrong[int(worst.argmax())]), shares[split], elsewhere)
