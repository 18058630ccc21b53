"""What a concept bank says of the images of a data set, as plain functions: scores, examples, classes, neighbours, a map.

Nothing here knows Streamlit or the database; it is to concept banks what `app.cases` is to models.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from cbm.atoms import are_atoms, codes_of_bank
from cbm.cav import project
from cbm.top_scores import top_concepts

if TYPE_CHECKING:
    from cbm.bank import ConceptBank
    from cbm.training_set import TrainingSet

IMAGES_AT_ONCE = 1024  # whose codes are held
Which = Literal["highest", "middle", "random", "lowest"]


def score(bank: "ConceptBank", data: "TrainingSet", k: int) -> Float[Tensor, "n"]:
    """Signed distance of every image to one concept's hyperplane, in standard deviations above the images' mean; of an
    atom, the codes in standard deviations, zero for an image that does not have it."""
    one = bank.select([bank.names[k]])
    if are_atoms(bank):
        codes = codes_of_bank(one, data.x)[:, 0]
        return codes / codes.std(unbiased=False).clamp(min=1e-8)
    distances = project(data.x, one.vectors, one.intercepts)[:, 0]
    return (distances - distances.mean()) / distances.std(unbiased=False).clamp(min=1e-8)


@dataclass(frozen=True)
class Use:
    """How many images use an atom, as a share, and how large its code is on those, on average, in the embeddings' units."""

    share: float
    size: float


def uses(bank: "ConceptBank", data: "TrainingSet") -> list[Use] | None:
    """How every atom of a bank is used; `None` for a bank of other concepts, which every image has more or less of."""
    if not are_atoms(bank):
        return None
    counts, sums = torch.zeros(len(bank), dtype=torch.int64), torch.zeros(len(bank), dtype=torch.float64)
    for block in torch.split(data.x, IMAGES_AT_ONCE):
        codes = codes_of_bank(bank, block)
        counts += (codes > 0).sum(0)
        sums += codes.sum(0)
    sizes = sums / counts.clamp(min=1)
    return [Use(count / len(data), size) for count, size in zip(counts.tolist(), sizes.tolist(), strict=True)]


def examples(
    values: Float[Tensor, "n"], which: Which, count: int, *, seed: int = 0, sparse: bool = False
) -> np.ndarray:
    """Positions of images by their score on one concept, `[m]`, the highest first.

    `middle` are those around the median, with `sparse` around that of the images that have the concept at all; `random`
    are drawn with the seed.
    """
    order = values.argsort(descending=True, stable=True).numpy()
    if which == "highest":
        return order[:count]
    if which == "lowest":
        return order[::-1][:count]
    if which == "middle":
        among = int((values > 0).sum()) if sparse else len(order)
        start = max(0, (among - count) // 2)
        return order[start : start + count]
    drawn = np.random.default_rng(seed).permutation(len(order))[:count]
    return order[np.sort(drawn)]


def class_means(values: Float[Tensor, "n"], data: "TrainingSet") -> list[tuple[str, float]]:
    """Mean score of each class that has images, the highest first."""
    labels = data.labels
    means = [
        (name, float(values[labels == c].mean())) for c, name in enumerate(data.classes) if bool((labels == c).any())
    ]
    return sorted(means, key=lambda pair: -pair[1])


def same_within_classes(data: "TrainingSet", concept: str) -> bool:
    """Whether the annotations of a concept are of classes rather than images: no class of two images or more has both."""
    if data.concept_labels is None or concept not in data.concepts:
        return False
    labels = data.concept_labels[:, data.concepts.index(concept)]
    known = ~labels.isnan()
    shown, classes = (labels[known] >= 0.5).double(), data.labels[known]
    counts = torch.bincount(classes, minlength=len(data.classes))
    positive = torch.bincount(classes, weights=shown, minlength=len(data.classes))
    return bool(known.any()) and int(counts.max()) > 1 and bool(((positive == 0) | (positive == counts)).all())


def nearest(bank: "ConceptBank") -> list[tuple[str, float]]:
    """For each concept, the other one whose vector is closest, and their cosine; nothing for a bank of one."""
    if len(bank) < 2:
        return [("", 0.0)] * len(bank)
    unit = normalize(bank.vectors, dim=1)
    best = top_concepts([unit], unit, 2)
    own = best.positions[:, 0] == torch.arange(len(bank))
    values, others = (torch.where(own, both[:, 1], both[:, 0]) for both in (best.values, best.positions))
    return [(bank.names[j], value) for value, j in zip(values.tolist(), others.tolist(), strict=True)]


def neighbours(bank: "ConceptBank", concept: str, count: int = 6) -> list[tuple[str, float]]:
    """The concepts whose vectors are closest to one, with their cosines."""
    k = bank.index(concept)
    unit = normalize(bank.vectors, dim=1)
    cosine = unit @ unit[k]
    order = [int(j) for j in cosine.argsort(descending=True) if int(j) != k]
    return [(bank.names[j], float(cosine[j])) for j in order[:count]]


def flat(bank: "ConceptBank") -> tuple[Float[Tensor, "k 2"], float]:
    """Every concept's place in the plane of the two first principal components of the unit vectors, and the share of
    their variance that the plane keeps. Signs are fixed, so that the same bank always gives the same map."""
    unit = normalize(bank.vectors.double(), dim=1)
    centred = unit - unit.mean(0)
    u, s, _ = torch.linalg.svd(centred, full_matrices=False)
    places = torch.zeros(len(bank), 2, dtype=torch.float64)
    kept = min(2, len(s))
    places[:, :kept] = u[:, :kept] * s[:kept]
    signs = torch.where(places.sum(0) + places[places.abs().argmax(0), [0, 1]] < 0, -1.0, 1.0)
    total = float((s**2).sum())
    return (places * signs).float(), float((s[:kept] ** 2).sum()) / total if total > 0 else 1.0
