"""Small lasso problems, solved exactly by guessing which coefficients are non-zero and with which sign.

Given the signs, a lasso is a linear system; a wrong guess shows itself as a coefficient that crosses zero or as a
zero coefficient whose gradient is too large, and the guess is repaired. Each repair lowers the objective, so the
search ends. Problems of 5 to 200 coefficients take a handful of dense solves and no compiled loop.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dposv

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def minimise_lasso(hessian: Array, linear: Array, l1: Array, start: Array, *, tolerance: float = 1e-10) -> Array:
    """Coefficients that minimise ``w'Hw / 2 - q'w + sum_j l1_j |w_j|``.

    Parameters
    ----------
    hessian, linear
        ``H``, positive definite, shape `[m m]` (the caller damps it where columns repeat), and ``q``, shape `[m]`.
    l1
        Shape `[m]`; zero for coefficients without penalty.
    start
        A good guess saves most of the work. The result is never worse than it.
    tolerance
        Largest violation of the optimality conditions, in units of the gradient.

    Notes
    -----
    Feature-sign search (Lee et al., "Efficient sparse coding algorithms", NeurIPS 2006) that admits all violating
    coefficients at once, and sets all crossing ones to zero at once where that is better than stopping at the first.

    Examples
    --------
    >>> minimise_lasso(np.eye(2), np.array([3.0, 0.5]), np.array([1.0, 1.0]), np.zeros(2)).tolist()
    [2.0, 0.0]
    """
    w = start.copy()
    for _ in range(4 * len(w) + 10):
        gradient = hessian @ w - linear
        signs = np.sign(np.where(w != 0, w, -gradient))
        used = (l1 == 0) | (w != 0)
        violation = np.where(used, np.abs(gradient + l1 * signs), np.maximum(np.abs(gradient) - l1, 0))
        if violation.max(initial=0.0) <= tolerance:
            return w
        target = _minimiser_of_signs(hessian, linear - l1 * signs, signs, used, np.where(used, 0.0, violation))
        if np.abs(target - w).max() <= 1e-14 * np.abs(w).max():
            return w
        w = _best_between(hessian, gradient, l1, w, target)
    return w


def _minimiser_of_signs(hessian: Array, linear: Array, signs: Array, used: Mask, violation: Array) -> Array:
    """Minimiser for fixed signs over the used coefficients and those violating ones whose sign comes true.

    If all violating ones are contradicted together, the worst alone is tried; from the optimum of the used ones, its
    sign always comes true.
    """
    worst = np.arange(len(signs)) == violation.argmax()
    for entering in (violation > 0, (violation > 0) & worst):
        chosen = used | entering
        while True:
            index = np.flatnonzero(chosen)
            values = _solve(hessian[np.ix_(index, index)], linear[index])
            contradicted = ~used[index] & (values * signs[index] <= 0)
            if not contradicted.any():
                break
            chosen[index[contradicted]] = False
        if (chosen & entering).any():
            break
    result = np.zeros_like(linear)
    result[index] = values
    return result


def _solve(matrix: Array, right: Array) -> Array:
    """Solution of a positive definite system; one that rounding made indefinite gets a larger diagonal."""
    if not len(right):
        return right
    damping = 0.0
    for _ in range(8):
        _, solution, failed = dposv(matrix + damping * np.eye(len(matrix)), right)
        if not failed:
            break
        damping = max(100 * damping, 1e-12 * np.trace(matrix))
    values: Array = solution
    return values


def _best_between(hessian: Array, gradient: Array, l1: Array, w: Array, target: Array) -> Array:
    """Best of: the target, the target with crossing coefficients set to zero, each point where one crosses."""
    crossing = np.flatnonzero((w * target < 0) & (l1 > 0))
    if not len(crossing):
        return target
    clipped = target.copy()
    clipped[crossing] = 0.0
    times = w[crossing] / (w[crossing] - target[crossing])
    points = w + times[:, None] * (target - w)  # [crossings m]
    points[np.arange(len(crossing)), crossing] = 0.0
    points = np.vstack([target, clipped, points])
    moves = points - w
    values = moves @ gradient + ((moves @ hessian) * moves).sum(1) / 2 + np.abs(points) @ l1
    best: Array = points[values.argmin()]
    return best
