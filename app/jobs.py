"""The job queue: a table that any number of workers on any number of hosts share.

For the screens and the command line:

    job = enqueue(ws, "embed", {"dataset": "birds", "encoder": "builtin:demo"})   # while active, the same job again
    jobs(ws, active=True)     job(ws, 7)     log_tail(ws, 7)     cancel(ws, 7)     retry(ws, 7)     wait(ws, 7)

A `JobRow` has `state` (queued, running, succeeded, failed, cancelled), `progress` in 0 to 1, `message`, `eta` in
seconds, `result` and `error` (`kind`, `message`, `hint`). The rest is for workers: a worker claims a job in one
statement, and every later write of its is fenced by (id, worker, attempt), so that a worker which was thought dead
cannot overwrite its successor. Clocks are the database's.

A job may have parts: jobs of their own that workers take before it, and whose progress is its progress while it waits.
It is claimed when none of them is active any more, and does what they have left.
"""

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Update, and_, case, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from app.db import reading, writing
from app.files import tail
from app.tables import Job, now
from app.workspace import Workspace
from cbm.errors import JobError, PellucidError, unknown

State = Literal["queued", "running", "succeeded", "failed", "cancelled"]
ACTIVE: tuple[State, ...] = ("queued", "running")


@dataclass(frozen=True)
class JobRow:
    """A job as it was when it was read; times in seconds since 1970."""

    id: int
    kind: str
    params: dict[str, Any]
    state: State
    priority: int
    owner: str
    created: float
    started: float | None
    finished: float | None
    worker: str | None
    attempt: int
    max_attempt: int
    progress: float
    message: str
    cancel_requested: bool
    result: dict[str, Any] | None
    error: dict[str, Any] | None
    seconds: float | None
    eta: float | None
    parent: int | None = None

    @property
    def active(self) -> bool:
        """Whether the job waits or runs."""
        return self.state in ACTIVE


@dataclass(frozen=True)
class Claim:
    """The right of a worker to write to a job, until somebody else claims it."""

    job: int
    worker: str
    attempt: int
    kind: str
    params: dict[str, Any]
    parent: int | None = None


@dataclass(frozen=True)
class Pulse:
    """What a worker learns when it gives a sign of life: whether the job is still its own, and whether to stop."""

    mine: bool
    cancel: bool


def enqueue(ws: Workspace, kind: str, params: Mapping[str, Any], *, priority: int = 0, owner: str = "") -> JobRow:
    """Ask for work. While a job with the same kind and parameters waits or runs, that one is returned.

    Parameters
    ----------
    kind
        A name in `app.tasks.TASKS`.
    params
        Keyword arguments of the task; JSON values.
    priority
        Higher goes first; equal ones go in the order in which they came.
    """
    return enqueue_in_parts(ws, kind, params, "", (), priority=priority, owner=owner)


def enqueue_in_parts(
    ws: Workspace,
    kind: str,
    params: Mapping[str, Any],
    part_kind: str,
    parts: Sequence[Mapping[str, Any]],
    *,
    priority: int = 0,
    owner: str = "",
) -> JobRow:
    """Ask for work that workers do in parts first; as `enqueue`, and an active job gets no further parts.

    Parameters
    ----------
    part_kind, parts
        Name and parameters of the jobs that go before. One that fails is left to the job itself.
    """
    insert = postgresql.insert if ws.engine.dialect.name == "postgresql" else sqlite.insert
    row = {"priority": priority, "owner": owner, "max_attempt": ws.settings.max_attempts}
    asked = _asked(kind, params)
    same = select(Job.id).where(Job.kind == kind, Job.params_hash == asked["params_hash"], Job.state.in_(ACTIVE))
    while True:  # again only if the active job ended between the two statements
        with writing(ws.engine) as session:
            made = session.scalar(insert(Job).values(asked | row).on_conflict_do_nothing().returning(Job.id))
            if made is not None and parts:
                rows = [_asked(part_kind, part) | row | {"parent": made} for part in parts]
                session.execute(insert(Job).on_conflict_do_nothing(), rows)
            found = made if made is not None else session.scalar(same)
        if found is not None:
            return job(ws, found)


def _asked(kind: str, params: Mapping[str, Any]) -> dict[str, Any]:
    text = json.dumps(dict(params), sort_keys=True)
    return {"kind": kind, "params": json.loads(text), "params_hash": hashlib.sha256(text.encode()).hexdigest()}


_SECONDS = func.coalesce(Job.finished, now()) - Job.started


def job(ws: Workspace, id: int) -> JobRow:
    """One job.

    Raises
    ------
    UnknownName
        If there is no such job.
    """
    with reading(ws.engine) as session:
        row = session.execute(select(Job, _SECONDS).where(Job.id == id)).one_or_none()
        if row is None:
            newest = session.scalars(select(Job.id).order_by(Job.id.desc()).limit(5))
            raise unknown("job", str(id), [str(n) for n in newest])
        return _row(*row)


