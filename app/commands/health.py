"""`pellucid doctor` and `pellucid db`: whether everything is as it should be."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import click

from app.commands.call import Call, command, table
from app.settings import Settings
from cbm.errors import PellucidError, StoreError

PACKAGES = ("torch", "torchvision", "open_clip_torch", "timm", "transformers", "streamlit", "sqlalchemy", "numpy")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `hint` says what to do when it is not ok."""

    name: str
    state: Literal["ok", "note", "problem"]
    detail: str
    hint: str = ""


def register(main: click.Group) -> None:
    """Add the commands to `pellucid`."""
    main.add_command(database)

    @command(main, "doctor", computing=True)
    def doctor(call: Call) -> None:
        """Check versions, devices, folders and encoders.

        \b
        Example:
          pellucid doctor --json
        """
        findings = list(examine(call.settings))
        items = [asdict(finding) for finding in findings]
        lines = table(items, ("state", "name", "detail"), empty="")
        lines += [f"{finding.name}: {finding.hint}" for finding in findings if finding.hint]
        problems = [finding for finding in findings if finding.state == "problem"]
        call.answer({"ok": not problems, "items": items}, lines)
        if problems:
            click.get_current_context().exit(1)


def examine(settings: Settings) -> Iterator[Finding]:
    """Everything that `pellucid doctor` looks at, in its order."""
    yield Finding("python", "ok", sys.version.split()[0])
    yield from _packages()
    yield from _torchvision()
    yield from _devices(settings)
    yield from _workspace(settings)
    yield from _encoders()


def _packages() -> Iterator[Finding]:
    for name in PACKAGES:
        try:
            yield Finding(name, "ok", version(name))
        except PackageNotFoundError:
            yield Finding(name, "problem", "not installed", "install Pellucid again with its constraints.txt")


def _torchvision() -> Iterator[Finding]:
    from cbm.torchvision_guard import declared_operators, ensure_torchvision

    try:
        ensure_torchvision()
    except (ImportError, RuntimeError) as error:
        hint = "install the torchvision that belongs to this torch; constraints.txt names a pair"
        yield Finding("torch beside torchvision", "problem", str(error).splitlines()[0], hint)
        return
    declared = declared_operators()
    if declared:
        detail = f"torchvision is a build for CUDA; we declared {', '.join(declared)} so that it loads"
        yield Finding("torch beside torchvision", "note", detail)
    else:
        yield Finding("torch beside torchvision", "ok", "they fit")


def _devices(settings: Settings) -> Iterator[Finding]:
    import torch

    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    names += ["mps"] if torch.backends.mps.is_available() else []
    detail = f"{torch.get_num_threads()} CPU threads" + "".join(f", {name}" for name in names)
    yield Finding("devices", "ok", f"{detail}; set to {settings.device}")


def _workspace(settings: Settings) -> Iterator[Finding]:
    from app.workspace import open_workspace

    try:
        ws = open_workspace(settings)
    except StoreError as error:
        yield Finding("workspace", "problem", error.message, error.hint)
        return
    free = shutil.disk_usage(settings.home).free / 1e9
    shared = ", the folder of this database" if settings.database_url else ""
    yield Finding("workspace", "ok" if free > 2 else "note", f"{settings.home}{shared}, {free:.3g} GB free")
    problems = _database_problems(settings)
    ws.close()
    kind = ws.engine.dialect.name
    yield Finding("database", "problem" if problems else "ok", "; ".join(problems) or f"{kind}, tables fit")


def _encoders() -> Iterator[Finding]:
    from cbm.encoders import list_encoders

    for info in list_encoders():
        yield Finding(info.id, "ok" if info.installed else "note", "works offline" if info.installed else info.note)


@click.group("db")
def database() -> None:
    """The workspace's database: upgrade, check, backup."""


@command(database, "upgrade")
def upgrade(call: Call) -> None:
    """Bring the tables to what this version needs; every command does so by itself.

    \b
    Example:
      pellucid db upgrade
    """
    where = call.ws.engine.url.render_as_string(hide_password=True)
    call.answer({"database": where}, f"{where} is up to date")


@command(database, "check")
def check(call: Call) -> None:
    """Look for damage and for tables that do not fit this version.

    \b
    Example:
      pellucid db check
    """
    problems = _database_problems(call.settings)
    call.answer({"ok": not problems, "problems": problems}, problems or "the database is in order")
    if problems:
        click.get_current_context().exit(1)


@command(database, "backup")
@click.argument("file", type=click.Path(path_type=Path))
def backup(call: Call, file: Path) -> None:
    """Write a consistent copy of the database while others work.

    \b
    Example:
      pellucid db backup monday.db
    """
    from app import db

    path = db.backup(call.ws.engine, file.absolute())
    call.answer({"path": str(path), "bytes": path.stat().st_size}, f"{path}")


def _database_problems(settings: Settings) -> list[str]:
    from sqlalchemy.exc import SQLAlchemyError

    from app import db

    if not settings.database_url and not (settings.home / "pellucid.db").exists():
        raise StoreError(f"there is no database in {settings.home}", hint="make one with: pellucid db upgrade")
    engine = db.open_engine(settings.url)
    try:
        return db.check(engine)
    except SQLAlchemyError as error:
        raise PellucidError(f"the database cannot be read: {error}", hint="restore a backup") from error
    finally:
        engine.dispose()
