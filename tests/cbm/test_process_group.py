import json

import torch

from cbm.process_group import ALONE
from tests.cbm.torchrun import torchrun


def test_one_process_alone_does_all_the_work_and_changes_nothing():
    values = torch.tensor([1.0, 2.0])

    ALONE.sum_(values)
    ALONE.max_(values)
    ALONE.from_leader_(values)

    assert values.tolist() == [1.0, 2.0]
    assert list(ALONE.share(3)) == [0, 1, 2]
    assert ALONE.gather("a") == ["a"]
    assert ALONE.leads


def test_two_processes_share_the_work_and_agree(tmp_path):
    torchrun("group", tmp_path, processes=2)

    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert (first["share"], second["share"]) == ([0, 2, 4], [1, 3])
    assert first["total"] == second["total"] == [3.0, 3.0, 3.0]
    assert first["leader"] == second["leader"] == [0.0, 0.0]
    assert first["ranks"] == second["ranks"] == [0, 1]
    assert (first["leads"], second["leads"]) == (True, False)
    assert first["left behind"] == second["left behind"] == []  # threads that would abort a finished process
