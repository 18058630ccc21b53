"""Concept banks and models of a workspace: rows with names and numbers, files named by their content."""

import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.db import reading, writing
from app.history import MAIN, base_model, history, start_history, unknown_model
from app.tables import Bank, Branch, Model
from app.workspace import Workspace, check_name
from cbm.errors import StoreError, UsageError, unknown

if TYPE_CHECKING:
    from cbm.bank import ConceptBank
    from cbm.model import ConceptModel


Row = TypeVar("Row", Bank, Model)

WORDS = {"text", "vocabulary", "sentence"}  # sources of concepts that only a text encoder has seen


@dataclass(frozen=True)
class BankRow:
    """A concept bank as lists show it; `summary` has `concepts`, `sources`, `mean_auroc` and `weak`."""

    name: str
    dataset: str | None
    encoder: str
    fingerprint: str
    summary: Mapping[str, Any]
    created: float

    @property
    def from_words(self) -> bool:
        """Whether all its concepts come from words or sentences and none from images."""
        return bool(sources := set(self.summary.get("sources", ()))) and sources <= WORDS


@dataclass(frozen=True)
class ModelRow:
    """A model as lists show it; `edits` is how many count on its main branch, `version` that branch's version."""

    name: str
    method: str
    dataset: str | None
    encoder: str
    bank: str | None
    fingerprint: str
    recipe: Mapping[str, Any]
    metrics: Mapping[str, Any]
    created: float
    edits: int
    version: int


def add_bank(ws: Workspace, name: str, bank: "ConceptBank", *, dataset: str | None = None) -> BankRow:
    """Store a concept bank under a name; adding the same one again changes nothing.

    Raises
    ------
    StoreError
        If another bank has that name already.
    """
    from cbm.io import fingerprint, save_bank

    check_name(name)
    content = fingerprint(bank)
    with reading(ws.engine) as session:  # before the file is written, so that a refusal leaves nothing behind
        _same(session, Bank, name, content)
    if not (ws.folder("banks") / content).exists():
        save_bank(bank, ws.folder("banks") / content)
    with writing(ws.engine) as session:
        there = _same(session, Bank, name, content)
        if there is None:
            values = {"dataset": dataset, "encoder": bank.encoder_id, "fingerprint": content}
            session.add(Bank(name=name, summary=_summary(bank), **values))
    return bank_row(ws, name)


def replace_bank(ws: Workspace, name: str, bank: "ConceptBank", *, instead_of: str) -> BankRow:
    """Put another bank under a name; models made from the one before keep their own copy.

    Parameters
    ----------
    instead_of
        Fingerprint of the bank that the person was looking at.

    Raises
    ------
    StoreError
        If the name stands for another bank by now.
    """
    from cbm.io import fingerprint, save_bank

    content = fingerprint(bank)
    if not (ws.folder("banks") / content).exists():
        save_bank(bank, ws.folder("banks") / content)
    changed = update(Bank).where(Bank.name == name, Bank.fingerprint == instead_of)
    with writing(ws.engine) as session:
        statement = changed.values(fingerprint=content, summary=_summary(bank)).returning(Bank.id)
        done = session.scalar(statement) is not None
        last = not session.scalar(select(func.count()).where(Bank.fingerprint == instead_of))
    if not done:
        raise StoreError(f"the bank {name!r} was changed meanwhile", hint="look at it again, and repeat the change")
    _remove(ws, "banks", instead_of, last and content != instead_of)
    return bank_row(ws, name)


def banks(ws: Workspace, *, encoder: str | None = None) -> list[BankRow]:
    """All concept banks by name, or those in the space of one encoder."""
    query = select(Bank).order_by(Bank.name)
    if encoder is not None:
        query = query.where(Bank.encoder == encoder)
    with reading(ws.engine) as session:
        return [_bank_row(row) for row in session.scalars(query)]


def bank_row(ws: Workspace, name: str) -> BankRow:
    """One concept bank as lists show it; `UnknownName` if there is none of that name."""
    with reading(ws.engine) as session:
        row = session.scalars(select(Bank).where(Bank.name == name)).one_or_none()
        if row is None:
            raise unknown("concept bank", name, session.scalars(select(Bank.name).order_by(Bank.name)))
        return _bank_row(row)


def bank(ws: Workspace, name: str) -> "ConceptBank":
    """The concept bank of this name; `UnknownName` if there is none."""
    from cbm.io import load_bank

    return load_bank(ws.folder("banks") / bank_row(ws, name).fingerprint)


def delete_bank(ws: Workspace, name: str) -> None:
    """Forget a concept bank; models made from it keep their own copy."""
    row = bank_row(ws, name)
    with writing(ws.engine) as session:
        session.execute(delete(Bank).where(Bank.name == name))
        last = not session.scalar(select(func.count()).where(Bank.fingerprint == row.fingerprint))
    _remove(ws, "banks", row.fingerprint, last)


