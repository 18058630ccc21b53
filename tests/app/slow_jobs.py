"""Job kinds that only the tests of the worker have; a worker loads them as an extension."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

from app import tasks
from app.workspace import Workspace
from cbm.errors import DataError
from cbm.progress import OnProgress, Reading

Params = Mapping[str, Any]


def count(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """Count in small steps, and say so."""
    for i in range(params["steps"]):
        on_progress(i / params["steps"], f"step {i}")
        time.sleep(params.get("seconds", 0.01))
    print("counted to", params["steps"])
    return {"steps": params["steps"]}


def learn(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """Tell a loss that halves with every step, and die once on the way if `file` is given and not there yet."""
    for i in range(params["steps"]):
        on_progress(i / params["steps"], Reading(f"step {i}", loss=0.5**i, **{"accuracy/val": i / params["steps"]}))
    if "file" in params and not Path(params["file"]).exists():
        Path(params["file"]).touch()
        time.sleep(0.2)  # until the readings have left the pipe
        os.kill(os.getpid(), signal.SIGKILL)
    return {}


def deaf(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """Never report, so never notice a cancellation, the first time; leave the process number in a file."""
    file = Path(params["file"])
    first = not file.exists()
    file.write_text(str(os.getpid()))
    time.sleep(600 if first else 0)
    return {}


def die(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """End as if the system had run out of memory, the first `times` times."""
    file = Path(params["file"])
    starts = int(file.read_text()) if file.exists() else 0
    file.write_text(str(starts + 1))
    if starts < params["times"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"starts": starts + 1}


def refuse(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """Fail with an explanation."""
    raise DataError("there are no images", hint="choose another folder")


def crash(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """Fail as a bug would."""
    return {"quotient": 1 / 0}


def hoard(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """Ask for more memory than there may be."""
    return {"bytes": len(bytearray(params["bytes"]))}


def embed_slowly(ws: Workspace, params: Params, on_progress: OnProgress, kind: str = "embed") -> dict[str, Any]:
    """The job "embed" itself, with an encoder that takes its time."""
    from colour_encoder import ColourEncoder  # only this job waits for torch

    with patch("app.store.load_encoder", lambda ws, id: ColourEncoder(params["seconds"])):
        return tasks.run(ws, kind, {**params, "encoder": "test:colour"}, on_progress)


def embed_part_slowly(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """The same for a part of it."""
    return embed_slowly(ws, params, on_progress, "embed-part")


tasks.TASKS.update(
    {job.__name__: job for job in (count, learn, deaf, die, refuse, crash, hoard, embed_slowly, embed_part_slowly)}
)
