"""The edits of a model: a script on a named branch, with undo and redo, that two tabs can change without a loss.

    h = history(ws, "birds-posthoc")          h.edits (done), h.undone (can be redone), h.version
    append(ws, "birds-posthoc", [DropConcept("water")], expect_version=h.version)
    undo(ws, "birds-posthoc")                 redo(ws, "birds-posthoc")
    new_branch(ws, "birds-posthoc", "careful")      branches(ws, "birds-posthoc")      diff(a.edits, b.edits)

A script is a list, so edits from two tabs are merged by appending, each checked against the model as it then is. What
would lose something that the person has not seen raises `StaleEdit` instead: appending after somebody else's undo, or
an undo that would hit an edit that came meanwhile.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from app.db import reading, writing
from app.tables import Branch, Model
from app.workspace import Workspace
from cbm.errors import StoreError, unknown

if TYPE_CHECKING:
    from cbm.edits import Edit
    from cbm.model import ConceptModel
    from cbm.replay import Conflict

MAIN = "main"


class StaleEdit(StoreError):
    """The edits have changed since the person looked at them."""

    kind = "stale"


@dataclass(frozen=True)
class History:
    """A branch as it was when it was read.

    Attributes
    ----------
    edits
        Those that count, oldest first.
    undone
        Those that `redo` would bring back, next one first.
    version
        Grows with every change; hand it back as `expect_version`.
    """

    model: str
    branch: str
    edits: "tuple[Edit, ...]"
    undone: "tuple[Edit, ...]"
    version: int

    def to_json(self) -> dict[str, Any]:
        """The branch as the command line and the REST interface tell it."""
        if not self.edits and not self.undone:
            return {"model": self.model, "branch": self.branch, "version": self.version, "edits": [], "undone": []}
        from cbm.edits import to_json

        lists = {"edits": self.edits, "undone": self.undone}
        told = {name: [to_json(edit) for edit in edits] for name, edits in lists.items()}
        return {"model": self.model, "branch": self.branch, "version": self.version, **told}


@dataclass(frozen=True)
class Diff:
    """Two scripts: what both begin with, and how each goes on."""

    common: "tuple[Edit, ...]"
    left: "tuple[Edit, ...]"
    right: "tuple[Edit, ...]"


def history(ws: Workspace, model: str, branch: str = MAIN) -> History:
    """The edits of a model on a branch.

    Raises
    ------
    UnknownName
        If there is no such model or branch.
    """
    return _value(model, _read(ws, model, branch))


def append(
    ws: Workspace, model: str, edits: "Sequence[Edit]", *, branch: str = MAIN, expect_version: int | None = None
) -> History:
    """Add edits after those that count; undone ones are then gone.

    Parameters
    ----------
    expect_version
        The version that the person was looking at. Edits that came since are kept before the new ones.

    Raises
    ------
    StaleEdit
        If there are undone edits that the person has not seen as undone.
    UnknownName, ModelError
        If an edit does not fit the model as it is now.
    """
    from cbm.edits import apply, to_json

    base = base_model(ws, model)
    while True:  # again only when another session was faster
        row = _read(ws, model, branch)
        before = _value(model, row)
        if before.undone and expect_version is not None and expect_version != before.version:
            raise StaleEdit(
                f"{len(before.undone)} edits of {model!r} were undone meanwhile, and a new edit would discard them",
                hint="look at the list of edits again, redo or keep them undone, and repeat the edit",
            )
        apply(apply(base, before.edits), edits)
        script = [*row.edits[: row.cursor], *(to_json(edit) for edit in edits)]
        if _change(ws, row, edits=script, cursor=len(script)):
            return history(ws, model, branch)


def undo(
    ws: Workspace, model: str, *, branch: str = MAIN, steps: int = 1, expect_version: int | None = None
) -> History:
    """Take back the last edits; as many as there are, if there are fewer than `steps`.

    Raises
    ------
    StaleEdit
        If the edits have changed since `expect_version`.
    """
    return _move(ws, model, branch, -steps, expect_version)


def redo(
    ws: Workspace, model: str, *, branch: str = MAIN, steps: int = 1, expect_version: int | None = None
) -> History:
    """Bring back edits that were undone; as `undo`."""
    return _move(ws, model, branch, steps, expect_version)


def branches(ws: Workspace, model: str) -> list[str]:
    """Names of a model's branches, the main one first."""
    with reading(ws.engine) as session:
        query = select(Branch.name).join(Model, Model.id == Branch.model_id).where(Model.name == model)
        names = list(session.scalars(query.order_by(Branch.name != MAIN, Branch.id)))
    if not names:
        raise unknown_model(ws, model)
    return names


