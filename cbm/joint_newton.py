"""A Newton step for all classes together, on the weights that are in use and with the signs they have.

Going round the classes cannot see that a change of one class asks for a change of another, and crawls near the optimum.
There, support and signs have settled and the objective is smooth: its Newton system is solved by conjugate gradients,
preconditioned with the curvature of each class on its own.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor

Linear = Callable[[Float[Tensor, "c m"]], Float[Tensor, "c m"]]


def conjugate_gradients(
    matrix: Linear,
    precondition: Linear,
    right: Float[Tensor, "c m"],
    *,
    tolerance: float,
    most: int,
) -> Float[Tensor, "c m"]:
    """Approximate solution of a positive semi-definite system.

    Parameters
    ----------
    matrix, precondition
        The system's matrix, and an approximation of its inverse, as functions.
    tolerance
        Stop once the preconditioned residual has shrunk by this factor.
    """
    solution = torch.zeros_like(right)
    residual = right.clone()
    direction = preconditioned = precondition(residual)
    first = size = float((residual * preconditioned).sum())
    for _ in range(most):
        if size <= tolerance**2 * first:
            break
        image = matrix(direction)
        curvature = float((direction * image).sum())
        if curvature <= 0:
            break
        solution += size / curvature * direction
        residual -= size / curvature * image
        preconditioned = precondition(residual)
        before, size = size, float((residual * preconditioned).sum())
        direction = preconditioned + size / before * direction
    return solution


class BlockInverse:
    """Divides each class's row by that class's own curvature on its used columns and its bias (kept last)."""

    def __init__(self, blocks: Sequence[tuple[Int[Tensor, "_"], NDArray[np.float64]]], ridge: float) -> None:
        self._columns = [columns for columns, _ in blocks]
        self._factors = [_factor(curvature, ridge) for _, curvature in blocks]

    def __call__(self, rows: Float[Tensor, "c m"]) -> Float[Tensor, "c m"]:
        """One small triangular solve a class."""
        result = torch.zeros_like(rows)
        for c, (columns, factor) in enumerate(zip(self._columns, self._factors, strict=True)):
            index = torch.cat([columns, columns.new_tensor([rows.shape[1] - 1])])
            solution = cho_solve(factor, rows[c, index].double().numpy(), check_finite=False)
            result[c, index] = torch.from_numpy(solution).to(rows.dtype)
        return result


def _factor(curvature: NDArray[np.float64], ridge: float) -> tuple[NDArray[np.float64], bool]:
    damping = ridge + 1e-6 * curvature.diagonal().max()
    factor: tuple[NDArray[np.float64], bool] = cho_factor(
        curvature + damping * np.eye(len(curvature)), check_finite=False
    )
    return factor
