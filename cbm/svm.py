"""Many small linear support vector machines at once, exact, from one batch of Gram matrices.

A linear SVM on a hundred images needs only their inner products. All Gram matrices come from one batched product and
serve every penalty of a grid; libsvm solves each dual.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from cbm.errors import DataError

Array = NDArray[np.float64]
Planes = tuple[Float[Tensor, "k d"], Float[Tensor, "k"]]
Duals = tuple[Float[Tensor, "k n"], Float[Tensor, "k"]]
Dual = tuple[Array, float]
Solver = Callable[[Array, Array, float, float], Dual]
TOLERANCE = 1e-5  # of libsvm; its usual 1e-3 leaves the primal up to 10 % above the optimum where C is large


def fit_svms(
    x: Float[Tensor, "k n d"], positive: Bool[Tensor, "n"], c: float, *, tolerance: float = TOLERANCE
) -> Planes:
    """Vectors `[k d]` and intercepts `[k]` of the hyperplanes that separate positive from negative images.

    Each minimises ``|w|^2 / 2 + c * sum_i max(0, 1 - t_i (w.x_i + b))`` with ``t_i`` = 1 or -1.

    Parameters
    ----------
    x
        For each concept its `n` embeddings. Take a large common mean off first, for accuracy in float32.
    positive
        Which of them show the concept; the same places for every concept.
    tolerance
        Largest violation of the optimality conditions, in units of the margin.

    Raises
    ------
    DataError
        If one side has no image.
    """
    return fit_svm_grid(x, positive, (c,), tolerance=tolerance)[0]


def fit_svm_grid(
    x: Float[Tensor, "k n d"], positive: Bool[Tensor, "n"], cs: Sequence[float], *, tolerance: float = TOLERANCE
) -> list[Planes]:
    """The same for several penalties, at less than twice the cost of one.

    The Gram matrices are shared, and so are solutions: without a coefficient at its bound ``c``, the largest margin has
    been found, and larger penalties have the same hyperplane.
    """
    gram = torch.bmm(x, x.transpose(1, 2))
    duals = solve_dual_grid(gram, positive, cs, tolerance=tolerance)
    vectors = torch.bmm(torch.stack([coefficients for coefficients, _ in duals], 1), x)
    return [(vectors[:, i], intercepts) for i, (_, intercepts) in enumerate(duals)]


def solve_duals(
    gram: Float[Tensor, "k n n"], positive: Bool[Tensor, "n"], c: float, *, tolerance: float = TOLERANCE
) -> Duals:
    """Signed dual coefficients (zero but on support vectors) and intercepts.

    Raises
    ------
    DataError
        If one side has no image.
    """
    return solve_dual_grid(gram, positive, (c,), tolerance=tolerance)[0]


def solve_dual_grid(
    gram: Float[Tensor, "k n n"], positive: Bool[Tensor, "n"], cs: Sequence[float], *, tolerance: float = TOLERANCE
) -> list[Duals]:
    """The same for several penalties."""
    if bool(positive.all()) or not bool(positive.any()):
        raise DataError("a hyperplane needs images of both sides", hint="annotate images with and without the concept")
    sides, solve = positive.double().numpy(), _solver()
    concepts = [_solve_grid(solve, matrix.astype(np.float64), sides, cs, tolerance) for matrix in gram.numpy()]
    return [
        (
            torch.from_numpy(np.stack([solved[c][0] for solved in concepts])).to(gram.dtype),
            torch.tensor([solved[c][1] for solved in concepts], dtype=gram.dtype),
        )
        for c in cs
    ]


def _solve_grid(solve: Solver, gram: Array, sides: Array, cs: Sequence[float], tolerance: float) -> dict[float, Dual]:
    """One concept's solution for each penalty, from the smallest on; solved no more once none is at its bound."""
    solved: dict[float, Dual] = {}
    largest, bound = np.inf, 0.0  # coefficient of the solution before, and its penalty
    for c in sorted(cs):
        if largest >= bound:
            found = solve(gram, sides, c, tolerance)
            largest, bound = np.abs(found[0]).max(), c
        solved[c] = found
    return solved


def planes(x: Float[Tensor, "k n d"], coefficients: Float[Tensor, "k n"], intercepts: Float[Tensor, "k"]) -> Planes:
    """Hyperplanes of dual solutions: each vector is a combination of its concept's embeddings."""
    return torch.bmm(coefficients[:, None], x)[:, 0], intercepts


def _solver() -> Solver:
    """libsvm without scikit-learn's checks of every call, which cost three times the solution; else with them."""
    try:
        from sklearn.svm._libsvm import fit, set_verbosity_wrap
    except ImportError:
        return _checked_libsvm
    set_verbosity_wrap(0)

    def solve(gram: Array, sides: Array, c: float, tolerance: float) -> Dual:
        support, _, _, values, intercept, *_ = fit(gram, sides, kernel="precomputed", C=c, tol=tolerance)
        return _dual(len(sides), support, -values[0], -float(intercept[0]))

    return solve


def _checked_libsvm(gram: Array, sides: Array, c: float, tolerance: float) -> Dual:
    from sklearn.svm import SVC

    machine = SVC(C=c, kernel="precomputed", tol=tolerance).fit(gram, sides)
    return _dual(len(sides), machine.support_, machine.dual_coef_[0], float(machine.intercept_[0]))


def _dual(n: int, support: NDArray[np.int32], values: Array, intercept: float) -> Dual:
    coefficients = np.zeros(n)
    coefficients[support] = values
    return coefficients, intercept
