"""What an energy model believes of classes and concepts in general: p(c | y), p(c' | c), p(y | c) and p(c' | c, y).

Concepts are drawn for every image by its own concept energies, and each draw is weighted by how probable the global
energy makes each class. Beside it stands the published count of predictions, labelled as such.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.energy_parts import EnergyBottleneck
from cbm.errors import ModelError
from cbm.mean_field import Coupling
from cbm.model import ConceptModel
from cbm.training_set import TrainingSet

DRAWS = 16  # concept vectors an image


@dataclass(frozen=True)
class Conditionals:
    """Conditional probabilities over the images of a split; NaN where the condition never holds.

    Attributes
    ----------
    given_class, error
        That a concept is present in a class, `[c k]`, and its standard error.
    given_concept
        That the second concept is present where the first is, `[k k]`.
    class_given
        Of each class where a concept is present, `[c k]`.
    effective
        How many equally weighted draws each class is worth, `[c]`.
    draws
        All draws.
    """

    given_class: Float[Tensor, "c k"]
    error: Float[Tensor, "c k"]
    given_concept: Float[Tensor, "k k"]
    class_given: Float[Tensor, "c k"]
    effective: Float[Tensor, "c"]
    draws: int


def conditional_probabilities(
    model: ConceptModel, data: TrainingSet, *, split: str = "test", draws: int = DRAWS, seed: int = 0
) -> Conditionals:
    """Conditional probabilities by the model's own energies, averaged over the images of a split.

    Raises
    ------
    ModelError
        If the model has no energies.
    UnknownName
        If no image is in the split.

    References
    ----------
    Xu, Qin, Mi, Wang, Li, "Energy-based concept bottleneck models", ICLR 2024, propositions 3.2 to 3.5.

    Notes
    -----
    `p(c | x)` is a product, so its draws are exact and independent; a draw `c` counts `p(y | c)` for class `y`.
    """
    c, weight = drawn(model, data, split=split, draws=draws, seed=seed)
    found = weighted(c, weight)
    return Conditionals(
        **found, error=_error(c, weight, found["given_class"]), effective=_effective(weight), draws=len(c)
    )


def drawn(
    model: ConceptModel, data: TrainingSet, *, split: str = "test", draws: int = DRAWS, seed: int = 0
) -> tuple[Float[Tensor, "m k"], Float[Tensor, "m c"]]:
    """Concept vectors drawn for the images of a split, and how probable each class is with them; raises as `conditional_probabilities`."""
    energies = model.bottleneck
    if not isinstance(energies, EnergyBottleneck):
        raise ModelError(
            f"a model made by {model.recipe.method} has no joint distribution of concepts and classes",
            hint="fit an energy-based CBM (ecbm)",
        )
    q = torch.sigmoid(energies.concept_logits(data.split(split).x)).repeat(draws, 1)
    c = (torch.rand(q.shape, generator=torch.Generator().manual_seed(seed)) < q).float()
    between = Coupling(energies.start, energies.change, energies.global_table)
    return c, torch.softmax(-between.energy(c), 1)


def weighted(c: Float[Tensor, "m k"], weight: Float[Tensor, "m c"]) -> dict[str, Tensor]:
    """The tables of `Conditionals` from concept vectors and the weight of each class in each."""
    joint, present = weight.T @ c, c.sum(0)
    return {
        "given_class": joint / weight.sum(0)[:, None],
        "given_concept": (c.T @ c) / present[:, None],
        "class_given": joint / present,
    }


def within_class(c: Float[Tensor, "m k"], weight: Float[Tensor, "m"]) -> Float[Tensor, "k k"]:
    """That the second concept is present where the first is, in the class of these weights, `[k k]`."""
    together = (c * weight[:, None]).T @ c
    return together / together.diagonal()[:, None]


def counted(model: ConceptModel, data: TrainingSet, *, split: str = "test") -> dict[str, Tensor]:
    """The published version: relative frequencies among the model's own decisions, no probability of the joint."""
    x = data.split(split).x
    scores = model.scores(x)
    decided = torch.nn.functional.one_hot(model.head(scores, x).argmax(1), len(model.classes))
    return weighted((scores > 0.5).float(), decided.float())


def annotated(model: ConceptModel, data: TrainingSet, *, split: str = "test") -> dict[str, Tensor]:
    """The same frequencies among annotations and labels: what is true of these images.

    Raises
    ------
    ModelError
        If the model's concepts or classes are not those that are annotated, in their order, on every image.
    """
    images = data.split(split)
    labels = images.concept_labels
    if labels is None or model.concepts != data.concepts or model.classes != data.classes or bool(labels.isnan().any()):
        raise ModelError("the concepts of the model are not annotated on all images", hint="choose annotated images")
    own = torch.nn.functional.one_hot(images.labels, len(model.classes)).float()
    return weighted((labels >= 0.5).float(), own)


def _error(c: Float[Tensor, "m k"], weight: Float[Tensor, "m c"], mean: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """Standard error of the self-normalised weighted means."""
    square = weight.square()
    spread = square.T @ c * (1 - 2 * mean) + square.sum(0)[:, None] * mean.square()  # c is 0 or 1
    return spread.clamp(min=0).sqrt() / weight.sum(0)[:, None]


def _effective(weight: Float[Tensor, "m c"]) -> Float[Tensor, "c"]:
    return weight.sum(0).square() / weight.square().sum(0)
