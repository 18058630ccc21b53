"""Job kinds that only the tests of the worker have; a worker loads them as an extension."""

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from app.tasks import TASKS
from app.workspace import Workspace
from cbm.errors import DataError
from cbm.progress import OnProgress

Params = Mapping[str, Any]


def count(ws: Workspace, params: Params, on_progress: OnProgress) -> dict[str, Any]:
    """Count in small steps, and say so."""
    for i in range(params["steps"]):
        on_progress(i / params["steps"], f"step {i}")
        time.sleep(params.get("seconds", 0.01))
    print("counted to", params["steps"])
    return {"steps": params["steps"]}


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


TASKS.update({"count": count, "deaf": deaf, "die": die, "refuse": refuse, "crash": crash})
