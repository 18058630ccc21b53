"""Heads that several processes fit together, each with some of the images."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cbm.errors import UsageError
from cbm.methods import fit
from cbm.process_group import Group
from cbm.training_set import TrainingSet
from tests.cbm.test_linear_scores import planted
from tests.cbm.torchrun import torchrun

HEADS = ("multinomial", "table", "one-vs-rest", "path", "cut", "as it was")


@pytest.fixture(scope="module")
def numbers(tmp_path_factory) -> dict[str, dict[str, np.ndarray]]:
    """What each process found, by world size and rank."""
    folder: Path = tmp_path_factory.mktemp("heads")
    x, weight, bias, y = planted(n=301)  # one image more in the first process than in the second
    y[y == 3] = torch.where(torch.arange(301)[y == 3] % 2 == 0, 3, 2)  # of the last class, the second has none
    np.savez(folder / "data.npz", x=(x - 3).float(), weight=weight.float(), bias=bias.float(), y=y)
    for processes in (1, 2):
        torchrun("heads", folder / "data.npz", folder, processes=processes)
    return {file.stem: dict(np.load(file)) for file in folder.glob("?-?.npz")}


@pytest.mark.parametrize("head", HEADS)
def test_two_processes_find_the_head_of_one(numbers, head):
    alone, together = numbers["1-0"], numbers["2-0"]

    assert np.array_equal(together[f"{head}/weight"] != 0, alone[f"{head}/weight"] != 0)
    assert together[f"{head}/weight"] == pytest.approx(alone[f"{head}/weight"], abs=1e-5)
    assert together[f"{head}/bias"] == pytest.approx(alone[f"{head}/bias"], rel=1e-5, abs=1e-5)
    assert together[f"{head}/known"] == pytest.approx(alone[f"{head}/known"], abs=1e-5)


def test_all_processes_have_the_same_bits(numbers):
    first, second = numbers["2-0"], numbers["2-1"]

    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert first["multinomial/weight"].any()


def test_a_method_that_processes_cannot_share_is_refused_before_it_begins():
    x, _, _, y = planted()
    splits, ids = np.full(len(x), "train"), tuple(map(str, range(len(x))))
    data = TrainingSet(x.float(), y, ("a", "b", "c", "d"), splits, ids)

    with pytest.raises(UsageError, match="several processes cannot fit Linear probe together"):
        fit("linear-probe", data, group=Group(1, 2))
