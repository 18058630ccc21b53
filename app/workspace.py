"""A workspace: the settings, the database and the folders that belong together.

home/pellucid.db       SQLite, unless a database URL is set
home/datasets/         manifests, named by their content
home/images/           imported pictures, named by their content
home/embeddings/       the embedding store
home/banks/  models/   concept banks and base models, named by their content
home/thumbnails/       JPEG pictures at gallery size
home/logs/             one file a job
home/uploads/          what a browser sent, until it is imported
home/workspace.id      which database it belongs to, when that is not a file in it
home/patients.salt     what the patients of DICOM files are hashed with
"""

import secrets
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, select
from sqlalchemy.dialects import postgresql, sqlite

from app import db
from app.settings import Settings
from app.tables import Bank, Dataset, Home, Model
from cbm.errors import StoreError, UsageError
from cbm.whole_files import write_bytes

FOLDERS = ("datasets", "manifests", "embeddings", "banks", "models", "thumbnails", "trust", "kept", "logs")


@dataclass(frozen=True)
class Workspace:
    """What every function of `app.store`, `app.history` and `app.jobs` takes first; share it between threads."""

    settings: Settings
    engine: Engine

    def folder(self, name: str) -> Path:
        """One of the workspace's folders, for example "models"."""
        return self.settings.home / name

    def close(self) -> None:
        """Close all database connections."""
        self.engine.dispose()


def check_name(name: str) -> None:
    """Refuse what cannot name a data set, bank or model on a command line and in a link.

    Raises
    ------
    UsageError
        If it is empty, padded, too long, or has a slash or an unprintable character.
    """
    if not name or name != name.strip() or len(name) > 120 or not name.isprintable() or "/" in name:
        raise UsageError(f"{name!r} cannot be a name", hint="use up to 120 printable characters without a slash")


def check(ws: Workspace) -> list[str]:
    """What is wrong with the database or missing among the files, one sentence each; empty when nothing is."""
    files = ((Dataset.name, Dataset.manifest, "manifests"), (Bank.name, Bank.fingerprint, "banks"))
    problems = db.check(ws.engine)
    with db.reading(ws.engine) as session:
        for name, content, folder in (*files, (Model.name, Model.fingerprint, "models")):
            rows = session.execute(select(name, content))
            missing = [(title, file) for title, file in rows if not (ws.folder(folder) / file).exists()]
            problems += [f"{title!r} has lost its files: {folder}/{file} is missing" for title, file in missing]
    return problems


def open_workspace(settings: Settings) -> Workspace:
    """Open a workspace; its folders are made and its database is migrated when needed.

    Raises
    ------
    StoreError
        If the folder cannot be written, the database cannot be opened, or one does not belong to the other.
    """
    _make(settings.home)
    engine = db.open_engine(settings.url)
    db.upgrade(engine)
    ws = Workspace(settings, engine)
    if settings.database_url:
        _belong_together(ws)
    for name in FOLDERS:
        _make(ws.folder(name))
    return ws


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(
            f"the workspace folder {folder} cannot be made: {error.strerror}",
            hint="choose another one with --workspace or PELLUCID_HOME",
        ) from error


def _belong_together(ws: Workspace) -> None:
    """A host with another folder would look for files in vain, and write such as nobody finds."""
    file = ws.settings.home / "workspace.id"
    here = file.read_text().strip() if file.exists() else ""
    with db.reading(ws.engine) as session:
        known = session.scalar(select(Home.id))
    if known is None:
        insert = postgresql.insert if ws.engine.dialect.name == "postgresql" else sqlite.insert
        name = here or secrets.token_hex(16)
        with db.writing(ws.engine) as session:
            made = session.scalar(
                insert(Home).values(only=1, id=name).on_conflict_do_nothing().returning(Home.id)
            )  # of several hosts that do this at once, the others wait here for the first
            if made is not None:
                write_bytes(file, name.encode())
            known = session.scalar(select(Home.id))
        here = file.read_text().strip() if file.exists() else ""
    if here != known:
        ws.close()
        raise StoreError(
            f"{ws.settings.home} is not the workspace folder of this database",
            hint="mount the folder that the other hosts use, or name it with PELLUCID_HOME; "
            f"if it is the right one and lost its file {file.name}, write {known} into it",
        )
