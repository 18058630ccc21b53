"""`pellucid jobs`: what runs, what waits, what went wrong."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from app.commands.call import Call, command, table

if TYPE_CHECKING:
    from app.jobs import JobRow

COLUMNS = ("id", "name", "state", "progress", "seconds", "message")


def register(main: click.Group) -> None:
    """Add the group to `pellucid`."""
    main.add_command(jobs)


@click.group()
def jobs() -> None:
    """Long work: list, show, cancel, retry, read the log."""


@command(jobs, "list")
@click.option("--active", is_flag=True, help="Only those that wait or run.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000), help="The newest so many.")
def list_(call: Call, active: bool, limit: int) -> None:
    """The newest jobs first.

    \b
    Example:
      pellucid jobs list --active
    """
    from app import jobs

    items = [to_item(row) for row in jobs.jobs(call.ws, active=active or None, limit=limit)]
    call.answer({"items": items}, table(items, COLUMNS, empty="no jobs"))


@command(jobs, "show")
@click.argument("job", type=int)
def show(call: Call, job: int) -> None:
    """Everything about one job.

    \b
    Example:
      pellucid jobs show 7
    """
    from app import jobs

    _answer(call, jobs.job(call.ws, job))


@command(jobs, "cancel")
@click.argument("job", type=int)
def cancel(call: Call, job: int) -> None:
    """Ask a job to stop; what it has finished is kept.

    \b
    Example:
      pellucid jobs cancel 7
    """
    from app import jobs

    _answer(call, jobs.cancel(call.ws, job))


@command(jobs, "retry")
@click.argument("job", type=int)
def retry(call: Call, job: int) -> None:
    """Queue a failed or cancelled job again; it goes on where it stopped.

    \b
    Example:
      pellucid jobs retry 7
    """
    from app import jobs

    _answer(call, jobs.retry(call.ws, job))


@command(jobs, "logs")
@click.argument("job", type=int)
@click.option("--lines", default=50, show_default=True, type=click.IntRange(1, 100_000), help="The last so many.")
def logs(call: Call, job: int, lines: int) -> None:
    """The last lines that a job has printed.

    \b
    Example:
      pellucid jobs logs 7 --lines 200
    """
    from app import jobs

    row = jobs.job(call.ws, job)
    printed = jobs.log_tail(call.ws, row.id, lines)
    call.answer({"id": row.id, "lines": printed}, printed)


def to_item(row: "JobRow") -> dict[str, Any]:
    """A job as JSON; its name is its kind and what it is about."""
    about = [str(row.params[key]) for key in ("method", "dataset", "name") if row.params.get(key)]
    return {"name": " ".join([row.kind, *about]), **asdict(row)}


def _answer(call: Call, row: "JobRow") -> None:
    item = to_item(row)
    lines = [f"job {row.id}: {item['name']}, {row.state}", row.message]
    if row.error:
        lines += [f"error: {row.error['message']}", row.error["hint"]]
    call.answer(item, [line for line in lines if line])
