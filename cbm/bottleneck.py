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

SHORTEST = 1e-6  # squared length of a profile, as a share of the longest possible, below which it is rounding


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
        self._check_width(x)
        scores = torch.addmm(self.bias, x, self.weight.T)
        return scores if clamp is None else torch.where(clamp.mask, clamp.values, scores)

    def _check_width(self, x: Float[Tensor, "n d"]) -> None:
        if x.shape[1] != self.weight.shape[1]:
            raise ModelError(
                f"the embeddings have {x.shape[1]} dimensions, but this model reads {self.weight.shape[1]}",
                hint="embed the images with the encoder that the model was built on",
            )


@dataclass(frozen=True)
class ProfileBottleneck(LinearBottleneck):
    """Scores that are entries of the image's concept profile, scaled to unit length: `x @ weight.T / |profile| + bias`.

    The length comes from the Gram matrix of the concepts, so it costs the same for any number of them, and stays what
    it was when concepts are dropped, merged or rescaled.

    Attributes
    ----------
    weight, bias
        As in the linear bottleneck; the bias is added last.
    gram
        `[d d]`, positive semi-definite; `x @ gram @ x` is the squared length of the profile of `x`.
    total
        `[d]`, or `None`. Where `x @ total` is negative, the profile changes its sign.
    """

    gram: Float[Tensor, "d d"]
    total: Float[Tensor, "d"] | None = None

    def __call__(self, x: Float[Tensor, "n d"], clamp: Clamp | None = None) -> Float[Tensor, "n k"]:
        """Scores `[n k]`; zero where an image has nothing in common with any concept. Raises as the linear one."""
        self._check_width(x)
        squared = ((x @ self.gram) * x).sum(1)
        rounding = SHORTEST * self.gram.trace() * x.square().sum(1)
        length = torch.where(squared > rounding, squared, torch.inf).sqrt()
        if self.total is not None:
            length = torch.where(x @ self.total < 0, -length, length)
        scores = x @ self.weight.T / length[:, None] + self.bias
        return scores if clamp is None else torch.where(clamp.mask, clamp.values, scores)