def jobs(ws: Workspace, *, active: bool | None = None, kind: str | None = None, limit: int = 100) -> list[JobRow]:
    """The newest jobs first; all, or only those that are active, or only those that have ended."""
    query = select(Job, _SECONDS).order_by(Job.id.desc()).limit(limit)
    if active is not None:
        query = query.where(Job.state.in_(ACTIVE) == active)
    if kind is not None:
        query = query.where(Job.kind == kind)
    with reading(ws.engine) as session:
        return [_row(*row) for row in session.execute(query)]


def parts(ws: Workspace, id: int) -> list[JobRow]:
    """The parts of a job, in the order in which they were asked for."""
    query = select(Job, _SECONDS).where(Job.parent == id).order_by(Job.id)
    with reading(ws.engine) as session:
        return [_row(*row) for row in session.execute(query)]


def cancel(ws: Workspace, id: int) -> JobRow:
    """Ask a job and its parts to stop: one that waits is cancelled at once, one that runs within seconds, one that ended stays."""
    waiting = Job.state == "queued"
    change = (
        update(Job)
        .where(or_(Job.id == id, Job.parent == id), Job.state.in_(ACTIVE))
        .values(
            cancel_requested=True,
            state=case((waiting, "cancelled"), else_=Job.state),
            finished=case((waiting, now()), else_=Job.finished),
        )
    )
    with writing(ws.engine) as session:
        session.execute(change)
    return job(ws, id)


def retry(ws: Workspace, id: int) -> JobRow:
    """Queue a failed or cancelled job again; it goes on from what it had stored.

    Raises
    ------
    JobError
        If the job is active or has succeeded, or an equal job is active.
    """
    again = (
        update(Job)
        .where(Job.id == id, Job.state.in_(("failed", "cancelled")))
        .values(
            state="queued",
            max_attempt=Job.attempt + ws.settings.max_attempts,
            cancel_requested=False,
            finished=None,
            error=None,
            progress=0.0,
            message="",
        )
        .returning(Job.id)
    )
    before = job(ws, id)
    try:
        with writing(ws.engine) as session:
            queued = session.scalar(again)
    except IntegrityError as error:
        raise JobError(f"an equal job to {id} is waiting or running already") from error
    if queued is None:
        raise JobError(f"job {id} is {before.state}", hint="only failed and cancelled jobs can be retried")
    return job(ws, id)


def wait(ws: Workspace, id: int, *, seconds: float = 60.0, poll: float = 0.1) -> JobRow:
    """The job once it has ended.

    Raises
    ------
    JobError
        If it is still active after `seconds`.
    """
    until = time.monotonic() + seconds
    while (row := job(ws, id)).active:
        if time.monotonic() > until:
            raise JobError(f"job {id} is still {row.state} after {seconds:g} seconds", hint="is a worker running?")
        time.sleep(poll)
    return row


def log_path(ws: Workspace, id: int) -> Path:
    """The file that holds all a job has printed."""
    return ws.folder("logs") / f"job-{id}.log"


def log_tail(ws: Workspace, id: int, lines: int = 50) -> list[str]:
    """The last lines that a job has printed."""
    return tail(log_path(ws, id), lines)


def claim(ws: Workspace, worker: str, kinds: Sequence[str] = ()) -> Claim | None:
    """Take the next waiting job, in one statement; `None` when there is none.

    Parameters
    ----------
    kinds
        Only jobs of these kinds; empty means any.
    """
    part = aliased(Job)
    has_parts = select(part.id).where(part.parent == Job.id, part.state.in_(ACTIVE)).exists()
    waiting = select(Job.id).where(Job.state == "queued", ~has_parts).order_by(Job.priority.desc(), Job.id).limit(1)
    if kinds:
        waiting = waiting.where(Job.kind.in_(kinds))
    taken = (
        update(Job)
        .where(Job.id == waiting.with_for_update(skip_locked=True).scalar_subquery())
        .values(
            state="running",
            worker=worker,
            attempt=Job.attempt + 1,
            started=now(),
            heartbeat=now(),
            progress=0.0,
            message="",
        )
        .returning(Job.id, Job.attempt, Job.kind, Job.params, Job.parent)
    )
    with writing(ws.engine) as session:
        row = session.execute(taken).one_or_none()
    return None if row is None else Claim(row.id, worker, row.attempt, row.kind, row.params, row.parent)


