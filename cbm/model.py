"""A concept model: a bottleneck and a head, with the names of their concepts and classes and the recipe that made them.

It is a frozen value. Nothing trains or changes it in place; edits make another one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.bank import ConceptBank, check_names
from cbm.bottleneck import Bottleneck, Clamp
from cbm.errors import ModelError, unknown
from cbm.heads import Head, LinearHead

if TYPE_CHECKING:
    from cbm.edits import Edit

Json: TypeAlias = "str | int | float | bool | list[Json] | Mapping[str, Json] | None"


@dataclass(frozen=True)
class Recipe:
    """How a model was made, enough to make it again.

    Attributes
    ----------
    method
        Name in the registry, "posthoc".
    options
        Every option of the method's config, resolved.
    encoder_id, contract
        The encoder and the preprocessing contract of the embeddings it was fitted on.
    images
        Training images it was fitted on.
    notes
        What the fit wants known beside its result ("3 concepts left out: too few images").
    """

    method: str
    options: Mapping[str, Json] = field(default_factory=dict)
    encoder_id: str = ""
    contract: str = ""
    images: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ConceptModel:
    """Embeddings to concept scores to class logits.

    Attributes
    ----------
    concepts, classes
        Names; `k` and `c` of them. A yardstick without concepts (the linear probe) has `k = 0`.
    bottleneck, head
        The two maps.
    recipe
        How it was made.
    bank
        The concept bank behind the bottleneck, one entry a concept, where there is one.
    edits
        The edits that lead from the fitted model to this one, oldest first.
    """

    concepts: tuple[str, ...]
    classes: tuple[str, ...]
    bottleneck: Bottleneck
    head: Head
    recipe: Recipe
    bank: ConceptBank | None = None
    edits: "tuple[Edit, ...]" = ()

    def __post_init__(self) -> None:
        check_names(self.concepts)

    def scores(self, x: Float[Tensor, "n d"], clamp: Clamp | None = None) -> Float[Tensor, "n k"]:
        """Concept scores `[n k]`; with a clamp, as if those scores had been what the person says."""
        return self.bottleneck(x, clamp)

    def logits(self, x: Float[Tensor, "n d"], clamp: Clamp | None = None) -> Float[Tensor, "n c"]:
        """Class logits `[n c]`."""
        return self.head(self.scores(x, clamp), x)

    def probabilities(self, x: Float[Tensor, "n d"], clamp: Clamp | None = None) -> Float[Tensor, "n c"]:
        """Softmax of the logits, `[n c]`."""
        return torch.softmax(self.logits(x, clamp), dim=1)

    def predict(self, x: Float[Tensor, "n d"], clamp: Clamp | None = None) -> Int[Tensor, "n"]:
        """Position of the most probable class, `[n]`."""
        return self.logits(x, clamp).argmax(dim=1)

    def concept(self, name: str) -> int:
        """Position of a concept; `UnknownName` with close matches if there is none."""
        if name not in self.concepts:
            raise unknown("concept", name, self.concepts)
        return self.concepts.index(name)

    def class_(self, name: str) -> int:
        """Position of a class; `UnknownName` with close matches if there is none."""
        if name not in self.classes:
            raise unknown("class", name, self.classes)
        return self.classes.index(name)

    @property
    def exact(self) -> bool:
        """Whether contributions, bias and residual add up to the logit; true for a linear head."""
        return isinstance(self.head, LinearHead)


def linear_head(model: ConceptModel) -> LinearHead:
    """The model's head, when it is linear.

    Raises
    ------
    ModelError
        If it is not.
    """
    if not isinstance(model.head, LinearHead):
        raise ModelError(
            f"a model made by {model.recipe.method} has no weight for a concept and a class",
            hint="intervene on its scores instead",
        )
    return model.head
