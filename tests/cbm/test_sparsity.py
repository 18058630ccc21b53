"""Numbers of effective concepts and truncation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cbm.sparsity import effective_concepts, strongest, truncate

REFERENCE = np.load(Path(__file__).parents[1] / "reference" / "nec.npz")


@pytest.mark.parametrize("nec", [5, 10, 15, 20, 25, 30])
def test_global_truncation_equals_the_published_protocol(nec):
    weight = torch.from_numpy(REFERENCE["weight"])

    cut = truncate(weight, nec)

    assert torch.equal(cut, torch.from_numpy(REFERENCE[f"truncated_{nec}"]))
    assert effective_concepts(cut) == nec


@pytest.mark.parametrize("nec", [1, 5, 30])
def test_truncation_per_class_keeps_as_many_in_each_class(nec):
    cut = truncate(torch.from_numpy(REFERENCE["weight"]), nec, "per-class")

    assert (cut != 0).sum(1).unique().tolist() == [nec]


def test_global_truncation_may_leave_a_class_without_weights():
    weight = torch.tensor([[9.0, 8.0, 7.0], [1.0, 1.5, 1.2]])

    assert strongest(weight, 1.5).tolist() == [[True, True, True], [False, False, False]]


def test_nothing_is_kept_at_zero_and_everything_at_more_than_there_is():
    weight = torch.tensor([[1.0, 0.0], [2.0, -3.0]])

    assert not strongest(weight, 0).any()
    assert torch.equal(strongest(weight, 99), weight != 0)
    assert not strongest(weight, 0, "per-class").any()
    assert torch.equal(strongest(weight, 99, "per-class"), weight != 0)


def test_weights_that_tie_at_the_threshold_stay():
    assert strongest(torch.tensor([[3.0, 2.0, -2.0, 1.0]]), 2).tolist() == [[True, True, True, False]]
