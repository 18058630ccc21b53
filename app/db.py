"""The database: how it is opened, migrated, checked and backed up.

Rows hold names, JSON and fingerprints; tensors live in files named by their content. The same code runs on SQLite (WAL,
one writer at a time, who waits) and on PostgreSQL.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from app.tables import Table
from cbm.errors import StoreError
from cbm.whole_files import replacing

BUSY_SECONDS = 30
MIGRATION_LOCK = 7_105_061  # any number, the same for every Pellucid process


def open_engine(url: str) -> Engine:
    """A connection pool; on SQLite in WAL mode, with foreign keys, and with writers that wait for one another."""
    engine = create_engine(url, pool_pre_ping=not url.startswith("sqlite"))
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves; the driver would not before a SELECT or DDL
    for pragma in (f"busy_timeout={BUSY_SECONDS * 1000}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: Connection) -> None:
    # A transaction that first reads and then writes cannot wait for the lock, so a writer takes it at once.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


@contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session that sees one consistent state."""
    with Session(engine) as session:
        yield session


@contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """A session whose changes are all kept, or none if the block raises."""
    with Session(engine.execution_options(writes=True), expire_on_commit=False) as session, session.begin():
        yield session


def upgrade(engine: Engine) -> None:
    """Bring the tables to what this version needs; several processes may do so at once.

    Raises
    ------
    StoreError
        If the database cannot be reached, or was made by a newer Pellucid.
    """
    from alembic import command
    from alembic.util import CommandError

    try:
        with engine.execution_options(writes=True).begin() as connection:
            if engine.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
            command.upgrade(_alembic(connection), "head")
    except OperationalError as error:
        where = engine.url.render_as_string(hide_password=True)
        raise StoreError(
            f"the database {where} cannot be opened: {error.orig}", hint="check the database URL"
        ) from error
    except CommandError as error:
        raise StoreError(f"the database does not fit this version: {error}", hint="update Pellucid") from error


def _alembic(connection: Connection) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def check(engine: Engine) -> list[str]:
    """What is wrong with the database, one sentence each; an empty list when nothing is."""
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        problems = [
            f"the tables differ from this version: {change}" for change in compare_metadata(context, Table.metadata)
        ]
        if engine.dialect.name == "sqlite":
            answers = connection.execute(text("PRAGMA integrity_check")).scalars().all()
            problems += [f"integrity: {answer}" for answer in answers if answer != "ok"]
            orphans = connection.execute(text("PRAGMA foreign_key_check")).all()
            problems += [f"a row of {row[0]} points to nothing in {row[2]}" for row in orphans]
    return problems


def backup(engine: Engine, path: Path) -> Path:
    """Write a consistent copy of the database while others work: a SQLite file, or a `pg_dump` archive.

    Raises
    ------
    StoreError
        If the file exists already, or `pg_dump` is missing or fails.
    """
    if path.exists():
        raise StoreError(f"{path} exists already", hint="choose another file name")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        if engine.dialect.name == "sqlite":
            with closing(engine.raw_connection()) as connection:  # no transaction: VACUUM refuses to run in one
                connection.cursor().execute("VACUUM INTO ?", (str(temporary),))
        else:
            _pg_dump(engine, temporary)
    return path


def _pg_dump(engine: Engine, path: Path) -> None:
    program = shutil.which("pg_dump")
    if program is None:
        raise StoreError("pg_dump is not installed", hint="install PostgreSQL's client programs")
    url = engine.url.set(drivername="postgresql", password=None).render_as_string()
    environment = {"PGPASSWORD": engine.url.password or ""}
    command = [program, "--format=custom", f"--file={path}", f"--dbname={url}"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StoreError(f"pg_dump failed: {done.stderr.strip()}", hint="check that its version fits the server's")
