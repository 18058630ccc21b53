"""Conjugate gradients and their preconditioner."""

import numpy as np
import pytest
import torch

from cbm.newton.joint_steps import BlockInverse, conjugate_gradients


def definite(m: int, seed: int) -> torch.Tensor:
    root = torch.randn(m, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return root @ root.T + 0.1 * torch.eye(m)


def test_as_many_products_as_unknowns_solve_the_system():
    matrix, right = definite(6, 0), torch.arange(1.0, 7.0, dtype=torch.float64)

    solution = conjugate_gradients(lambda v: matrix @ v, lambda v: v, right, tolerance=0.0, most=12)

    assert solution == pytest.approx(torch.linalg.solve(matrix, right), rel=1e-6)


def test_an_exact_preconditioner_needs_one_product():
    blocks = [definite(3, 1), definite(4, 2)]
    matrix, right = torch.block_diag(*blocks), torch.arange(1.0, 8.0, dtype=torch.float64)
    inverse = BlockInverse([block.numpy() for block in blocks], 0.0)

    solution = conjugate_gradients(lambda v: matrix @ v, inverse, right, tolerance=1e-3, most=1)

    assert solution == pytest.approx(torch.linalg.solve(matrix, right), rel=1e-3)  # the inverse is slightly damped


def test_the_block_inverse_adds_the_ridge():
    inverse = BlockInverse([np.eye(2), 3 * np.eye(1)], 1.0)

    assert inverse(torch.tensor([2.0, 4.0, 8.0])) == pytest.approx([1.0, 2.0, 2.0], rel=1e-5)


def test_nothing_to_solve_gives_zero():
    solution = conjugate_gradients(lambda v: v, lambda v: v, torch.zeros(4), tolerance=0.1, most=5)

    assert not solution.any()
