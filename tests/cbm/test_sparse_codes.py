"""Sparse codes against the whole matrices that they stand for."""

import pytest
import torch
from torch import Tensor

from cbm.sae import KINDS, activate
from cbm.sae_gradients import FEW, few_codes
from cbm.sparse_codes import Sparse, largest_of_all, largest_of_rows, positive


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def whole(few: Sparse) -> Tensor:
    codes = torch.zeros(len(few.starts) - 1, few.width)
    codes[few.rows(), few.columns] = few.values
    return codes


@pytest.mark.parametrize("h", [7, 64, 509, 512])
@pytest.mark.parametrize("kind", KINDS)
def test_few_codes_are_those_that_stay(kind: str, h: int):
    read = drawn(37, h) - (1.7 if kind == "relu" else 0)

    few = few_codes(read, kind, 5)

    assert few is not None
    assert torch.equal(whole(few), activate(read, kind, 5))
    assert bool((few.values > 0).all())


def test_columns_of_a_row_rise():
    few = largest_of_rows(drawn(20, 512), 9)

    rises = few.columns.view(20, 9).diff(dim=1)
    assert int(rises.min()) > 0


def test_codes_that_are_not_positive_are_none():
    read = torch.full((3, 512), -1.0)
    read[1, 300] = 2.0

    for few in (largest_of_rows(read, 4), largest_of_all(read, 12)):
        assert few.starts.tolist() == [0, 0, 1, 1]
        assert (few.columns.tolist(), few.values.tolist()) == ([300], [2.0])


def test_of_equal_entries_no_more_stay_than_wanted():
    assert len(largest_of_rows(torch.ones(6, 512), 4).values) == 24
    assert len(largest_of_all(torch.ones(6, 512), 23).values) == 23


def test_many_codes_are_not_few():
    read = drawn(30, 200)

    assert positive(read, at_most=FEW) is None
    assert positive(read, at_most=0.9) is not None


def test_products_are_those_of_the_whole_matrices():
    few, left, right = largest_of_rows(drawn(30, 64), 6), drawn(30, 11), drawn(64, 11)
    codes, turn = whole(few), few.by_columns()

    assert torch.allclose(few.times(right), codes @ right, atol=1e-5)
    assert torch.allclose(few.transposed_times(left, turn), codes.T @ left, atol=1e-5)
    assert torch.allclose(whole(few.products(left, right)), (left @ right.T) * (codes > 0), atol=1e-5)
    assert torch.allclose(few.row_sums(), codes.sum(1), atol=1e-5)
    assert torch.allclose(few.column_sums(), codes.sum(0), atol=1e-5)
    assert torch.equal(few.column_counts(), (codes > 0).sum(0))
