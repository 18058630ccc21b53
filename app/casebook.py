"""The log of a person's work through cases: every correction in order of time, their own decisions, and how sure they were.

Entries are notes of kind "case" on a model, found by its fingerprint, so that a renamed model keeps its log. Nothing is
ever changed in it; giving a concept back to the model is an entry like any other.
"""

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime

from app.models import model_row
from app.notes import add_note, notes
from app.workspace import Workspace
from cbm.export import plain

KIND = "case"
SET, RESET, KEPT, VERDICT = "set", "reset", "kept as edit", "verdict"
SURE = ("unsure", "rather unsure", "rather sure", "sure")


@dataclass(frozen=True)
class Entry:
    """One thing that a person did on a case.

    Attributes
    ----------
    image
        Id of the image.
    what
        "set" or "reset" of a concept, "kept as edit", or a "verdict" on the case.
    branch, version
        The model's edits at the time.
    concept, before, after
        The score of a concept, as it was and as it is then.
    decision, probability
        What the model decides then.
    verdict, confidence, text
        What the person would decide, how sure they are (one of `SURE`), and their note.
    time
        Seconds since 1970; set when it is recorded.
    """

    image: str
    what: str
    branch: str = "main"
    version: int = 0
    concept: str = ""
    before: float | None = None
    after: float | None = None
    decision: str = ""
    probability: float | None = None
    verdict: str = ""
    confidence: str = ""
    text: str = ""
    time: float = 0.0


def record(ws: Workspace, model: str, entries: Iterable[Entry], *, owner: str = "") -> None:
    """Append to a model's log."""
    subject = model_row(ws, model).fingerprint
    for entry in entries:
        said = {name: value for name, value in asdict(entry).items() if name != "time"}
        add_note(ws, KIND, subject, json.dumps(said), owner=owner)


def casebook(ws: Workspace, model: str) -> tuple[Entry, ...]:
    """A model's log, the oldest entry first."""
    rows = notes(ws, KIND, model_row(ws, model).fingerprint)
    known = {field.name for field in fields(Entry)}
    said = [({k: v for k, v in json.loads(row.text).items() if k in known}, row.created) for row in rows]
    return tuple(Entry(**{**values, "time": created}) for values, created in said)


def clock(entry: Entry) -> str:
    """When it was, in UTC, as in "2026-05-01 09:30:12"."""
    return datetime.fromtimestamp(entry.time, UTC).strftime("%Y-%m-%d %H:%M:%S")


def to_csv(entries: Iterable[Entry]) -> str:
    """The log as CSV, one row an entry, in order of time; no text is taken for a formula by a spreadsheet."""
    out = io.StringIO(newline="")
    columns = ["step", "time", *(field.name for field in fields(Entry) if field.name != "time")]
    writer = csv.writer(out)
    writer.writerow(columns)
    for step, entry in enumerate(entries, start=1):
        values = {**asdict(entry), "step": step, "time": clock(entry)}
        writer.writerow([plain(value) if isinstance(value, str) else value for value in map(values.get, columns)])
    return out.getvalue()
