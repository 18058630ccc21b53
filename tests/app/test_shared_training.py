"""`pellucid train` in several processes: the model of one, stored once."""

import json
import sys
from pathlib import Path

import pytest

from app import store, tasks
from app.workspace import Workspace
from cbm.heads import LinearHead
from cbm.progress import silent
from tests.app.conftest import make_dataset
from tests.cbm.torchrun import started


@pytest.fixture
def colours(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Tiles that are embedded, and a concept bank of words for them."""
    store.add_dataset(workspace, make_dataset(tmp_path / "tiles", 41), {})
    tasks.run(workspace, "embed", {"dataset": "tiles", "encoder": "builtin:demo"}, silent)
    texts = {"name": "words", "dataset": "tiles", "encoder": "builtin:demo", "source": "texts"}
    tasks.run(workspace, "bank", texts | {"texts": ["red", "green", "blue", "dark", "striped"]}, silent)
    return workspace


def test_two_processes_train_the_model_of_one(colours: Workspace) -> None:
    command = (
        "train",
        "posthoc",
        "tiles",
        "--encoder",
        "builtin:demo",
        "--concepts",
        "words",
        "--set",
        "lam=0.02",
        "--json",
    )

    done = started("--no-python", sys.executable, "-m", "app.cli", *command, "--name", "both",
                   processes=2, **colours.settings.to_environment())  # fmt: skip
    params = {"dataset": "tiles", "encoder": "builtin:demo", "method": "posthoc", "bank": "words"}
    alone = tasks.run(colours, "fit", params | {"options": {"lam": 0.02}, "name": "alone"}, silent)

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["model"] == "both"
    assert answer["metrics"]["accuracy"] == alone["metrics"]["accuracy"]
    both, one = (store.base_model(colours, name).head for name in ("both", "alone"))
    assert isinstance(both, LinearHead)
    assert isinstance(one, LinearHead)
    assert both.weight.any()
    assert both.weight == pytest.approx(one.weight, abs=1e-5)
    assert bool(((both.weight != 0) == (one.weight != 0)).all())
