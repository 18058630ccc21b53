"""Small lasso problems, solved exactly by guessing which coefficients are non-zero and with which sign.

Given the signs, a lasso is a linear system; a wrong guess shows itself as a coefficient that crosses zero or as a
zero coefficient whose gradient is too large, and the guess is repaired. Each repair lowers the objective, so the
search ends. Problems of 5 to 200 coefficients take a handful of dense solves and no compiled loop.
"""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.linalg.lapack import dposv


def minimise_lasso(
    hessian: Float[ndarray, "m m"],
    linear: Float[ndarray, "m"],
    l1: Float[ndarray, "m"],
    start: Float[ndarray, "m"],
    *,
    tolerance: float = 1e-10,
) -> Float[ndarray, "m"]:
    """Coefficients that minimise ``w'Hw / 2 - q'w + sum_j l1_j |w_j|``.

    Parameters
    ----------
    hessian
        Positive definite; the caller adds a damping where columns repeat.
    l1
        Zero for coefficients without penalty.
    start
        A good guess saves most of the work; the result is never worse than it.
    tolerance
        Largest violation of the optimality conditions, in units of the gradient.

    Notes
    -----
    Feature-sign search (Lee et al., "Efficient sparse coding algorithms", NeurIPS 2006) that admits every violating
    coefficient at once and clips all crossing ones at once when that is better than stopping at the first.
    """
    w = start.copy()
    free = l1 == 0
    for _ in range(4 * len(w) + 10):
        gradient = hessian @ w - linear
        signs = np.sign(np.where(w != 0, w, -gradient))
        slope = np.abs(gradient + l1 * signs)
        supported = free | (w != 0)
        entering = ~supported & (np.abs(gradient) > l1 + tolerance)
        if not entering.any() and slope[supported].max(initial=0.0) <= tolerance:
            return w
        step = _step(hessian, linear - l1 * signs, w, signs, supported, entering, slope)
        if step is None:
            return w
        w = _best_along(hessian, gradient, l1, w, step)
    return w


def _step(hessian, target, w, signs, supported, entering, slope):
    """Direction to the minimiser of the sign-fixed quadratic, entering coefficients only where the sign comes true."""
    most = np.zeros_like(entering)
    most[np.argmax(np.where(entering, slope, 0.0))] = True
    for candidates in (entering, entering & most):
        chosen = supported | candidates
        while chosen.any():
            index = np.flatnonzero(chosen)
            solution = _solve(hessian[np.ix_(index, index)], target[index])
            contradicted = ~supported[index] & (solution * signs[index] <= 0)
            if not contradicted.any():
                step = np.zeros_like(w)
                step[index] = solution - w[index]
                if np.abs(step).max() > 1e-14 * (1 + np.abs(w).max()):
                    return step
                break
            chosen[index[contradicted]] = False
    return None


def _solve(matrix, right):
    """Solution of a positive definite system; a matrix that rounding made indefinite gets a larger diagonal."""
    _, solution, failed = dposv(matrix, right)
    damping = 1e-12 * np.trace(matrix)
    while failed:
        _, solution, failed = dposv(matrix + damping * np.eye(len(matrix)), right)
        damping *= 100
    return solution


def _best_along(hessian, gradient, l1, w, step):
    """Best of: the whole step, the whole step with crossing coefficients set to zero, each point of crossing."""
    full = w + step
    crossing = (w * full < 0) & (l1 > 0)
    if not crossing.any():
        return full
    clipped = np.where(crossing, 0.0, full)
    index = np.flatnonzero(crossing)
    times = w[index] / (w[index] - full[index])
    points = w + times[:, None] * step  # [crossings m]
    points[np.arange(len(index)), index] = 0.0
    points = np.vstack([full, clipped, points])
    moves = points - w
    values = moves @ gradient + ((moves @ hessian) * moves).sum(1) / 2 + np.abs(points) @ l1
    return points[np.argmin(values)]
