"""The numbers that a job tells while it runs (`cbm.progress.Reading`): a line each beside its log, read back as curves."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from app.workspace import Workspace

MOST = 400  # points of a curve


class Point(NamedTuple):
    """A number as it was when the job had come this far, from 0 to 1, and what the job said then."""

    done: float
    value: float
    message: str


def readings_path(ws: Workspace, job: int) -> Path:
    """The file with a job's numbers, one JSON object a line."""
    return ws.folder("logs") / f"job-{job}.readings.jsonl"


def keep(ws: Workspace, job: int, done: float, message: str, numbers: Mapping[str, float]) -> None:
    """Write one reading down."""
    line = json.dumps({"done": done, "message": message, "numbers": dict(numbers)})
    with readings_path(ws, job).open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def forget(ws: Workspace, job: int) -> None:
    """Begin anew."""
    readings_path(ws, job).unlink(missing_ok=True)


def curves_of(ws: Workspace, job: int) -> dict[str, list[Point]]:
    """Every number of a job as a curve, by name, at most some hundred points each; nothing for a job that told none."""
    file = readings_path(ws, job)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    curves: dict[str, list[Point]] = {}
    for line in lines:
        reading = _read(line)
        for name, value in reading.get("numbers", {}).items():
            curves.setdefault(name, []).append(Point(reading["done"], value, reading["message"]))
    return {name: _thinned(points) for name, points in curves.items()}


def _read(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError:  # the last line, while it is being written
        return {}


def _thinned(points: list[Point]) -> list[Point]:
    """Every so many points, and always the last."""
    every = -(-len(points) // MOST)
    return points[(len(points) - 1) % every :: every]
