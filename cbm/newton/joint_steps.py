"""A Newton step of all classes together, on the weights that are in use and with the signs they have.

Going round the classes cannot see that a change of one class asks for a change of another, and crawls near the optimum.
There, support and signs have settled and the objective is smooth: its Newton system is solved by conjugate gradients,
preconditioned with the curvature of each class on its own. Weights and biases of all classes are one vector here,
block after block.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrs
from torch import Tensor

from cbm.newton.iterate import Block, Iterate

Array = NDArray[np.float64]
Linear = Callable[[Float[Tensor, "v"]], Float[Tensor, "v"]]
ACCURACY = 0.1  # of the Newton system's solution: more costs products and gains no round
PRODUCTS = 30  # with the Hessian at most


def step_together(iterate: Iterate, blocks: list[Block]) -> None:
    """Take one Newton step, or less of it, if that lowers the objective."""
    loss, penalty = iterate.problem.loss, iterate.penalty
    p = loss.probabilities(iterate.logits)
    start = torch.cat([iterate.block_values(c, block) for c, block in enumerate(blocks)])
    is_weight = torch.cat([torch.arange(len(block.concepts) + 1) < len(block.concepts) for block in blocks])
    ridge, l1 = penalty.l2 * is_weight, penalty.l1 * is_weight
    slope = iterate.pull(blocks, p - loss.target) + l1 * start.sign() + ridge * start

    def curve(step: Float[Tensor, "v"]) -> Float[Tensor, "v"]:
        return iterate.pull(blocks, loss.curvature(p, iterate.push(blocks, step))) + ridge * step

    curvatures = [iterate.curvature(block, p[c], iterate.scores(block)) for c, block in enumerate(blocks)]
    inverse = BlockInverse(curvatures, penalty.l2)
    step = conjugate_gradients(curve, inverse, -slope, tolerance=ACCURACY, most=PRODUCTS)
    _search(iterate, blocks, start, step, is_weight)


def _search(
    iterate: Iterate,
    blocks: list[Block],
    start: Float[Tensor, "v"],
    step: Float[Tensor, "v"],
    is_weight: Bool[Tensor, "v"],
) -> None:
    """Under l1, a weight that would change sign becomes zero."""
    loss, penalty = iterate.problem.loss, iterate.penalty
    before = loss.value(iterate.logits) + penalty(start[is_weight])
    for share in (1.0, 0.25, 0.0625):
        moved = start + share * step
        if penalty.l1 > 0:
            moved[is_weight & (moved * start < 0)] = 0.0
        logits = iterate.logits + iterate.push(blocks, moved - start)
        if loss.value(logits) + penalty(moved[is_weight]) < before:
            iterate.logits = logits
            parts = torch.split(moved, [len(block.concepts) + 1 for block in blocks])
            for c, (block, values) in enumerate(zip(blocks, parts, strict=True)):
                iterate.set_block(c, block, values)
            return


def conjugate_gradients(
    matrix: Linear, precondition: Linear, right: Float[Tensor, "v"], *, tolerance: float, most: int
) -> Float[Tensor, "v"]:
    """Approximate solution of a positive semi-definite system.

    Parameters
    ----------
    matrix, precondition
        The system's matrix, and an approximation of its inverse, as functions.
    tolerance
        Stop once the preconditioned residual has shrunk by this factor.
    most
        Products with the matrix at most.
    """
    solution = torch.zeros_like(right)
    residual = right
    direction = preconditioned = precondition(residual)
    first = size = float(residual @ preconditioned)
    for _ in range(most):
        if size <= tolerance**2 * first:
            break
        image = matrix(direction)
        curvature = float(direction @ image)
        if curvature <= 0:
            break
        solution = solution + size / curvature * direction
        residual = residual - size / curvature * image
        preconditioned = precondition(residual)
        before, size = size, float(residual @ preconditioned)
        direction = preconditioned + size / before * direction
    return solution


class BlockInverse:
    """Divides each block of a vector by its own curvature, plus a ridge."""

    def __init__(self, curvatures: Sequence[Array], ridge: float) -> None:
        self._sizes = [len(curvature) for curvature in curvatures]
        self._factors = [_factor(curvature, ridge) for curvature in curvatures]

    def __call__(self, vector: Float[Tensor, "v"]) -> Float[Tensor, "v"]:
        """Two triangular solves a block."""
        blocks = torch.split(vector.double(), self._sizes)
        solved = [dpotrs(f, b.numpy(), lower=1)[0] for f, b in zip(self._factors, blocks, strict=True)]
        return torch.from_numpy(np.concatenate(solved)).to(vector.dtype)


def _factor(curvature: Array, ridge: float) -> Array:
    damping = ridge + 1e-6 * curvature.diagonal().max()
    factor: Array = np.linalg.cholesky(curvature + damping * np.eye(len(curvature)))
    return factor
