"""The two losses of a linear head, seen one class at a time: softmax cross-entropy and one-vs-rest logistic loss.

Both are written for class-major logits ``[c n]``, because the solver changes one class's row at a time. A loss knows
its value, its probabilities, how the value answers to a change of one row, and its dual: the entropy of a table of
probabilities, from which the solver certifies how far it is from the optimum.
"""

from collections.abc import Callable
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from cbm.newton.images import Images

LossName = Literal["multinomial", "one-vs-rest"]


@runtime_checkable
class Loss(Protocol):
    """Convex loss of class-major logits of the images that are here; values and averages are over all images.

    Attributes
    ----------
    target
        The table of labels that probabilities are compared with, `[c n]`.
    frequency
        Share of each class in all images, `[c]`, in double precision.
    """

    target: Float[Tensor, "c n"]
    frequency: Float[Tensor, "c"]

    def value(self, logits: Float[Tensor, "c n"]) -> float:
        """Loss, averaged over images."""
        ...

    def probabilities(self, logits: Float[Tensor, "c n"]) -> Float[Tensor, "c n"]:
        """Probability of each class for each image."""
        ...

    def entropy(self, probabilities: Float[Tensor, "c n"]) -> float:
        """Negative conjugate of the loss at ``probabilities - target``, averaged over images."""
        ...

    def bias_curvature(self, probabilities: Float[Tensor, "c n"]) -> Float[Tensor, "c c"]:
        """Hessian of the loss in the biases."""
        ...

    def curvature(self, probabilities: Float[Tensor, "c n"], shift: Float[Tensor, "c n"]) -> Float[Tensor, "c n"]:
        """Hessian in the logits of each image, times a shift of its logits."""
        ...

    def null_bias(self) -> Float[Tensor, "c"]:
        """Biases whose constant probabilities are the class frequencies."""
        ...

    def odds(self, excess: Float[Tensor, "c"]) -> Float[Tensor, "c"]:
        """Smallest odds at which mixing in constant probabilities can cancel an excess of mean probability."""
        ...

    def start_round(self, logits: Float[Tensor, "c n"]) -> None:
        """Take the logits as they are before a round of single-class changes."""
        ...

    def row(self, c: int) -> Float[Tensor, "n"]:
        """Probability of class ``c`` under the changes made so far in this round."""
        ...

    def change(self, c: int, shift: Float[Tensor, "n"]) -> float:
        """Change of the loss if the logits of class ``c`` move by ``shift``."""
        ...

    def commit(self, c: int, shift: Float[Tensor, "n"]) -> None:
        """Move the logits of class ``c`` by ``shift``."""
        ...


class Multinomial:
    """Cross-entropy of the softmax over classes."""

    def __init__(self, labels: Int[Tensor, "n"], classes: int, dtype: torch.dtype, images: Images) -> None:
        self.target, self.frequency = _table(labels, classes, dtype, images)
        self._images = images
        self._labels = labels[None]
        self._members = [torch.nonzero(labels == c).flatten() for c in range(classes)]

    def value(self, logits: Float[Tensor, "c n"]) -> float:
        """Mean of ``log sum exp(z) - z_label``."""
        gaps = logits.logsumexp(0) - logits.gather(0, self._labels)[0]
        return float(self._images.mean(gaps.sum(dtype=torch.float64)))

    def probabilities(self, logits: Float[Tensor, "c n"]) -> Float[Tensor, "c n"]:
        """Softmax over classes."""
        return logits.softmax(0)

    def entropy(self, probabilities: Float[Tensor, "c n"]) -> float:
        """Mean Shannon entropy of an image's distribution over classes, in nats."""
        return float(self._images.mean(_entropy(probabilities)))

    def bias_curvature(self, probabilities: Float[Tensor, "c n"]) -> Float[Tensor, "c c"]:
        """``diag(mean p) - mean p p'``; singular along the constant vector."""
        together = self._images.mean(probabilities @ probabilities.T)
        return torch.diag(together.sum(1)) - together  # an image has 1 in all: singular to the last digit

    def curvature(self, probabilities: Float[Tensor, "c n"], shift: Float[Tensor, "c n"]) -> Float[Tensor, "c n"]:
        """``p * (shift - its mean under p)``."""
        return probabilities * (shift - (probabilities * shift).sum(0))

    def null_bias(self) -> Float[Tensor, "c"]:
        """Logarithm of the frequencies."""
        return self.frequency.log().to(self.target.dtype)

    def odds(self, excess: Float[Tensor, "c"]) -> Float[Tensor, "c"]:
        """One number for all classes: a mixed distribution has to stay non-negative everywhere."""
        ratio = torch.where(excess > 0, excess / self.frequency, 0.0)
        return ratio.max().expand_as(excess)

    def start_round(self, logits: Float[Tensor, "c n"]) -> None:
        """Store ``exp(z - log sum exp z)``, which the round keeps up to date with its sum over classes."""
        self._mass = logits.softmax(0)
        self._total = torch.ones_like(logits[0])

    def row(self, c: int) -> Float[Tensor, "n"]:
        """Share of class ``c`` in the current total mass."""
        return self._mass[c] / self._total

    def change(self, c: int, shift: Float[Tensor, "n"]) -> float:
        """``mean log(1 + p (exp(shift) - 1))`` less the shift of the class's own images."""
        growth = (self.row(c) * torch.expm1(shift)).log1p()
        own = shift[self._members[c]].sum(dtype=torch.float64)
        return float(self._images.mean(growth.sum(dtype=torch.float64) - own))

    def commit(self, c: int, shift: Float[Tensor, "n"]) -> None:
        """Multiply the class's mass by ``exp(shift)``."""
        moved = self._mass[c] * shift.exp()
        self._total = (self._total + (moved - self._mass[c])).clamp_min_(torch.finfo(moved.dtype).tiny)
        self._mass[c] = moved


