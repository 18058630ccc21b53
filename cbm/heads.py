"""A head maps concept scores to class logits and says what each concept contributed.

The linear head may carry a residual: class weights on the embedding itself, as in the hybrid post-hoc CBM. What the
residual adds is reported apart from the concepts, never spread over them.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Head(Protocol):
    """Concept scores (and the embedding, for a residual) to class logits."""

    def __call__(self, s: Float[Tensor, "n k"], x: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Logits `[n c]`."""
        ...

    def contributions(self, s: Float[Tensor, "n k"], x: Float[Tensor, "n d"], target: int) -> Float[Tensor, "n k"]:
        """What each concept adds to the logit of class `target`."""
        ...

    def effects(self) -> Float[Tensor, "c k"]:
        """What one unit of a concept's score adds to each class's logit, the other scores being as they usually are."""
        ...


@dataclass(frozen=True)
class LinearHead:
    """Logits that are affine in the scores: `s @ weight.T + bias`, plus `x @ residual.T` if there is one.

    Attributes
    ----------
    weight
        One row for each class, `[c k]`. Two classes have two rows.
    bias
        Shape `[c]`.
    residual
        Class weights on the embedding, `[c d]`, or `None`.
    """

    weight: Float[Tensor, "c k"]
    bias: Float[Tensor, "c"]
    residual: Float[Tensor, "c d"] | None = None

    def __call__(self, s: Float[Tensor, "n k"], x: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Logits `[n c]`."""
        logits = torch.addmm(self.bias, s, self.weight.T)
        return logits if self.residual is None else logits + x @ self.residual.T

    def contributions(self, s: Float[Tensor, "n k"], x: Float[Tensor, "n d"], target: int) -> Float[Tensor, "n k"]:
        """Weight times score. Exact: with bias and residual they sum to the logit."""
        return s * self.weight[target]

    def effects(self) -> Float[Tensor, "c k"]:
        """What one unit of a concept's score adds to each logit: its weight."""
        return self.weight

    def residual_logits(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """What the residual adds to every logit; zero when there is none."""
        return x.new_zeros(len(x), len(self.bias)) if self.residual is None else x @ self.residual.T


def residual_share(head: LinearHead, s: Float[Tensor, "n k"], x: Float[Tensor, "n d"]) -> float:
    """Variance of the residual's logits over images as a share of the variance of all logits.

    Zero without a residual. Can exceed 1 when the residual works against the concepts.

    Notes
    -----
    Each image's logits are taken relative to their mean over classes, because adding the same number to all of them
    changes no decision.
    """
    residual, logits = relative_logits(head.residual_logits(x)), relative_logits(head(s, x))
    total = float(logits.double().var(0, correction=0).sum())
    return float(residual.double().var(0, correction=0).sum()) / total if total > 0 else 0.0


def relative_logits(logits: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
    """Logits relative to the image's mean over classes."""
    return logits - logits.mean(1, keepdim=True)
