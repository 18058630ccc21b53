"""What a person leaves behind while looking: drafts of interventions, and notes on any object."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Select, delete, select

from app.db import reading, writing
from app.history import unknown_model
from app.tables import Draft, Model, Note, now
from app.workspace import Workspace
from cbm.errors import unknown


@dataclass(frozen=True)
class NoteRow:
    """A note on an object, for example of kind "image" on "birds/0012.png"."""

    id: int
    kind: str
    subject: str
    owner: str
    text: str
    created: float


def save_draft(ws: Workspace, model: str, image: str, clamps: Mapping[str, float], *, owner: str = "") -> None:
    """Keep the interventions on one image, concept to value, instead of earlier ones; none removes them."""
    with writing(ws.engine) as session:
        model_id = session.scalar(select(Model.id).where(Model.name == model))
        if model_id is not None:
            same = (Draft.model_id == model_id, Draft.image == image, Draft.owner == owner)
            row = session.scalars(select(Draft).where(*same)).one_or_none()
            if row is None and clamps:
                session.add(Draft(model_id=model_id, image=image, owner=owner, clamps=dict(clamps)))
            elif row is not None and clamps:
                row.clamps, row.updated = dict(clamps), now()
            elif row is not None:
                session.delete(row)
    if model_id is None:
        raise unknown_model(ws, model)


def draft(ws: Workspace, model: str, image: str, *, owner: str = "") -> dict[str, float]:
    """The interventions kept for one image; empty when there are none."""
    return drafts(ws, model, owner=owner).get(image, {})


def drafts(ws: Workspace, model: str, *, owner: str = "") -> dict[str, dict[str, float]]:
    """Image id to its interventions, the newest first."""
    query: Select[tuple[Draft]] = select(Draft).join(Model, Model.id == Draft.model_id)
    query = query.where(Model.name == model, Draft.owner == owner).order_by(Draft.updated.desc(), Draft.id.desc())
    with reading(ws.engine) as session:
        return {row.image: row.clamps for row in session.scalars(query)}


def add_note(ws: Workspace, kind: str, subject: str, text: str, *, owner: str = "") -> NoteRow:
    """Write a note."""
    with writing(ws.engine) as session:
        row = Note(kind=kind, subject=subject, owner=owner, text=text)
        session.add(row)
        session.flush()
        session.refresh(row)
        return _note_row(row)


def notes(ws: Workspace, kind: str, subject: str) -> list[NoteRow]:
    """The notes on an object, oldest first."""
    query = select(Note).where(Note.kind == kind, Note.subject == subject).order_by(Note.id)
    with reading(ws.engine) as session:
        return [_note_row(row) for row in session.scalars(query)]


def delete_note(ws: Workspace, id: int) -> None:
    """Remove a note; `UnknownName` if there is none with this number."""
    with writing(ws.engine) as session:
        gone = session.scalar(delete(Note).where(Note.id == id).returning(Note.id))
    if gone is None:
        raise unknown("note", str(id), [])


def _note_row(row: Note) -> NoteRow:
    return NoteRow(row.id, row.kind, row.subject, row.owner, row.text, row.created)