def new_branch(ws: Workspace, model: str, name: str, *, source: str = MAIN) -> History:
    """Start a branch with the edits that count on another one.

    Raises
    ------
    StoreError
        If the name is empty or taken.
    """
    if not name.strip():
        raise StoreError("a branch needs a name")
    start = _read(ws, model, source)
    script = start.edits[: start.cursor]
    try:
        with writing(ws.engine) as session:
            row = Branch(model_id=start.model_id, name=name, edits=script, cursor=len(script), version=0)
            session.add(row)
    except IntegrityError as error:
        raise StoreError(f"{model!r} already has a branch {name!r}", hint="choose another name") from error
    return history(ws, model, name)


def delete_branch(ws: Workspace, model: str, name: str) -> None:
    """Remove a branch and its edits; the main one stays."""
    if name == MAIN:
        raise StoreError(f"the branch {MAIN!r} cannot be deleted", hint="undo its edits, or delete the model")
    row = _read(ws, model, name)
    with writing(ws.engine) as session:
        session.execute(delete(Branch).where(Branch.id == row.id))


def diff(left: "Sequence[Edit]", right: "Sequence[Edit]") -> Diff:
    """Where two scripts part.

    Examples
    --------
    >>> diff("abc", "abd") == Diff(("a", "b"), ("c",), ("d",))
    True
    """
    same = 0
    while same < min(len(left), len(right)) and left[same] == right[same]:
        same += 1
    return Diff(tuple(left[:same]), tuple(left[same:]), tuple(right[same:]))


def bring_over(
    ws: Workspace, model: str, source: str, *, into: str = MAIN, expect_version: int | None = None
) -> "tuple[History, tuple[Conflict, ...]]":
    """Add the edits of one branch to another of the same model, as far as they do not contradict it.

    Returns
    -------
    The branch `into` afterwards, and the conflicts, whose edits were left where they are.

    Raises
    ------
    UnknownName
        If there is no such model or branch.
    StaleEdit
        As `append`.
    """
    from cbm.edits import apply
    from cbm.replay import brought_over, conflicts, replay

    here = history(ws, model, into)
    parted = diff(here.edits, history(ws, model, source).edits)
    edited = apply(base_model(ws, model), here.edits)
    fitting = replay(edited, brought_over(parted.left, parted.right)).edits
    if fitting:
        here = append(
            ws, model, fitting, branch=into, expect_version=here.version if expect_version is None else expect_version
        )
    return here, conflicts(parted.left, parted.right)


def base_model(ws: Workspace, name: str) -> "ConceptModel":
    """A model before its edits, from its file.

    Raises
    ------
    UnknownName
        If there is no such model.
    BundleError
        If its file is missing or damaged.
    """
    from cbm.io import load

    with reading(ws.engine) as session:
        fingerprint = session.scalar(select(Model.fingerprint).where(Model.name == name))
    if fingerprint is None:
        raise unknown_model(ws, name)
    return load(ws.folder("models") / fingerprint)


def unknown_model(ws: Workspace, name: str) -> Exception:
    """The error for a model that does not exist, with the closest ones that do."""
    with reading(ws.engine) as session:
        return unknown("model", name, session.scalars(select(Model.name).order_by(Model.name)))


def start_history(session: Any, model_id: int) -> None:
    """Give a new model its main branch, without an edit, in the transaction that makes the model."""
    session.execute(insert(Branch).values(model_id=model_id, name=MAIN, edits=[], cursor=0, version=0))


def _read(ws: Workspace, model: str, branch: str) -> Branch:
    query = select(Branch).join(Model, Model.id == Branch.model_id).where(Model.name == model, Branch.name == branch)
    with reading(ws.engine) as session:
        row = session.scalars(query).one_or_none()
    if row is None:
        raise unknown("branch", branch, branches(ws, model))
    return row


def _value(model: str, row: Branch) -> History:
    if not row.edits:  # most often, and then without torch
        return History(model, row.name, (), (), row.version)
    from cbm.edits import from_json

    script = tuple(from_json(item) for item in row.edits)
    return History(model, row.name, script[: row.cursor], script[row.cursor :], row.version)


def _move(ws: Workspace, model: str, branch: str, steps: int, expect_version: int | None) -> History:
    while True:
        row = _read(ws, model, branch)
        if expect_version is not None and expect_version != row.version:
            raise StaleEdit(
                f"the edits of {model!r} have changed since you looked at them",
                hint="look at the list of edits again; nothing was undone or redone",
            )
        cursor = min(max(row.cursor + steps, 0), len(row.edits))
        if cursor == row.cursor or _change(ws, row, cursor=cursor):
            return history(ws, model, branch)


def _change(ws: Workspace, row: Branch, **values: Any) -> bool:
    """Write unless another session has written since the row was read."""
    statement = update(Branch).where(Branch.id == row.id, Branch.version == row.version)
    with writing(ws.engine) as session:
        changed = session.scalar(statement.values(version=row.version + 1, **values).returning(Branch.id))
    return changed is not None
