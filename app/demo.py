"""The demo workspace: two rendered worlds, their concept banks, and one model a method, each measured.

Every step asks first whether its result is there, so that building again costs nothing and a build that was stopped
goes on. The steps are the same tasks that the screens and the command line run.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from app import jobs, store, tasks
from app.workspace import Workspace
from cbm.progress import OnProgress, silent

ENCODER = "builtin:demo"
TOUR = ("linear-probe", "posthoc", "posthoc-hybrid", "zero-shot")
Report = Callable[[str], None]


@dataclass(frozen=True)
class World:
    """A rendered data set and what is made of it.

    Attributes
    ----------
    counts
        Images a split.
    banks
        Name of each concept bank, and its source: examples or texts.
    methods
        The methods to fit a model by; empty for every method there is.
    """

    name: str
    counts: Mapping[str, int]
    banks: Mapping[str, str]
    methods: tuple[str, ...] = ()


WORLDS = (
    World(
        name="birds",
        counts={"train": 2400, "val": 600, "test": 1000, "shifted": 600},
        banks={"birds-examples": "examples", "birds-texts": "texts"},
    ),
    World(
        name="cells",
        counts={"train": 600, "val": 150, "test": 225, "shifted": 225},
        banks={"cells-examples": "examples"},
        methods=("posthoc",),
    ),
)


@dataclass(frozen=True)
class Step:
    """One piece of the build: what it is called, whether its result is there, and the work.

    A step with a `job` can also be left to the workers, as a job of kind "fit" with these parameters.
    """

    title: str
    done: Callable[[Workspace], bool]
    work: Callable[[Workspace, OnProgress], object] = field(repr=False)
    job: Mapping[str, Any] | None = None


def build(
    ws: Workspace,
    *,
    worlds: tuple[World, ...] = WORLDS,
    leave: bool = False,
    on_step: Report = lambda line: None,
    on_progress: OnProgress = silent,
) -> dict[str, Any]:
    """Make what is missing of the demo workspace.

    Parameters
    ----------
    leave
        Leave the methods that the tour does not need to the workers, as jobs.
    on_step
        Told a line when a step has ended, with the time that it took.
    on_progress
        Told what happens inside a step, with the fraction of that step.

    Returns
    -------
    Names of the data sets and models, and the seconds that it took.
    """
    start = time.monotonic()
    missing = [step for world in worlds for step in steps(world) if not step.done(ws)]
    left = [step for step in missing if leave and step.job is not None]
    missing = [step for step in missing if step not in left]
    for number, step in enumerate(missing, start=1):
        began = time.monotonic()
        step.work(ws, on_progress)
        on_step(f"[{number:2}/{len(missing)}] {step.title:<46} {time.monotonic() - began:5.1f} s")
    for step in left:
        assert step.job is not None
        jobs.enqueue(ws, "fit", step.job)
    if left:
        on_step(
            "fitted as jobs while you look around: " + ", ".join(str(step.job["name"]) for step in left if step.job)
        )
    seconds = time.monotonic() - start
    on_step(f"the demo is ready after {seconds:.1f} s" if missing else "the demo is ready")
    return {
        "datasets": [world.name for world in worlds],
        "models": [model_name(world, method) for world in worlds for method in methods_of(world)],
        "seconds": round(seconds, 3),
    }


def steps(world: World) -> Iterator[Step]:
    """The steps of one world, in their order."""
    yield Step(f"draw {sum(world.counts.values()):,} {world.name}", lambda ws: _has_data(ws, world), _import(world))
    yield Step(f"embed {world.name}", lambda ws: _is_embedded(ws, world), _embed(world))
    for bank, source in world.banks.items():
        yield Step(f"build concepts {bank}", lambda ws, bank=bank: _has_bank(ws, bank), _bank(world, bank, source))
    for method in methods_of(world):
        name = model_name(world, method)
        params = _fit_params(world, method)
        job = None if method in TOUR else params
        yield Step(f"fit and measure {name}", lambda ws, name=name: _has_model(ws, name), _fit(params), job)


def methods_of(world: World) -> tuple[str, ...]:
    """Names of the methods that a world has a model of: the linear probe first, which all are measured against."""
    from cbm.methods import MODULES

    return tuple(sorted(world.methods or MODULES, key=lambda method: method != "linear-probe"))


def model_name(world: World, method: str) -> str:
    """What the demo calls the model of a method."""
    return f"{world.name}-{method}"


def bank_for(world: World, name: str) -> str | None:
    """The bank that a method gets: that of texts if it reads texts or learns from them, else that of examples; or none."""
    from cbm.methods import Need, method

    needs = method(name).needs
    if Need.CONCEPT_BANK not in needs:
        return None
    wanted = "texts" if {Need.TEXT_ENCODER, Need.TEXT_BANK} & set(needs) else "examples"
    return next(bank for bank, source in world.banks.items() if source == wanted)


def _has_data(ws: Workspace, world: World) -> bool:
    return world.name in {row.name for row in store.datasets(ws)}


def _is_embedded(ws: Workspace, world: World) -> bool:
    return _has_data(ws, world) and ENCODER in store.dataset_row(ws, world.name).encoders


def _has_bank(ws: Workspace, name: str) -> bool:
    return name in {row.name for row in store.banks(ws)}


def _has_model(ws: Workspace, name: str) -> bool:
    return name in {row.name for row in store.models(ws)}


def _import(world: World) -> Callable[[Workspace, OnProgress], object]:
    def work(ws: Workspace, on_progress: OnProgress) -> object:
        manifest = draw(world, ws.folder("images") / f"demo-{world.name}", on_progress)
        params = {"path": str(manifest), "name": world.name, "layout": "manifest", "reference": True}
        return tasks.run(ws, "import", params, on_progress)

    return work


def draw(world: World, folder: Path, on_progress: OnProgress) -> Path:
    """Render a world into a folder, as far as it is not there, and return its manifest."""
    from assets.birds import write_birds
    from assets.cells import write_cells

    write = {"birds": write_birds, "cells": write_cells}[world.name]
    return write(folder, counts=world.counts, on_progress=on_progress)


def _embed(world: World) -> Callable[[Workspace, OnProgress], object]:
    def work(ws: Workspace, on_progress: OnProgress) -> object:
        with _all_cores():
            return tasks.run(ws, "embed", {"dataset": world.name, "encoder": ENCODER}, on_progress)

    return work


@contextmanager
def _all_cores() -> Iterator[None]:
    """Let torch use every core: embedding takes half the time of a build, and gains from them what fits do not."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _bank(world: World, name: str, source: str) -> Callable[[Workspace, OnProgress], object]:
    def work(ws: Workspace, on_progress: OnProgress) -> object:
        params: dict[str, Any] = {"dataset": world.name, "encoder": ENCODER, "source": source, "name": name}
        if source == "texts":
            params["texts"] = list(store.dataset_row(ws, world.name).concepts)
        return tasks.run(ws, "bank", params, on_progress)

    return work


def _fit_params(world: World, method: str) -> dict[str, Any]:
    params = {"method": method, "dataset": world.name, "encoder": ENCODER, "bank": bank_for(world, method)}
    return {**params, "options": {}, "name": model_name(world, method)}


def _fit(params: Mapping[str, Any]) -> Callable[[Workspace, OnProgress], object]:
    return lambda ws, on_progress: tasks.run(ws, "fit", params, on_progress)
