"""The database: tables as typed SQLAlchemy models, and the few ways to open, migrate, check and back them up.

Rows hold names, JSON and fingerprints; tensors live in files named by their content. The same code runs on SQLite (WAL,
one writer at a time, who waits) and on PostgreSQL. All times are seconds since 1970 by the database's own clock, so
that workers on hosts with different clocks agree.
"""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    create_engine,
    event,
    text,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from app.files import replacing
from cbm.errors import StoreError

BUSY_SECONDS = 30
MIGRATION_LOCK = 7_105_061  # any number, the same for every Pellucid process


class now(FunctionElement[float]):
    """The database's clock, in seconds since 1970."""

    type = Float()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: SQLCompiler, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: SQLCompiler, **options: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


class Table(DeclarativeBase):
    """Parent of all tables."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON, list[Any]: JSON, str: String, float: Float, int: Integer}  # noqa: RUF012


class Dataset(Table):
    """An imported data set; its columns are in the folder named by `manifest`."""

    __tablename__ = "dataset"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    fingerprint: Mapped[str]
    manifest: Mapped[str]
    size: Mapped[int]
    classes: Mapped[list[Any]]
    concepts: Mapped[list[Any]]
    splits: Mapped[dict[str, Any]]
    report: Mapped[dict[str, Any]]
    created: Mapped[float] = mapped_column(default=now())


class Image(Table):
    """One row an image, for galleries: `concepts` has one character a concept, 1, 0 or ? (unknown)."""

    __tablename__ = "image"
    __table_args__ = (
        Index("ix_image_class", "dataset_id", "label", "position"),
        Index("ix_image_split", "dataset_id", "split", "position"),
        UniqueConstraint("dataset_id", "key"),
    )

    dataset_id: Mapped[int] = mapped_column(ForeignKey("dataset.id", ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str]
    path: Mapped[str]
    label: Mapped[int]
    split: Mapped[str]
    group: Mapped[str | None]
    hash: Mapped[str]
    concepts: Mapped[str] = mapped_column(Text)


class Embedding(Table):
    """That a data set was embedded by an encoder; the numbers are in the embedding store."""

    __tablename__ = "embedding"
    __table_args__ = (UniqueConstraint("dataset_id", "encoder"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("dataset.id", ondelete="CASCADE"))
    encoder: Mapped[str]
    contract: Mapped[str]
    created: Mapped[float] = mapped_column(default=now())


class Bank(Table):
    """A concept bank; its vectors are in the file named by `fingerprint`."""

    __tablename__ = "bank"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    dataset: Mapped[str | None]
    encoder: Mapped[str]
    fingerprint: Mapped[str]
    summary: Mapped[dict[str, Any]]
    created: Mapped[float] = mapped_column(default=now())


class Model(Table):
    """A base model, before its edits; its tensors are in the file named by `fingerprint`."""

    __tablename__ = "model"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    method: Mapped[str]
    dataset: Mapped[str | None]
    encoder: Mapped[str]
    bank: Mapped[str | None]
    fingerprint: Mapped[str]
    recipe: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    created: Mapped[float] = mapped_column(default=now())


class Branch(Table):
    """An edit script of a model: all edits, of which the first `cursor` count; `version` grows with every change."""

    __tablename__ = "branch"
    __table_args__ = (UniqueConstraint("model_id", "name"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id", ondelete="CASCADE"))
    name: Mapped[str]
    edits: Mapped[list[Any]]
    cursor: Mapped[int]
    version: Mapped[int]


class Draft(Table):
    """Interventions on one image that are not an edit of the model (yet): concept name to value."""

    __tablename__ = "draft"
    __table_args__ = (UniqueConstraint("model_id", "image", "owner"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey("model.id", ondelete="CASCADE"))
    image: Mapped[str]
    owner: Mapped[str]
    clamps: Mapped[dict[str, Any]]
    updated: Mapped[float] = mapped_column(default=now(), onupdate=now())


class Note(Table):
    """What a person wrote about an object, for example about the image 12 of the data set birds."""

    __tablename__ = "note"
    __table_args__ = (Index("ix_note_subject", "kind", "subject"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    subject: Mapped[str]
    owner: Mapped[str]
    text: Mapped[str] = mapped_column(Text)
    created: Mapped[float] = mapped_column(default=now())


ACTIVE = text("state IN ('queued', 'running')")


class Job(Table):
    """Long work: see `app.jobs`."""

    __tablename__ = "job"
    __table_args__ = (
        Index(
            "uq_job_active",
            "kind",
            "params_hash",
            unique=True,
            sqlite_where=ACTIVE,
            postgresql_where=ACTIVE,
        ),
        Index("ix_job_state", "state", "priority", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    params: Mapped[dict[str, Any]]
    params_hash: Mapped[str]
    state: Mapped[str] = mapped_column(default="queued")
    priority: Mapped[int] = mapped_column(default=0)
    owner: Mapped[str] = mapped_column(default="")
    created: Mapped[float] = mapped_column(default=now())
    started: Mapped[float | None]
    finished: Mapped[float | None]
    worker: Mapped[str | None]
    heartbeat: Mapped[float | None]
    attempt: Mapped[int] = mapped_column(default=0)
    max_attempt: Mapped[int]
    progress: Mapped[float] = mapped_column(default=0.0)
    message: Mapped[str] = mapped_column(Text, default="")
    cancel_requested: Mapped[bool] = mapped_column(Boolean, default=False)
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    error: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))


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
