"""Dense heads: multinomial logistic regression with a ridge penalty, on embeddings or on top of logits that are fixed.

    minimise  mean cross-entropy(offset + x @ W.T + b, y) + ridge / 2 * |W|^2

The problem is convex and smooth; it is solved with L-BFGS in double precision until the gradient vanishes. The linear
probe is this head on its own, the residual of a hybrid is this head on top of the concepts' logits.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.optimize import minimize
from torch import Tensor
from torch.nn.functional import cross_entropy

from cbm.progress import OnProgress, Reading, part, silent

RIDGES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
STEPS = 500  # of L-BFGS; a step is one to two gradients
FLAT = 1e-6  # largest entry of the gradient at which we stop


@dataclass(frozen=True)
class DenseHead:
    """Class weights on an embedding: logits are `x @ weight.T + bias`.

    Attributes
    ----------
    weight, bias
        Shapes `[c d]` and `[c]`.
    ridge
        The penalty it was fitted with, for embeddings scaled to unit mean square.
    """

    weight: Float[Tensor, "c d"]
    bias: Float[Tensor, "c"]
    ridge: float

    def __call__(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Logits `[n c]`."""
        return torch.addmm(self.bias, x, self.weight.T)


def fit_dense(
    x: Float[Tensor, "n d"],
    y: Int[Tensor, "n"],
    classes: int,
    *,
    ridge: float,
    offset: Float[Tensor, "n c"] | None = None,
    warm: DenseHead | None = None,
    on_progress: OnProgress = silent,
) -> DenseHead:
    """The weights that minimise cross-entropy plus ridge.

    Parameters
    ----------
    y
        Class of each image, `0 .. classes - 1`.
    ridge
        For embeddings that are centred and scaled, as a whole, to unit mean square in each dimension, so that the
        same number means the same for encoders of different scale. The bias is free.
    offset
        Logits to add to: what is fitted is the rest.
    warm
        A solution of a nearby problem to start from.
    """
    mean = x.mean(0, dtype=torch.float64)
    centred = x.double() - mean
    scale = float(centred.square().mean().sqrt()) or 1.0
    centred /= scale
    fixed = torch.zeros(len(x), classes, dtype=torch.float64) if offset is None else offset.double()
    start = np.zeros(classes * (x.shape[1] + 1)) if warm is None else _flat(warm, mean, scale)
    problem = _Problem(centred, y, fixed, ridge, on_progress)
    found = minimize(
        problem, start, jac=True, method="L-BFGS-B", callback=problem.step,
        options={"maxiter": STEPS, "maxfun": 2 * STEPS, "gtol": FLAT, "ftol": 1e-12, "maxcor": 20},
    )  # fmt: skip
    table = torch.from_numpy(found.x).reshape(classes, -1)
    weight = table[:, :-1] / scale
    bias = table[:, -1] - weight @ mean
    return DenseHead(weight.float(), bias.float(), ridge)


def choose_dense(
    train: tuple[Float[Tensor, "n d"], Int[Tensor, "n"]],
    held: tuple[Float[Tensor, "m d"], Int[Tensor, "m"]],
    classes: int,
    *,
    offsets: tuple[Float[Tensor, "n c"], Float[Tensor, "m c"]] | None = None,
    ridges: Sequence[float] = RIDGES,
    on_progress: OnProgress = silent,
) -> DenseHead:
    """The head with the ridge whose cross-entropy on held-out images is least, so that its probabilities mean something.

    Ridges are tried from the strongest on. Weaker ones fit the training images ever closer at ever more cost, so the
    search ends once two in a row were worse than the best.
    """
    found: list[tuple[float, DenseHead]] = []
    warm = None
    for i, ridge in enumerate(sorted(ridges, reverse=True)):
        stage = part(on_progress, i / len(ridges), (i + 1) / len(ridges))
        offset = None if offsets is None else offsets[0]
        warm = fit_dense(*train, classes, ridge=ridge, offset=offset, warm=warm, on_progress=stage)
        logits = warm(held[0]) if offsets is None else warm(held[0]) + offsets[1]
        found.append((float(cross_entropy(logits, held[1])), warm))
        if _past_the_best(found):
            break
    return min(found, key=lambda scored: scored[0])[1]


def _past_the_best(found: Sequence[tuple[float, DenseHead]]) -> bool:
    """Whether the last two have more cross-entropy than some head before them."""
    best = min((loss for loss, _ in found[:-2]), default=None)
    return best is not None and all(loss > best for loss, _ in found[-2:])


@dataclass
class _Problem:
    """Value and gradient for L-BFGS, over the weights and biases as one vector."""

    x: Float[Tensor, "n d"]
    y: Int[Tensor, "n"]
    offset: Float[Tensor, "n c"]
    ridge: float
    on_progress: OnProgress
    steps: int = 0
    loss: float = math.inf

    def __call__(self, flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        n, c = self.offset.shape
        table = torch.from_numpy(flat).reshape(c, -1)
        weight, bias = table[:, :-1], table[:, -1]
        logits = self.offset + self.x @ weight.T + bias
        log_p = torch.log_softmax(logits, 1)
        loss = -float(log_p.gather(1, self.y[:, None]).mean()) + self.ridge / 2 * float(weight.square().sum())
        slope = log_p.exp()
        slope[torch.arange(n), self.y] -= 1
        slope /= n
        self.loss = loss
        gradient = torch.cat([slope.T @ self.x + self.ridge * weight, slope.sum(0)[:, None]], dim=1)
        return loss, gradient.flatten().numpy()

    def step(self, flat: NDArray[np.float64]) -> None:
        self.steps += 1
        done = self.steps / (self.steps + 30)  # nobody knows how many steps are left
        self.on_progress(done, Reading(f"ridge {self.ridge:g}: step {self.steps}", loss=self.loss))


def _flat(head: DenseHead, mean: Float[Tensor, "d"], scale: float) -> NDArray[np.float64]:
    bias = head.bias.double() + head.weight.double() @ mean
    return torch.cat([head.weight.double() * scale, bias[:, None]], dim=1).flatten().numpy()
