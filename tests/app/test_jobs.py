"""The queue's promises, on both databases: one claim a job, fenced writes, nothing lost, nothing run for ever."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from sqlalchemy import update

from app import jobs
from app.db import writing
from app.tables import Job, now
from app.workspace import Workspace
from cbm.errors import DataError, JobError, UnknownName

CLAIM_ALL = """
import os, sys
from app import jobs
from app.settings import Settings
from app.workspace import open_workspace

ws = open_workspace(Settings.from_environment(os.environ))
print("ready", flush=True)
sys.stdin.read()
while claim := jobs.claim(ws, sys.argv[1]):
    print(claim.job)
"""


def silence(ws: Workspace, job: int) -> None:
    """Make a running job look as if its worker had died a minute ago."""
    with writing(ws.engine) as session:
        session.execute(update(Job).where(Job.id == job).values(heartbeat=now() - 60))


def test_no_job_is_claimed_twice_by_several_processes(ws: Workspace) -> None:
    made = {jobs.enqueue(ws, "count", {"steps": i}).id for i in range(60)}
    command = [sys.executable, "-c", CLAIM_ALL]
    root = str(Path(jobs.__file__).parents[1])
    environment = {**ws.settings.to_environment(), "PYTHONPATH": root}

    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    processes = [subprocess.Popen([*command, f"w{i}"], **pipes) for i in range(3)]
    for process in processes:
        assert process.stdout.readline() == "ready\n"
    for process in processes:  # now all at once
        process.stdin.close()
    claimed = [int(line) for process in processes for line in process.stdout]
    for process in processes:
        process.stdout.close()
        process.wait()

    assert max(Counter(claimed).values()) == 1
    assert set(claimed) == made


def test_the_same_request_is_one_job_while_it_is_active(ws: Workspace) -> None:
    first = jobs.enqueue(ws, "embed", {"dataset": "birds", "encoder": "builtin:demo"})

    again = jobs.enqueue(ws, "embed", {"encoder": "builtin:demo", "dataset": "birds"})
    other = jobs.enqueue(ws, "embed", {"dataset": "cells", "encoder": "builtin:demo"})
    jobs.succeed(ws, jobs.claim(ws, "w"), {})
    later = jobs.enqueue(ws, "embed", {"dataset": "birds", "encoder": "builtin:demo"})

    assert again.id == first.id
    assert len({first.id, other.id, later.id}) == 3


def test_higher_priority_goes_first_then_the_oldest(ws: Workspace) -> None:
    order = [jobs.enqueue(ws, "count", {"steps": i}, priority=p).id for i, p in enumerate([0, 5, 0, 5])]

    claimed = [jobs.claim(ws, "w").job for _ in order]

    assert claimed == [order[1], order[3], order[0], order[2]]
    assert jobs.claim(ws, "w") is None


def test_a_job_without_signs_of_life_waits_again(ws: Workspace) -> None:
    job = jobs.enqueue(ws, "count", {"steps": 1})
    jobs.claim(ws, "dead")

    assert jobs.reap(ws) == []
    silence(ws, job.id)

    assert jobs.reap(ws) == [job.id]
    assert jobs.job(ws, job.id).state == "queued"
    assert jobs.claim(ws, "next").attempt == 2


def test_a_worker_that_was_thought_dead_can_write_nothing(ws: Workspace) -> None:
    job = jobs.enqueue(ws, "count", {"steps": 1})
    zombie = jobs.claim(ws, "w")
    silence(ws, job.id)
    jobs.reap(ws)
    heir = jobs.claim(ws, "w")  # even one with the same name

    assert not jobs.pulse(ws, zombie, 0.9, "nearly").mine
    assert not jobs.succeed(ws, zombie, {"by": "zombie"})
    assert not jobs.fail(ws, zombie, DataError("no"))
    assert not jobs.stop(ws, zombie)
    assert not jobs.release(ws, zombie, "no")
    assert jobs.job(ws, job.id).progress == 0
    assert jobs.succeed(ws, heir, {"by": "heir"})
    assert jobs.job(ws, job.id).result == {"by": "heir"}


def test_a_job_that_always_kills_its_worker_fails_in_the_end(ws: Workspace) -> None:
    job = jobs.enqueue(ws, "die", {})
    for attempt in (1, 2):
        assert jobs.claim(ws, "w").attempt == attempt
        silence(ws, job.id)
        jobs.reap(ws)

    ended = jobs.job(ws, job.id)
    assert (ended.state, ended.error["kind"]) == ("failed", "job")
    assert jobs.claim(ws, "w") is None


def test_a_waiting_job_is_cancelled_at_once(ws: Workspace) -> None:
    job = jobs.enqueue(ws, "count", {"steps": 1})

    assert jobs.cancel(ws, job.id).state == "cancelled"
    assert jobs.claim(ws, "w") is None


def test_a_running_job_is_asked_to_stop(ws: Workspace) -> None:
    job = jobs.enqueue(ws, "count", {"steps": 1})
    claim = jobs.claim(ws, "w")

    assert jobs.cancel(ws, job.id).state == "running"
    assert jobs.pulse(ws, claim).cancel
    assert jobs.stop(ws, claim)
    assert jobs.job(ws, job.id).state == "cancelled"


def test_a_job_that_ended_cannot_be_cancelled(ws: Workspace) -> None:
    job = jobs.enqueue(ws, "count", {"steps": 1})
    jobs.succeed(ws, jobs.claim(ws, "w"), {"steps": 1})

    after = jobs.cancel(ws, job.id)

    assert (after.state, after.cancel_requested, after.result) == ("succeeded", False, {"steps": 1})


def test_a_cancelled_job_whose_worker_dies_stays_cancelled(ws: Workspace) -> None:
    job = jobs.enqueue(ws, "count", {"steps": 1})
    jobs.claim(ws, "w")
    jobs.cancel(ws, job.id)
    silence(ws, job.id)

    jobs.reap(ws)

    assert (jobs.job(ws, job.id).state, jobs.job(ws, job.id).error) == ("cancelled", None)


def test_a_failed_job_can_be_retried_and_forgets_its_error(ws: Workspace) -> None:
    job = jobs.enqueue(ws, "refuse", {})
    jobs.fail(ws, jobs.claim(ws, "w"), DataError("there are no images", hint="choose another folder"))
    error = {"kind": "data", "message": "there are no images", "hint": "choose another folder"}
    assert jobs.job(ws, job.id).error == error

    retried = jobs.retry(ws, job.id)

    assert (retried.state, retried.error, retried.finished) == ("queued", None, None)
    assert jobs.claim(ws, "w").attempt == 2
    assert jobs.job(ws, job.id).max_attempt == 1 + ws.settings.max_attempts


def test_only_ended_jobs_are_retried_and_never_beside_an_equal_one(ws: Workspace) -> None:
    job = jobs.enqueue(ws, "count", {"steps": 1})
    with pytest.raises(JobError, match="is queued"):
        jobs.retry(ws, job.id)
    jobs.cancel(ws, job.id)
    jobs.enqueue(ws, "count", {"steps": 1})

    with pytest.raises(JobError, match="equal job"):
        jobs.retry(ws, job.id)


def test_a_worker_that_is_asked_to_stop_does_not_use_up_an_attempt(ws: Workspace) -> None:
    job = jobs.enqueue(ws, "count", {"steps": 1})
    for _ in range(5):
        assert jobs.release(ws, jobs.claim(ws, "w"), "its worker was stopped", counts=False)

    assert jobs.job(ws, job.id).state == "queued"


def test_time_left_follows_from_progress(ws: Workspace) -> None:
    job = jobs.enqueue(ws, "count", {"steps": 4})
    claim = jobs.claim(ws, "w")
    with writing(ws.engine) as session:
        session.execute(update(Job).values(started=now() - 30))

    jobs.pulse(ws, claim, 0.25, "step 1")

    row = jobs.job(ws, job.id)
    assert (row.progress, row.message) == (0.25, "step 1")
    assert row.eta == pytest.approx(90, abs=3)


def test_lists_are_newest_first_and_can_be_narrowed(ws: Workspace) -> None:
    ended = jobs.enqueue(ws, "count", {"steps": 1})
    jobs.cancel(ws, ended.id)
    active = jobs.enqueue(ws, "refuse", {})

    assert [row.id for row in jobs.jobs(ws)] == [active.id, ended.id]
    assert [row.id for row in jobs.jobs(ws, active=True)] == [active.id]
    assert [row.id for row in jobs.jobs(ws, active=False)] == [ended.id]
    assert [row.id for row in jobs.jobs(ws, kind="count")] == [ended.id]


def test_a_job_that_does_not_exist_is_explained(ws: Workspace) -> None:
    with pytest.raises(UnknownName, match="no job named '7'"):
        jobs.cancel(ws, 7)


def test_the_tail_of_a_log_is_its_last_lines(workspace: Workspace) -> None:
    jobs.log_path(workspace, 3).write_text("\n".join(f"line {i}" for i in range(5000)))

    assert jobs.log_tail(workspace, 3, lines=2) == ["line 4998", "line 4999"]
    assert jobs.log_tail(workspace, 4) == []


def in_parts(ws: Workspace, count: int = 3) -> jobs.JobRow:
    shares = [{"steps": 9, "part": part} for part in range(count)]
    return jobs.enqueue_in_parts(ws, "whole", {"steps": 9}, "part", shares)


def test_parts_go_before_the_job_whose_parts_they_are(ws: Workspace) -> None:
    whole = in_parts(ws)

    claims = [jobs.claim(ws, "w") for _ in range(3)]

    assert [(claim.kind, claim.params["part"], claim.parent) for claim in claims] == [
        ("part", n, whole.id) for n in range(3)
    ]
    assert jobs.claim(ws, "w") is None
    jobs.succeed(ws, claims[0], {})
    jobs.fail(ws, claims[1], DataError("broken"))
    assert jobs.claim(ws, "w") is None  # one is still running
    jobs.release(ws, claims[2], "its worker was stopped", counts=False)
    jobs.succeed(ws, jobs.claim(ws, "w"), {})
    assert jobs.claim(ws, "w").job == whole.id


def test_while_it_waits_a_job_is_as_far_as_its_parts_are_together(ws: Workspace) -> None:
    whole = in_parts(ws, 4)
    first, second = jobs.claim(ws, "w"), jobs.claim(ws, "w")

    jobs.pulse(ws, first, 0.5, "half")
    assert jobs.job(ws, whole.id).progress == pytest.approx(0.5 / 4)
    jobs.succeed(ws, second, {})

    row = jobs.job(ws, whole.id)
    assert (row.state, row.message) == ("queued", "1 of 4 parts have ended")
    assert row.progress == pytest.approx(1.5 / 4)
    assert [part.progress for part in jobs.parts(ws, whole.id)] == [0.5, 1.0, 0.0, 0.0]


def test_cancelling_a_job_cancels_its_parts(ws: Workspace) -> None:
    whole = in_parts(ws)
    running = jobs.claim(ws, "w")

    jobs.cancel(ws, whole.id)

    assert jobs.pulse(ws, running).cancel
    assert [part.state for part in jobs.parts(ws, whole.id)] == ["running", "cancelled", "cancelled"]
    assert jobs.claim(ws, "w") is None


def test_an_active_job_that_is_asked_for_again_gets_no_further_parts(ws: Workspace) -> None:
    first, again = in_parts(ws, 3), in_parts(ws, 5)

    assert again.id == first.id
    assert len(jobs.parts(ws, first.id)) == 3


def test_a_worker_may_take_certain_kinds_only(ws: Workspace) -> None:
    count, learn = jobs.enqueue(ws, "count", {"steps": 1}), jobs.enqueue(ws, "learn", {"steps": 1})

    assert jobs.claim(ws, "w", ["refuse"]) is None
    assert jobs.claim(ws, "w", ["learn", "refuse"]).job == learn.id
    assert jobs.claim(ws, "w").job == count.id
