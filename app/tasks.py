"""What jobs do: one small function a job kind, from parameters to a JSON result.

A task calls the library, then the store; rows are written last, so that a task which is killed and started again
finds its half-done files and ends with the same bytes. To add a kind, write a function and name it in `TASKS`.
"""

import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import store
from app.encoding import embed_dataset, embed_part
from app.fitting import build_bank, fit_model
from app.measuring import measure_model
from app.probing import probe_heads, probe_layers
from app.trusting import trust_model
from app.uploads import forget
from app.workspace import Workspace
from cbm.errors import UsageError, unknown
from cbm.progress import OnProgress, part
from cbm.whole_files import replacing

if TYPE_CHECKING:
    from cbm.process_group import Group

SALT = "patients.salt"
Task = Callable[..., dict[str, Any]]  # of a workspace, parameters, `on_progress`, and a group if it is in `SHARED`


def check_images(ws: Workspace, params: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """What an import of `path` would find, and the name that it would get by itself; nothing is stored."""
    from cbm.data import default_name, preflight

    path = Path(params["path"])
    options = params.get("options") or {}
    layout = params.get("layout", "auto")
    report = preflight(path, layout, options=options, salt=_salt(ws), on_progress=on_progress)
    return {"path": str(path), "name": default_name(path), **report.to_json()}


def import_dataset(ws: Workspace, params: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Read images from `path` as the data set `name`; the files are copied unless `reference` is true."""
    from cbm.archives import is_archive
    from cbm.data import dataset_of
    from cbm.incoming import listed

    path, copy = Path(params["path"]), not params.get("reference", False)
    if is_archive(path) and not copy:
        raise UsageError(f"{path.name!r} is an archive", hint="an archive can only be copied, not referenced")
    layout, options = params.get("layout", "auto"), params.get("options") or {}
    ready = part(on_progress, 0.0, 0.3)
    with listed(path, layout, options=options, salt=_salt(ws), within=_room(ws), on_progress=ready) as listing:
        if not copy and any(row.file for row in listing.rows):
            raise UsageError(f"the pictures of {path.name!r} are no files of their own", hint="they can only be copied")
        dataset, report = dataset_of(
            listing, params["name"], skip_bad=params.get("skip_bad", False), on_progress=part(on_progress, 0.3, 0.6)
        )
        if copy:
            dataset = store.copy_images(ws, dataset, on_progress=part(on_progress, 0.6, 0.95))
    store.add_dataset(ws, dataset, report.to_json())
    if copy:
        forget(ws, path)
    return {"dataset": dataset.name, **report.to_json()}


def _room(ws: Workspace) -> Path:
    """Where data sets are unpacked: on the workspace's disk, as the system's own place may be small."""
    folder = ws.folder("uploads")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _salt(ws: Workspace) -> bytes:
    """What this workspace hashes patients with: made once, so that a patient keeps the same name in it."""
    file = ws.settings.home / SALT
    if not file.exists():
        with replacing(file) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_bytes(secrets.token_bytes(32))
    return file.read_bytes()


TASKS: dict[str, Task] = {
    "check": check_images,
    "import": import_dataset,
    "embed": embed_dataset,
    "embed-part": embed_part,
    "bank": build_bank,
    "fit": fit_model,
    "heads": probe_heads,
    "layers": probe_layers,
    "measure": measure_model,
    "trust": trust_model,
}


SHARED = ("embed", "fit", "bank")  # kinds whose tasks take a group of processes that work on them together


def run(
    ws: Workspace, kind: str, params: Mapping[str, Any], on_progress: OnProgress, group: "Group | None" = None
) -> dict[str, Any]:
    """Do a job here and now; workers and the command line come here.

    Parameters
    ----------
    group
        The processes that all call this and share the work; only the first one writes to the database.

    Raises
    ------
    UnknownName
        If there is no such kind of job.
    """
    if kind not in TASKS:
        raise unknown("kind of job", kind, TASKS)
    if group is None or group.size == 1:
        return TASKS[kind](ws, params, on_progress)
    if kind not in SHARED:
        raise UsageError(f"the job {kind!r} cannot be shared by several processes", hint="start it without torchrun")
    return TASKS[kind](ws, params, on_progress, group)
