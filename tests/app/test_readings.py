"""What a job tells while it trains comes back as curves: whole, in order, of the last attempt only."""

import itertools
from pathlib import Path

import pytest

from app import jobs, readings, worker
from app.readings import Point
from app.workspace import Workspace
from cbm.progress import Reading, part

HALVES = [Point(i / 4, 0.5**i, f"step {i}") for i in range(4)]


def test_numbers_ride_on_the_sentence_through_every_stage_of_the_work() -> None:
    seen: list[tuple[float, str]] = []

    part(lambda done, said: seen.append((done, said)), 0.5, 1.0)(0.5, Reading("epoch 3", loss=0.25, l0=float("nan")))

    assert seen == [(0.75, "epoch 3")]
    assert seen[0][1].numbers == {"loss": 0.25}


@pytest.mark.usefixtures("extensions")
@pytest.mark.parametrize("dies", [False, True])
def test_a_worker_keeps_the_readings_of_the_last_attempt(workspace: Workspace, tmp_path: Path, dies: bool) -> None:
    job = jobs.enqueue(workspace, "learn", {"steps": 4, **({"file": str(tmp_path / "died")} if dies else {})})

    worker.run(workspace, drain=True)

    assert jobs.job(workspace, job.id).attempt == 1 + dies
    curves = readings.curves_of(workspace, job.id)
    assert curves["loss"] == HALVES
    assert [point.value for point in curves["accuracy/val"]] == [0, 0.25, 0.5, 0.75]


def test_a_long_curve_is_thinned_and_keeps_its_end(workspace: Workspace) -> None:
    for i in range(1001):
        readings.keep(workspace, 7, i / 1000, "", {"loss": float(i)})

    points = readings.curves_of(workspace, 7)["loss"]

    assert len(points) <= readings.MOST
    assert points[-1].value == 1000
    assert {b.value - a.value for a, b in itertools.pairwise(points)} == {3.0}


def test_a_line_that_is_being_written_is_left_for_the_next_look(workspace: Workspace) -> None:
    readings.keep(workspace, 7, 0.0, "step 0", {"loss": 1.0})
    with readings.readings_path(workspace, 7).open("a") as file:
        file.write('{"done": 0.25, "mess')

    assert readings.curves_of(workspace, 7) == {"loss": [Point(0.0, 1.0, "step 0")]}


def test_a_job_that_told_nothing_has_no_curves(workspace: Workspace) -> None:
    assert readings.curves_of(workspace, 99) == {}
