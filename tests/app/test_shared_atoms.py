"""Atoms as a job: it goes on where it was stopped, and several processes share it."""

import json
import sys
from pathlib import Path

import pytest

from app import store, tasks
from app.workspace import Workspace
from cbm.errors import Cancelled, UsageError
from cbm.process_group import Group
from cbm.progress import silent
from tests.app.conftest import make_dataset
from tests.cbm.torchrun import started

ATOMS = {"dataset": "tiles", "encoder": "builtin:demo", "source": "sae", "widths": [12], "epochs": 1100, "k": 3}


@pytest.fixture
def tiles(workspace: Workspace, tmp_path: Path) -> Workspace:
    store.add_dataset(workspace, make_dataset(tmp_path / "tiles", 41), {})
    tasks.run(workspace, "embed", {"dataset": "tiles", "encoder": "builtin:demo"}, silent)
    return workspace


def test_a_job_that_was_stopped_goes_on_and_leaves_nothing_behind(tiles: Workspace) -> None:
    seen: list[str] = []

    def stop(fraction: float, said: str) -> None:
        if said == "epoch 601 of 1100":
            raise Cancelled

    with pytest.raises(Cancelled):
        tasks.run(tiles, "bank", ATOMS | {"name": "atoms"}, stop)
    kept = list(tiles.folder("checkpoints").iterdir())
    tasks.run(tiles, "bank", ATOMS | {"name": "atoms"}, lambda _, said: seen.append(said))
    tasks.run(tiles, "bank", ATOMS | {"name": "alone"}, silent)

    assert len(kept) == 1
    assert seen[0] == "epoch 501 of 1100"
    assert not list(tiles.folder("checkpoints").iterdir())
    assert store.bank(tiles, "atoms").vectors.equal(store.bank(tiles, "alone").vectors)


def test_two_processes_build_the_bank_of_one(tiles: Workspace) -> None:
    command = (
        "concepts",
        "build",
        "tiles",
        "--encoder",
        "builtin:demo",
        "--from",
        "sae",
        "--width",
        "12",
        "--epochs",
        "30",
    )

    done = started("--no-python", sys.executable, "-m", "app.cli", *command, "--name", "both", "--json",
                   processes=2, **tiles.settings.to_environment())  # fmt: skip
    alone = {**ATOMS, "name": "alone", "epochs": 30, "k": None, "seed": 0}
    tasks.run(tiles, "bank", alone, silent)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bank"] == "both"
    both, one = (store.bank(tiles, name) for name in ("both", "alone"))
    assert len(both) == len(one) > 3
    assert both.vectors.numpy() == pytest.approx(one.vectors.numpy(), abs=1e-4)


def test_other_concepts_are_not_for_several_processes(tiles: Workspace) -> None:
    params = {"dataset": "tiles", "encoder": "builtin:demo", "source": "examples", "name": "parts"}

    with pytest.raises(UsageError, match="only share --from sae"):
        tasks.run(tiles, "bank", params, silent, Group(1, 2))