def add_model(
    ws: Workspace,
    name: str,
    model: "ConceptModel",
    *,
    dataset: str | None = None,
    bank: str | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> ModelRow:
    """Store a model under a name, with an empty list of edits; adding the same one again only renews its metrics.

    Raises
    ------
    StoreError
        If another model has that name already.
    """
    from cbm.io import fingerprint, save

    check_name(name)
    content = fingerprint(model)
    with reading(ws.engine) as session:  # before the file is written, so that a refusal leaves nothing behind
        _same(session, Model, name, content)
    if not (ws.folder("models") / content).exists():
        save(model, ws.folder("models") / content)
    with writing(ws.engine) as session:
        there = _same(session, Model, name, content)
        if there is None:
            row = Model(
                name=name,
                method=model.recipe.method,
                dataset=dataset,
                encoder=model.recipe.encoder_id,
                bank=bank,
                fingerprint=content,
                recipe=asdict(model.recipe),
                metrics=dict(metrics or {}),
            )
            session.add(row)
            session.flush()
            start_history(session, row.id)
        elif metrics is not None:
            there.metrics = dict(metrics)
    return model_row(ws, name)


def models(ws: Workspace, *, dataset: str | None = None) -> list[ModelRow]:
    """All models by name, or those made with one data set."""
    query = _MODELS.order_by(Model.name)
    if dataset is not None:
        query = query.where(Model.dataset == dataset)
    with reading(ws.engine) as session:
        return [_model_row(*row) for row in session.execute(query)]


def model_row(ws: Workspace, name: str) -> ModelRow:
    """One model as lists show it; `UnknownName` if there is none of that name."""
    with reading(ws.engine) as session:
        row = session.execute(_MODELS.where(Model.name == name)).one_or_none()
    if row is None:
        raise unknown_model(ws, name)
    return _model_row(*row)


def model(ws: Workspace, name: str, version: int | None = None, *, branch: str = MAIN) -> "ConceptModel":
    """A model with its edits applied.

    Parameters
    ----------
    version
        How many of the edits to apply, 0 for the model as it was fitted; all that count by default.

    Raises
    ------
    UnknownName
        If there is no such model or branch.
    UsageError
        If there are fewer edits than `version`.
    """
    from cbm.edits import apply

    script = history(ws, name, branch).edits
    if version is not None and not 0 <= version <= len(script):
        raise UsageError(f"{name!r} has no version {version}", hint=f"its versions are 0 to {len(script)}")
    return apply(base_model(ws, name), script[:version])


def set_metrics(ws: Workspace, name: str, metrics: Mapping[str, Any], *, split: str | None = None) -> None:
    """Store what was measured, under the split's name when one is given; other splits keep theirs."""
    with writing(ws.engine) as session:
        row = session.scalars(select(Model).where(Model.name == name).with_for_update()).one_or_none()
        if row is not None:
            row.metrics = dict(metrics) if split is None else {**row.metrics, split: dict(metrics)}
    if row is None:
        raise unknown_model(ws, name)


def rename_model(ws: Workspace, name: str, to: str) -> ModelRow:
    """Give a model another name; its edits, branches and drafts go with it.

    Raises
    ------
    StoreError
        If another model has that name already.
    """
    check_name(to)
    try:
        with writing(ws.engine) as session:
            changed = session.scalar(update(Model).where(Model.name == name).values(name=to).returning(Model.id))
    except IntegrityError as error:
        raise _taken("model", to) from error
    if changed is None:
        raise unknown_model(ws, name)
    return model_row(ws, to)


def delete_model(ws: Workspace, name: str) -> None:
    """Remove a model with its edits, branches and drafts."""
    row = model_row(ws, name)
    with writing(ws.engine) as session:
        session.execute(delete(Model).where(Model.name == name))
        last = not session.scalar(select(func.count()).where(Model.fingerprint == row.fingerprint))
    _remove(ws, "models", row.fingerprint, last)


_MODELS = select(Model, Branch.cursor, Branch.version).join(
    Branch, (Branch.model_id == Model.id) & (Branch.name == MAIN)
)


def _model_row(row: Model, edits: int, version: int) -> ModelRow:
    same = ("name", "method", "dataset", "encoder", "bank", "fingerprint", "recipe", "metrics", "created")
    return ModelRow(**{field: getattr(row, field) for field in same}, edits=edits, version=version)


def _bank_row(row: Bank) -> BankRow:
    return BankRow(row.name, row.dataset, row.encoder, row.fingerprint, row.summary, row.created)


def _summary(bank: "ConceptBank") -> dict[str, Any]:
    known = [quality.auroc for quality in bank.quality if quality.auroc is not None]
    return {
        "concepts": len(bank.names),
        "sources": dict(Counter(origin.source for origin in bank.origin)),
        "mean_auroc": sum(known) / len(known) if known else None,
        "weak": sum(bool(quality.note) for quality in bank.quality),
    }


def _same(session: Session, table: type[Row], name: str, content: str) -> Row | None:
    """The row of this name, when it stands for the same content."""
    there = session.scalars(select(table).where(table.name == name)).one_or_none()
    if there is not None and there.fingerprint != content:
        raise _taken("model" if table is Model else "concept bank", name)
    return there


def _taken(what: Literal["model", "concept bank"], name: str) -> StoreError:
    return StoreError(f"there is another {what} named {name!r}", hint="choose another name, or delete that one first")


def _remove(ws: Workspace, folder: str, fingerprint: str, last: bool) -> None:
    path = ws.folder(folder) / fingerprint
    if last and path.exists():
        shutil.rmtree(path)
