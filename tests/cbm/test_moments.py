"""Mean and covariance in one pass, against numpy's."""

import numpy as np
import pytest
import torch

from cbm import moments as module
from cbm.moments import moments
from cbm.process_group import Group


@pytest.mark.parametrize("rows", [1, 7, 4096])
def test_they_are_numpys_for_blocks_of_any_size(rows, monkeypatch):
    monkeypatch.setattr(module, "ROWS", rows)
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(0)) + 100

    mean, covariance = moments(x)

    assert mean == pytest.approx(x.double().mean(0), abs=1e-12)
    assert covariance == pytest.approx(np.cov(x.double().numpy(), rowvar=False, bias=True), abs=1e-10)


def test_what_is_the_same_on_every_image_has_no_variance():
    assert not moments(torch.full((9, 3), 0.1))[1].any()


def test_shares_of_processes_add_up(monkeypatch):
    x = torch.randn(11, 3, generator=torch.Generator().manual_seed(0))
    parts = []
    monkeypatch.setattr(Group, "sum_", lambda self, *tensors: parts.append([t.clone() for t in tensors]))

    for rank in range(3):
        moments(x, Group(rank, 3))

    total, squares = (sum(part[i] for part in parts) for i in (0, 1))
    assert total / 11 + x[0] == pytest.approx(x.double().mean(0))
    assert squares.diagonal() / 11 == pytest.approx((x - x[0]).double().square().mean(0))
