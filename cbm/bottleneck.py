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
        check_width(x, self.weight)
        scores = torch.addmm(self.bias, x, self.weight.T)
        return scores if clamp is None else torch.where(clamp.mask, clamp.values, scores)

    def directions(self, x: Float[Tensor, "d"]) -> Float[Tensor, "k d"]:
        """The directions of which this image's scores are the sum: `directions(x) @ x + bias`."""
        return self.weight


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
        check_width(x, self.weight)
        scores = x @ self.weight.T / self._length(x)[:, None] + self.bias
        return scores if clamp is None else torch.where(clamp.mask, clamp.values, scores)

    def directions(self, x: Float[Tensor, "d"]) -> Float[Tensor, "k d"]:
        """As in the linear bottleneck, with the profile's length held as it is on this image."""
        return self.weight / self._length(x[None])

    def _length(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n"]:
        """Signed length of each image's profile; infinite where there is none."""
        squared = ((x @ self.gram) * x).sum(1)
        rounding = SHORTEST * self.gram.trace() * x.square().sum(1)
        length = torch.where(squared > rounding, squared, torch.inf).sqrt()
        return length if self.total is None else torch.where(x @ self.total < 0, -length, length)


@dataclass(frozen=True)
class ReluBottleneck:
    """Scores that are sums of atoms' codes: `codes @ weight.T + bias`; a code is zero unless it exceeds its threshold.

    An atom reads `x @ atoms.T + offsets`. Fitted, each concept has one atom, whose code the weight scales; edits act on
    weight and bias as on those of a linear bottleneck, so that a merged concept has several atoms.

    Attributes
    ----------
    weight, bias
        `[k m]` and `[k]`, on the codes.
    atoms, offsets, thresholds
        `[m d]`, `[m]` and `[m]`; a code that exceeds its threshold is not shortened by it.
    """

    weight: Float[Tensor, "k m"]
    bias: Float[Tensor, "k"]
    atoms: Float[Tensor, "m d"]
    offsets: Float[Tensor, "m"]
    thresholds: Float[Tensor, "m"]

    def __call__(self, x: Float[Tensor, "n d"], clamp: Clamp | None = None) -> Float[Tensor, "n k"]:
        """Scores `[n k]`; raises as the linear bottleneck."""
        check_width(x, self.atoms)
        read = torch.addmm(self.offsets, x, self.atoms.T)
        codes = torch.where(read > self.thresholds, read, 0.0)
        scores = torch.addmm(self.bias, codes, self.weight.T)
        return scores if clamp is None else torch.where(clamp.mask, clamp.values, scores)

    def directions(self, x: Float[Tensor, "d"]) -> Float[Tensor, "k d"]:
        """As in the linear bottleneck, with the atoms that are active on this image; what they add to it is constant."""
        active = self.atoms @ x + self.offsets > self.thresholds
        return (self.weight * active) @ self.atoms


@dataclass(frozen=True)
class GatedBottleneck:
    """Scores that are sums of readings, each let through by a gate of its own: `(gate * reading) @ weight.T + bias`.

    A reading is `x @ atoms.T + offsets`, what opens its gate is `x @ gates.T + openings`. Fitted, each concept has one
    reading and one gate; edits act on weight and bias, as on those of a linear bottleneck.

    Attributes
    ----------
    weight, bias
        `[k m]` and `[k]`, on the readings that came through.
    atoms, offsets, gates, openings
        `[m d]`, `[m]`, `[m d]` and `[m]`.
    temperature
        A single number. Zero is a hard gate, 1 where its opening is positive and else 0; above it the gate is the
        logistic function of opening / temperature.
    """

    weight: Float[Tensor, "k m"]
    bias: Float[Tensor, "k"]
    atoms: Float[Tensor, "m d"]
    offsets: Float[Tensor, "m"]
    gates: Float[Tensor, "m d"]
    openings: Float[Tensor, "m"]
    temperature: Float[Tensor, ""]

    def __call__(self, x: Float[Tensor, "n d"], clamp: Clamp | None = None) -> Float[Tensor, "n k"]:
        """Scores `[n k]`; raises as the linear bottleneck."""
        check_width(x, self.atoms)
        readings = torch.addmm(self.offsets, x, self.atoms.T)
        scores = torch.addmm(self.bias, self.open(x) * readings, self.weight.T)
        return scores if clamp is None else torch.where(clamp.mask, clamp.values, scores)

    def open(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n m"]:
        """How far the gate of each reading is open, between 0 and 1."""
        opening = torch.addmm(self.openings, x, self.gates.T)
        hard = self.temperature == 0  # no branch on it, so that the model can be traced
        soft = torch.sigmoid(opening / torch.where(hard, 1.0, self.temperature))
        return torch.where(hard, (opening > 0).to(x.dtype), soft)


def check_width(x: Float[Tensor, "n d"], rows: Float[Tensor, "m e"]) -> None:
    """`ModelError` if the embeddings have another width than the rows that read them."""
    if x.shape[1] != rows.shape[1]:
        raise ModelError(
            f"the embeddings have {x.shape[1]} dimensions, but this model reads {rows.shape[1]}",
            hint="embed the images with the encoder that the model was built on",
        )
