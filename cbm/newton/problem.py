"""What is minimised: a loss of scores and labels, and an elastic-net penalty on the weights."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cbm.newton.losses import LOSSES, Loss, LossName


@dataclass(frozen=True)
class Penalty:
    """``l1 |w|_1 + l2 / 2 |w|_2^2``."""

    l1: float
    l2: float

    def __call__(self, weight: Float[Tensor, "*shape"]) -> float:
        """Value, in double precision."""
        w = weight.double()
        return float(self.l1 * w.abs().sum() + self.l2 / 2 * (w * w).sum())

    def conjugate(self, gradient: Float[Tensor, "c k"]) -> float:
        """Convex conjugate; infinite without l2 where a gradient exceeds l1."""
        beyond = (gradient.abs() - self.l1).clamp_min(0).double()
        if self.l2 == 0:
            return float("inf") if float(beyond.max()) > 1e-6 * self.l1 else 0.0
        return float((beyond * beyond).sum()) / (2 * self.l2)


@dataclass(frozen=True)
class Problem:
    """Scores and labels, laid out for access to one concept's scores.

    Attributes
    ----------
    columns
        Centred scores, `[k n]`. Centring changes nothing but the biases, which are free, and keeps float32 accurate
        when scores share a large mean.
    means
        What was taken off, `[k]`.
    loss
        Knows the labels.
    factors
        Two matrices whose product are the centred scores, or `None`.
    allowed
        Which weights may differ from zero, `[c k]`, or `None` for all.
    """

    columns: Float[Tensor, "k n"]
    means: Float[Tensor, "k"]
    loss: Loss
    factors: tuple[Float[Tensor, "n d"], Float[Tensor, "d k"]] | None = None
    allowed: Bool[Tensor, "c k"] | None = None

    def logits(self, weight: Float[Tensor, "c k"]) -> Float[Tensor, "c n"]:
        """Weights times centred scores."""
        if self.factors is None:
            return weight @ self.columns
        images, concepts = self.factors
        return (weight @ concepts.T) @ images.T  # [c k] @ [k d] @ [d n]

    def gradient(self, residual: Float[Tensor, "c n"]) -> Float[Tensor, "c k"]:
        """Mean over images of residual times score; zero where a weight is not allowed."""
        n = residual.shape[1]
        if self.factors is None:
            gradient = residual @ self.columns.T / n
        else:
            images, concepts = self.factors
            gradient = (residual @ images) @ concepts / n  # [c n] @ [n d] @ [d k]
        return gradient if self.allowed is None else gradient * self.allowed

    def null_gradient(self) -> Float[Tensor, "c k"]:
        """Gradient when all weights are zero and the biases optimal."""
        return self.gradient(-self.loss.target)


def centred_problem(
    s: Float[Tensor, "n k"],
    y: Int[Tensor, "n"],
    classes: int,
    *,
    loss: LossName,
    factors: tuple[Float[Tensor, "n d"], Float[Tensor, "d k"]] | None = None,
    allowed: Bool[Tensor, "c k"] | None = None,
) -> Problem:
    """The data in this layout; takes one copy of the scores. Every class must have an image."""
    means = s.mean(0, dtype=torch.float64).to(s.dtype)
    columns = (s - means).T.contiguous()
    if factors is not None:
        images, concepts = factors
        factors = (images - images.mean(0), concepts)
    return Problem(columns, means, LOSSES[loss](y, classes, s.dtype), factors, allowed)
