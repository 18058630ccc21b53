"""What jobs do: one small function a job kind, from parameters to a JSON result.

A task calls the library, then the store; rows are written last, so that a task which is killed and started again
finds its half-done files and ends with the same bytes. To add a kind, write a function and name it in `TASKS`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from app.workspace import Workspace
from cbm.errors import unknown
from cbm.progress import OnProgress

Task = Callable[[Workspace, Mapping[str, Any], OnProgress], dict[str, Any]]

TASKS: dict[str, Task] = {}


def run(ws: Workspace, kind: str, params: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Do a job here and now; workers and the command line come here.

    Raises
    ------
    UnknownName
        If there is no such kind of job.
    """
    if kind not in TASKS:
        raise unknown("kind of job", kind, TASKS)
    return TASKS[kind](ws, params, on_progress)
