"""What is minimised: a loss of scores and labels, and an elastic-net penalty on the weights."""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from cbm.linear_scores import LinearScores
from cbm.newton.images import Images
from cbm.newton.losses import LOSSES, Loss, LossName
from cbm.newton.scores import Factored, Scores, Stored


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
    """Scores and labels.

    Attributes
    ----------
    scores
        Centred, laid out for access to one concept's scores.
    loss
        Knows the labels.
    allowed
        Which weights may differ from zero, `[c k]`, or `None` for all.
    """

    scores: Scores
    loss: Loss
    allowed: Bool[Tensor, "c k"] | None = None

    def gradient(self, residual: Float[Tensor, "c n"]) -> Float[Tensor, "c k"]:
        """Mean over images of residual times score; zero where a weight is not allowed."""
        gradient = self.scores.gradient(residual)
        return gradient if self.allowed is None else gradient * self.allowed

    def null_gradient(self) -> Float[Tensor, "c k"]:
        """Gradient when all weights are zero and the biases optimal."""
        return self.gradient(-self.loss.target)


def centred_problem(
    s: Float[Tensor, "n k"] | LinearScores,
    y: Int[Tensor, "n"],
    classes: int,
    images: Images,
    *,
    loss: LossName,
    allowed: Bool[Tensor, "c k"] | None = None,
) -> Problem:
    """The data in this layout; takes one copy of a table of scores. Every class must have an image somewhere."""
    scores = Factored(s, images) if isinstance(s, LinearScores) else Stored(s, images)
    return Problem(scores, LOSSES[loss](y, classes, scores.means.dtype, images), allowed)