def pulse(ws: Workspace, claim: Claim, progress: float | None = None, message: str | None = None) -> Pulse:
    """Give a sign of life, with progress when there is some."""
    values: dict[str, Any] = {"heartbeat": now()}
    if progress is not None:
        values["progress"] = min(max(progress, 0.0), 1.0)
    if message is not None:
        values["message"] = message
    with writing(ws.engine) as session:
        row = session.execute(_mine(claim).values(values).returning(Job.cancel_requested)).one_or_none()
    if progress is not None:
        _tell_parent(ws, claim)
    return Pulse(mine=row is not None, cancel=bool(row and row.cancel_requested))


def succeed(ws: Workspace, claim: Claim, result: Mapping[str, Any]) -> bool:
    """End a job with its result; `False`, and nothing changed, if the job is no longer the worker's."""
    return _end(ws, claim, state="succeeded", progress=1.0, result=dict(result), error=None)


def fail(ws: Workspace, claim: Claim, error: PellucidError) -> bool:
    """End a job with what went wrong; `False` if the job is no longer the worker's."""
    return _end(ws, claim, state="failed", error=_explained(error))


def stop(ws: Workspace, claim: Claim) -> bool:
    """End a job as cancelled; `False` if the job is no longer the worker's."""
    return _end(ws, claim, state="cancelled")


def release(ws: Workspace, claim: Claim, reason: str, *, counts: bool = True) -> bool:
    """Give a job back after its process died; it waits again, or fails when it has had all its attempts.

    Parameters
    ----------
    counts
        Whether the attempt counts; not when the worker itself was asked to stop.
    """
    limit = Job.max_attempt + (0 if counts else 1)
    statement = _requeue(_mine(claim), limit, reason)
    with writing(ws.engine) as session:
        return session.scalar(statement.returning(Job.id)) is not None


def reap(ws: Workspace) -> list[int]:
    """Give back every running job that has shown no sign of life for `settings.dead_after` seconds; their ids."""
    dead = and_(Job.state == "running", Job.heartbeat < now() - literal(ws.settings.dead_after))
    with reading(ws.engine) as session:
        if session.scalar(select(func.count()).select_from(Job).where(dead)) == 0:
            return []  # without taking SQLite's write lock
    with writing(ws.engine) as session:
        statement = _requeue(update(Job).where(dead), Job.max_attempt, "the worker gave no sign of life")
        return list(session.scalars(statement.returning(Job.id)))


def _mine(claim: Claim) -> Update:
    fence = and_(Job.id == claim.job, Job.worker == claim.worker, Job.attempt == claim.attempt, Job.state == "running")
    return update(Job).where(fence)


def _end(ws: Workspace, claim: Claim, **values: Any) -> bool:
    with writing(ws.engine) as session:
        statement = _mine(claim).values(finished=now(), **values).returning(Job.id)
        ended = session.scalar(statement) is not None
    _tell_parent(ws, claim)
    return ended


def _tell_parent(ws: Workspace, claim: Claim) -> None:
    """How far the parts of a waiting job are, together; in a transaction of its own, so that none holds two rows."""
    if claim.parent is None:
        return
    done = Job.state.not_in(ACTIVE)
    counts = select(func.avg(case((done, 1.0), else_=Job.progress)), func.count(), func.sum(case((done, 1), else_=0)))
    waiting = update(Job).where(Job.id == claim.parent, Job.state == "queued")
    with writing(ws.engine) as session:
        progress, count, ended = session.execute(counts.where(Job.parent == claim.parent)).one()
        session.execute(waiting.values(progress=progress, message=f"{ended} of {count} parts have ended"))


def _requeue(statement: Update, limit: Any, reason: str) -> Update:
    spent = Job.attempt >= limit
    over = or_(Job.cancel_requested, spent)
    poison = JobError(f"the job was started too often without an end: {reason}", hint="look at its log, then retry")
    return statement.values(
        state=case((Job.cancel_requested, "cancelled"), (spent, "failed"), else_="queued"),
        finished=case((over, now()), else_=None),
        max_attempt=limit,
        message=case((over, Job.message), else_=f"waiting again: {reason}"),
        error=case((and_(spent, ~Job.cancel_requested), literal(_explained(poison), Job.error.type)), else_=Job.error),
    )


def _explained(error: PellucidError) -> dict[str, str]:
    return {"kind": error.kind, "message": error.message, "hint": error.hint}


def _row(row: Job, seconds: float | None) -> JobRow:
    eta = None
    if row.state == "running" and seconds is not None and row.progress > 0.01:
        eta = seconds * (1 - row.progress) / row.progress
    same = ("id", "kind", "params", "state", "priority", "owner", "created", "started", "finished", "worker")
    same += ("attempt", "max_attempt", "progress", "message", "cancel_requested", "result", "error", "parent")
    return JobRow(**{name: getattr(row, name) for name in same}, seconds=seconds, eta=eta)