class OneVsRest:
    """Sum over classes of the binary logistic loss of that class against all others."""

    def __init__(self, labels: Int[Tensor, "n"], classes: int, dtype: torch.dtype, images: Images) -> None:
        self.target, self.frequency = _table(labels, classes, dtype, images)
        self._images = images

    def value(self, logits: Float[Tensor, "c n"]) -> float:
        """Mean over images of ``sum_c log(1 + exp(z_c)) - t_c z_c``."""
        terms = softplus(logits) - self.target * logits
        return float(self._images.mean(terms.sum(dtype=torch.float64)))

    def probabilities(self, logits: Float[Tensor, "c n"]) -> Float[Tensor, "c n"]:
        """Logistic function of each logit."""
        return logits.sigmoid()

    def entropy(self, probabilities: Float[Tensor, "c n"]) -> float:
        """Mean over images of the summed binary entropies, in nats."""
        return float(self._images.mean(_entropy(probabilities) + _entropy(1 - probabilities)))

    def bias_curvature(self, probabilities: Float[Tensor, "c n"]) -> Float[Tensor, "c c"]:
        """``diag(mean p (1 - p))``: the classes are independent."""
        return torch.diag(self._images.mean((probabilities * (1 - probabilities)).sum(1)))

    def curvature(self, probabilities: Float[Tensor, "c n"], shift: Float[Tensor, "c n"]) -> Float[Tensor, "c n"]:
        """``p * (1 - p) * shift``."""
        return probabilities * (1 - probabilities) * shift

    def null_bias(self) -> Float[Tensor, "c"]:
        """Log-odds of the frequencies; a class with every image stays finite."""
        return self.frequency.logit(1e-6).to(self.target.dtype)

    def odds(self, excess: Float[Tensor, "c"]) -> Float[Tensor, "c"]:
        """One number per class, from the side of the unit interval that is nearer."""
        room = torch.where(excess > 0, self.frequency, 1 - self.frequency)
        return torch.where(excess != 0, excess.abs() / room, 0.0)

    def start_round(self, logits: Float[Tensor, "c n"]) -> None:
        """Keep the logits; each row is on its own."""
        self._logits = logits.clone()

    def row(self, c: int) -> Float[Tensor, "n"]:
        """Probability of class ``c``."""
        return self._logits[c].sigmoid()

    def change(self, c: int, shift: Float[Tensor, "n"]) -> float:
        """Difference of the class's mean logistic loss."""
        before, target = self._logits[c], self.target[c]
        terms = softplus(before + shift) - softplus(before) - target * shift
        return float(self._images.mean(terms.sum(dtype=torch.float64)))

    def commit(self, c: int, shift: Float[Tensor, "n"]) -> None:
        """Add the shift."""
        self._logits[c] += shift


def _entropy(probabilities: Float[Tensor, "c n"]) -> Float[Tensor, ""]:
    """Sum of ``-p log p``, a class at a time: faster than `torch.special.entr` by far, and short of memory."""
    smallest = torch.finfo(probabilities.dtype).tiny
    sums = [-(row * row.clamp_min(smallest).log()).sum(dtype=torch.float64) for row in probabilities]
    return torch.stack(sums).sum()


def _table(
    labels: Int[Tensor, "n"], classes: int, dtype: torch.dtype, images: Images
) -> tuple[Float[Tensor, "c n"], Float[Tensor, "c"]]:
    """Targets of the images that are here, and frequencies of the classes in all."""
    target = torch.zeros(classes, len(labels), dtype=dtype).scatter_(0, labels[None], 1.0)
    return target, images.mean(target.sum(1, dtype=torch.float64))


LOSSES: dict[LossName, Callable[[Int[Tensor, "n"], int, torch.dtype, Images], Loss]] = {
    "multinomial": Multinomial,
    "one-vs-rest": OneVsRest,
}
