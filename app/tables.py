"""The tables, as typed SQLAlchemy models; they never leave `app`'s inner modules, which return frozen rows instead.

All times are seconds since 1970 by the database's own clock, so that workers on hosts with different clocks agree.
"""

from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


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


class Token(Table):
    """Who may use the REST interface; only a digest of what they show is kept."""

    __tablename__ = "token"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    digest: Mapped[str] = mapped_column(unique=True)
    writes: Mapped[bool] = mapped_column(Boolean)
    created: Mapped[float] = mapped_column(default=now())


class Home(Table):
    """The one row that names the workspace folder that belongs to this database; the folder holds the same name."""

    __tablename__ = "home"

    only: Mapped[int] = mapped_column(primary_key=True)
    id: Mapped[str]


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
        Index("ix_job_parent", "parent"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str]
    params: Mapped[dict[str, Any]]
    params_hash: Mapped[str]
    state: Mapped[str] = mapped_column(default="queued")
    parent: Mapped[int | None]
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
