"""The demo workspace is built once, goes on where it was stopped, and has what the tour needs."""

from dataclasses import replace
from pathlib import Path

import pytest

from app import demo, jobs, store
from app.settings import Settings
from cbm.errors import Cancelled
from cbm.methods import methods

BIRDS = demo.World(
    name="birds",
    counts={"train": 80, "val": 20, "test": 20, "shifted": 40},
    banks={"birds-examples": "examples", "birds-texts": "texts"},
    methods=("linear-probe", "zero-shot"),
)
CELLS = demo.World(
    name="cells",
    counts={"train": 40, "val": 20, "test": 20, "shifted": 20},
    banks={"cells-examples": "examples"},
    methods=("posthoc",),
)
SMALL = (BIRDS, CELLS)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A workspace whose build was stopped once while the birds were embedded, what each build said, and its result."""
    ws = store.open_workspace(Settings(home=tmp_path_factory.mktemp("demo") / "home"))

    def stop(fraction: float, message: str) -> None:
        if "embedded" in message:
            raise Cancelled

    first: list[str] = []
    second: list[str] = []
    with pytest.raises(Cancelled):
        demo.build(ws, worlds=SMALL, on_step=first.append, on_progress=stop)
    result = demo.build(ws, worlds=SMALL, on_step=second.append)
    yield ws, (first, second), result
    ws.close()


def test_every_method_has_its_birds():
    names = {demo.model_name(world, method) for world in demo.WORLDS for method in demo.methods_of(world)}

    assert names == {f"birds-{method.name}" for method in methods()} | {"cells-posthoc"}


@pytest.mark.parametrize(
    ("method", "bank"), [("posthoc", "birds-examples"), ("linear-probe", None), ("zero-shot", None)]
)
def test_a_method_gets_the_bank_that_it_needs(method, bank):
    assert demo.bank_for(BIRDS, method) == bank


def test_every_model_is_there_and_measured(built):
    ws, _, result = built

    rows = store.models(ws)

    assert {row.name for row in rows} == {"birds-linear-probe", "birds-zero-shot", "cells-posthoc"}
    assert sorted(result["models"]) == [row.name for row in rows]
    assert all("accuracy" in row.metrics["val"]["metrics"] for row in rows)


def test_a_stopped_build_goes_on_with_the_step_that_was_stopped(built):
    _, (first, second), _ = built

    assert [line.split("] ")[1].split("  ")[0] for line in first] == ["draw 160 birds"]
    assert second[0].split("] ")[1].startswith("embed birds")


def test_building_again_does_nothing(built):
    ws, _, _ = built
    before = {path: path.stat().st_mtime_ns for path in ws.settings.home.rglob("*") if _kept(path)}
    said: list[str] = []

    demo.build(ws, worlds=SMALL, on_step=said.append)

    assert said == ["the demo is ready"]
    assert {path: path.stat().st_mtime_ns for path in ws.settings.home.rglob("*") if _kept(path)} == before


def test_the_birds_live_on_their_own_background_except_where_it_is_swapped(built):
    ws, _, _ = built
    data = store.dataset(ws, "birds")
    water = data.concepts.index("water background")

    by_split = {}
    for split in ("train", "shifted"):
        images = data.split(split)
        at_home = [group.split()[0] == group.split()[-1] for group in images.groups]
        by_split[split] = sum(at_home) / len(at_home)

    assert by_split["train"] > 0.85  # 95 % is planted
    assert by_split["shifted"] < 0.15
    assert data.concept_labels[:, water].mean() == pytest.approx(0.5, abs=0.15)


def _kept(path: Path) -> bool:
    return path.is_file() and not path.name.startswith("pellucid.db")


def test_methods_that_the_tour_does_not_need_can_be_left_to_the_workers(built):
    ws, _, _ = built
    with_more = replace(BIRDS, methods=("linear-probe", "zero-shot", "cms"))
    said: list[str] = []

    demo.build(ws, worlds=(with_more,), leave=True, on_step=said.append)

    waiting = jobs.jobs(ws, active=True)
    assert [(job.kind, job.params["method"]) for job in waiting] == [("fit", "cms")]
    assert said[0] == "fitted as jobs while you look around: birds-cms"
    jobs.cancel(ws, waiting[0].id)
