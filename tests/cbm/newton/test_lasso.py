"""The exact solver of small lasso problems."""

import numpy as np
import pytest

from cbm.newton.lasso import minimise_lasso


def problem(seed: int, m: int, *, condition: float = 1e3) -> tuple[np.ndarray, np.ndarray]:
    r = np.random.default_rng(seed)
    q, _ = np.linalg.qr(r.standard_normal((m, m)))
    hessian = (q * np.geomspace(1, condition, m)) @ q.T
    return hessian, hessian @ (r.standard_normal(m) * (r.random(m) < 0.4)) + r.standard_normal(m)


def violation(hessian: np.ndarray, linear: np.ndarray, l1: np.ndarray, w: np.ndarray) -> float:
    gradient = hessian @ w - linear
    return float(np.where(w != 0, np.abs(gradient + l1 * np.sign(w)), np.maximum(np.abs(gradient) - l1, 0)).max())


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("m", [1, 2, 7, 40])
def test_the_result_meets_the_optimality_conditions_from_any_start(seed, m):
    hessian, linear = problem(seed, m)
    l1 = np.full(m, 2.0)
    l1[-1] = 0.0  # a bias

    for start in (np.zeros(m), np.random.default_rng(seed + 1).standard_normal(m)):
        w = minimise_lasso(hessian, linear, l1, start, tolerance=1e-9)

        # LAPACK solves a system of condition 1e3 and entries up to 1e3 to about 1e-10
        assert violation(hessian, linear, l1, w) < 1e-8


def test_with_an_identity_hessian_it_is_soft_thresholding():
    linear = np.array([3.0, -0.5, -2.0, 1.0])

    w = minimise_lasso(np.eye(4), linear, np.ones(4), np.zeros(4))

    assert w.tolist() == pytest.approx([2.0, 0.0, -1.0, 0.0])


def test_without_penalty_it_solves_the_linear_system():
    hessian, linear = problem(0, 12)

    w = minimise_lasso(hessian, linear, np.zeros(12), np.zeros(12))

    assert w == pytest.approx(np.linalg.solve(hessian, linear), rel=1e-9)


def test_a_penalty_beyond_every_gradient_leaves_nothing():
    hessian, linear = problem(1, 9)

    w = minimise_lasso(hessian, linear, np.full(9, 1.01 * np.abs(linear).max()), np.ones(9))

    assert not w.any()


def test_repeated_columns_are_solved_with_the_smallest_damping():
    columns = np.random.default_rng(0).standard_normal((3, 50))
    twice = np.vstack([columns, columns])
    hessian, linear = twice @ twice.T / 50 + 1e-10 * np.eye(6), twice @ np.ones(50) / 50

    w = minimise_lasso(hessian, linear, np.full(6, 0.01), np.zeros(6), tolerance=1e-8)

    assert violation(hessian, linear, np.full(6, 0.01), w) < 1e-7
