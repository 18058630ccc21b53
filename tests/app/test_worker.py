"""Real workers with real processes: they end, they are stopped, they are killed, and no job is lost or run twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from app import jobs, store, worker
from app.workspace import Workspace
from cbm.data import ImageDataset

pytestmark = pytest.mark.usefixtures("extensions")


@pytest.fixture
def working() -> Iterator[Callable[[Workspace], threading.Thread]]:
    """Let a thread of this process work until the queue is empty; it stops in the end."""
    stop = threading.Event()
    started: list[threading.Thread] = []

    def working(ws: Workspace) -> threading.Thread:
        options = {"drain": True, "stop": stop}
        started.append(threading.Thread(target=worker.run, args=(ws,), kwargs=options, daemon=True))
        started[-1].start()
        return started[-1]

    yield working
    stop.set()
    for thread in started:
        thread.join(10)


@pytest.fixture
def start(ws: Workspace) -> Iterator[Callable[[], "subprocess.Popen[bytes]"]]:
    """Start a worker process on the workspace; all are killed in the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start() -> "subprocess.Popen[bytes]":
        environment = {**os.environ, **ws.settings.to_environment()}
        process = subprocess.Popen([sys.executable, "-m", "app.worker"], env=environment, stderr=subprocess.DEVNULL)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def eventually(fact: Callable[[], bool], seconds: float = 20.0) -> None:
    """Wait for another process to make something true."""
    until = time.monotonic() + seconds
    while not fact():
        assert time.monotonic() < until, "it never happened"
        time.sleep(0.05)


