"""A bottleneck maps embeddings to concept scores; a person's correction enters it as a `Clamp`.

The linear bottleneck overwrites the clamped scores. A bottleneck that infers its scores (the energy model) holds
them fixed and infers the rest again: the same call, a richer answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cbm.errors import ModelError, unknown


@dataclass(frozen=True)
class Clamp:
    """Scores that a person has set: where `mask` is true, the score is `values`. Shapes `[k]` or `[n k]`."""

    mask: Bool[Tensor, "*n k"]
    values: Float[Tensor, "*n k"]


def clamp_of(concepts: Sequence[str], scores: Mapping[str, float]) -> Clamp:
    """The clamp that sets these concepts, by name, on every image.

    Raises
    ------
    UnknownName
        If a name is not among the concepts.
    """
    values = torch.full((len(concepts),), torch.nan)
    for name, score in scores.items():
        if name not in concepts:
            raise unknown("concept", name, concepts)
        values[concepts.index(name)] = score
    return Clamp(mask=~values.isnan(), values=values.nan_to_num())


@runtime_checkable
class Bottleneck(Protocol):
    """Embeddings to concept scores."""

    def __call__(self, x: Float[Tensor, "n d"], clamp: Clamp | None = None) -> Float[Tensor, "n k"]:
        """Scores of every concept; the clamped ones are what the clamp says."""
        ...


@dataclass(frozen=True)
class LinearBottleneck:
    """Scores that are affine in the embedding: `x @ weight.T + bias`.

    Attributes
    ----------
    weight
        One row for each concept, `[k d]`.
    bias
        Shape `[k]`.
    """

    weight: Float[Tensor, "k d"]
    bias: Float[Tensor, "k"]

    def __call__(self, x: Float[Tensor, "n d"], clamp: Clamp | None = None) -> Float[Tensor, "n k"]:
        """Scores `[n k]`.

        Raises
        ------
        ModelError
            If the embeddings have another width than the bottleneck's rows.
        """
        if x.shape[1] != self.weight.shape[1]:
            raise ModelError(
                f"the embeddings have {x.shape[1]} dimensions, but this model reads {self.weight.shape[1]}",
                hint="embed the images with the encoder that the model was built on",
            )
        scores = torch.addmm(self.bias, x, self.weight.T)
        return scores if clamp is None else torch.where(clamp.mask, clamp.values, scores)