def alive(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_job_is_run_reported_and_logged(ws: Workspace) -> None:
    job = jobs.enqueue(ws, "count", {"steps": 3})

    assert worker.run(ws, drain=True) == 1

    ended = jobs.job(ws, job.id)
    assert (ended.state, ended.progress, ended.result) == ("succeeded", 1.0, {"steps": 3})
    assert "counted to 3" in jobs.log_tail(ws, job.id)


def test_an_explained_error_reaches_the_job(ws: Workspace) -> None:
    job = jobs.enqueue(ws, "refuse", {})

    worker.run(ws, drain=True)

    ended = jobs.job(ws, job.id)
    assert ended.state == "failed"
    assert ended.error == {"kind": "data", "message": "there are no images", "hint": "choose another folder"}


def test_a_bug_is_one_line_on_the_screen_and_a_traceback_in_the_log(workspace: Workspace) -> None:
    job = jobs.enqueue(workspace, "crash", {})

    worker.run(workspace, drain=True)

    assert jobs.job(workspace, job.id).error["message"] == "the job failed: ZeroDivisionError: division by zero"
    assert any("Traceback" in line for line in jobs.log_tail(workspace, job.id))


def test_an_unknown_kind_fails_with_the_kinds_there_are(workspace: Workspace) -> None:
    job = jobs.enqueue(workspace, "cuont", {})

    worker.run(workspace, drain=True)

    assert "did you mean count" in jobs.job(workspace, job.id).error["hint"]


def test_a_process_that_dies_is_started_again(workspace: Workspace, tmp_path: Path) -> None:
    job = jobs.enqueue(workspace, "die", {"file": str(tmp_path / "starts"), "times": 1})

    worker.run(workspace, drain=True)

    assert jobs.job(workspace, job.id).result == {"starts": 2}


def test_a_process_that_always_dies_fails_at_the_last_attempt(workspace: Workspace, tmp_path: Path) -> None:
    job = jobs.enqueue(workspace, "die", {"file": str(tmp_path / "starts"), "times": 99})

    worker.run(workspace, drain=True)

    ended = jobs.job(workspace, job.id)
    assert (ended.state, ended.attempt) == ("failed", workspace.settings.max_attempts)
    assert "SIGKILL" in ended.error["message"]


def test_a_running_job_stops_when_it_is_cancelled(
    ws: Workspace, working: Callable[[Workspace], threading.Thread]
) -> None:
    job = jobs.enqueue(ws, "count", {"steps": 100_000})
    thread = working(ws)
    eventually(lambda: jobs.job(ws, job.id).progress > 0)

    jobs.cancel(ws, job.id)
    thread.join(10)

    assert jobs.job(ws, job.id).state == "cancelled"


def test_a_job_that_does_not_listen_is_killed_after_the_grace(
    workspace: Workspace, working: Callable[[Workspace], threading.Thread], tmp_path: Path
) -> None:
    job = jobs.enqueue(workspace, "deaf", {"file": str(tmp_path / "process")})
    thread = working(workspace)
    eventually((tmp_path / "process").exists)

    jobs.cancel(workspace, job.id)
    thread.join(10)

    assert jobs.job(workspace, job.id).state == "cancelled"
    assert not alive(int((tmp_path / "process").read_text()))


def test_a_job_that_takes_too_long_fails(workspace: Workspace) -> None:
    hurried = Workspace(replace(workspace.settings, job_timeout=1.0), workspace.engine)
    job = jobs.enqueue(hurried, "count", {"steps": 100_000})

    worker.run(hurried, drain=True)

    assert jobs.job(hurried, job.id).error["message"] == "the job took longer than 1 seconds"


def test_a_job_that_asks_for_too_much_memory_fails_with_a_hint(workspace: Workspace) -> None:
    limited = Workspace(replace(workspace.settings, job_memory=2000), workspace.engine)
    job = jobs.enqueue(limited, "hoard", {"bytes": 4 * 2**30})

    worker.run(limited, drain=True)

    assert jobs.job(limited, job.id).error["message"] == "the job ran out of memory"


def test_a_worker_that_is_asked_to_stop_gives_its_job_back(
    ws: Workspace, start: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    job = jobs.enqueue(ws, "count", {"steps": 100_000})
    process = start()
    eventually(lambda: jobs.job(ws, job.id).progress > 0)

    process.send_signal(signal.SIGTERM)

    assert process.wait(15) == 0
    after = jobs.job(ws, job.id)
    assert (after.state, after.max_attempt) == ("queued", ws.settings.max_attempts + 1)


def test_a_killed_worker_leaves_no_process_and_its_job_is_taken_over(
    ws: Workspace, start: Callable[[], "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    job = jobs.enqueue(ws, "deaf", {"file": str(tmp_path / "process")})
    first = start()
    eventually((tmp_path / "process").exists)
    orphan = int((tmp_path / "process").read_text())

    first.kill()

    eventually(lambda: not alive(orphan))
    start()
    assert jobs.wait(ws, job.id).state == "succeeded"
    assert jobs.job(ws, job.id).attempt == 2


def test_two_workers_share_the_queue_and_run_nothing_twice(
    ws: Workspace, start: Callable[[], "subprocess.Popen[bytes]"]
) -> None:
    made = [jobs.enqueue(ws, "count", {"steps": 1, "name": i}) for i in range(6)]
    start(), start()

    ended = [jobs.wait(ws, job.id) for job in made]

    assert {(row.state, row.attempt) for row in ended} == {("succeeded", 1)}
    logs = [jobs.log_path(ws, job.id).read_text() for job in made]
    assert [text.count("counted to") for text in logs] == [1] * len(made)


def test_an_embedding_job_whose_worker_is_killed_ends_once_with_the_same_bytes(
    ws: Workspace,
    second_workspace: Workspace,
    start: Callable[[], "subprocess.Popen[bytes]"],
    many_tiles: ImageDataset,
) -> None:
    for place in (ws, second_workspace):
        store.add_dataset(place, many_tiles, {})
    jobs.enqueue(second_workspace, "embed_slowly", {"dataset": "tiles", "seconds": 0.0})
    worker.run(second_workspace, drain=True)

    job = jobs.enqueue(ws, "embed_slowly", {"dataset": "tiles", "seconds": 0.1})
    first = start()
    eventually(lambda: jobs.job(ws, job.id).progress > 0.5)
    first.kill()
    start()
    ended = jobs.wait(ws, job.id)

    assert (ended.state, ended.attempt) == ("succeeded", 2)
    assert ended.result["reused"] >= 256  # whole shards of the first attempt
    assert ended.result["computed"] + ended.result["reused"] == 700
    assert embeddings(ws) == embeddings(second_workspace)


def test_two_workers_embed_in_parts_and_when_one_is_killed_the_other_ends_with_the_bytes_of_one(
    ws: Workspace,
    second_workspace: Workspace,
    start: Callable[[], "subprocess.Popen[bytes]"],
    many_tiles: ImageDataset,
) -> None:
    for place in (ws, second_workspace):
        store.add_dataset(place, many_tiles, {})
    jobs.enqueue(second_workspace, "embed_slowly", {"dataset": "tiles", "seconds": 0.0})
    worker.run(second_workspace, drain=True)

    params = {"dataset": "tiles", "seconds": 0.1}
    shares = [{**params, "part": part, "parts": 2} for part in range(2)]
    whole = jobs.enqueue_in_parts(ws, "embed_slowly", params, "embed_part_slowly", shares)
    first, _ = start(), start()
    mine = f":{first.pid}:"
    eventually(lambda: any(mine in (part.worker or "") and part.progress > 0 for part in jobs.parts(ws, whole.id)))
    first.kill()
    ended = jobs.wait(ws, whole.id)

    parts = jobs.parts(ws, whole.id)
    assert (ended.state, ended.attempt, ended.result["computed"]) == ("succeeded", 1, 0)
    assert {part.state for part in parts} == {"succeeded"}
    assert sum(part.attempt for part in parts) == 3  # the one that was cut off, twice
    assert sum(part.result["computed"] + part.result["reused"] for part in parts) == 700
    assert embeddings(ws) == embeddings(second_workspace)


def embeddings(ws: Workspace) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in ws.folder("embeddings").rglob("*") if path.is_file()}
