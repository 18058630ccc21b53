"""A worker: takes jobs from the queue and runs each in a process of its own, which it watches.

The supervisor computes nothing, so its signs of life do not depend on what the job does. A job is stopped in three
steps: a flag in the database, SIGTERM (the job raises `Cancelled` at its next progress), and SIGKILL after a grace
period. A job whose process dies waits again; one that dies too often fails. If the supervisor itself is killed, the
job's process notices that its standard input has closed, and ends (`app.job_process`).
"""

import argparse
import contextlib
import json
import logging
import os
import queue
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy.exc import OperationalError

from app import jobs, readings
from app.jobs import Claim
from app.settings import Settings
from app.workspace import Workspace, open_workspace
from cbm.errors import JobError, PellucidError

log = logging.getLogger(__name__)

T = TypeVar("T")
Reason = Literal["", "cancelled", "stopped", "late", "lost"]

IDLE_SECONDS = 0.5
REPORT_SECONDS = 0.5


def run(ws: Workspace, *, drain: bool = False, stop: threading.Event | None = None, kinds: Sequence[str] = ()) -> int:
    """Work until told to stop.

    Parameters
    ----------
    drain
        Return as soon as no job waits.
    stop
        When set, the running job is given back and the function returns.
    kinds
        Only jobs of these kinds are taken; empty means any.

    Returns
    -------
    Number of jobs that were taken.
    """
    stop = stop or threading.Event()
    worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(3)}"
    log.info("worker %s takes jobs from %s", worker, ws.settings.home)
    taken = 0
    while not stop.is_set():
        try:
            jobs.reap(ws)
            claim = jobs.claim(ws, worker, kinds)
        except OperationalError:
            log.exception("the database does not answer; trying again")
            stop.wait(10 * IDLE_SECONDS)
            continue
        if claim is not None:
            work(ws, claim, stop)
            taken += 1
        elif drain:
            break
        else:
            stop.wait(IDLE_SECONDS)
    return taken


def work(ws: Workspace, claim: Claim, stop: threading.Event) -> None:
    """Run one claimed job to its end, whatever that is, and write the end down."""
    log.info("job %d (%s), attempt %d", claim.job, claim.kind, claim.attempt)
    child = _start(ws, claim)
    try:
        watch = _Watch(ws, claim, child, stop)
        watch.until_end()
    finally:
        _signal(child, signal.SIGKILL)  # its own processes too, if it left any
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()
    _patiently(ws, lambda: _settle(ws, claim, watch, child.returncode))


@dataclass
class _Watch:
    """What the supervisor knows about a running job."""

    ws: Workspace
    claim: Claim
    child: "subprocess.Popen[str]"
    stop: threading.Event
    reason: Reason = ""
    answer: dict[str, Any] = field(default_factory=dict)
    progress: tuple[float, str] | None = None
    started: float = field(default_factory=time.monotonic)
    next_beat: float = 0.0
    next_report: float = 0.0
    kill_at: float = float("inf")

    def until_end(self) -> None:
        """Listen to the job and give signs of life for it until its process ends or is no longer ours."""
        messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=_listen, args=(self.child, messages), daemon=True).start()
        pause = min(self.ws.settings.heartbeat, REPORT_SECONDS) / 2
        while self.reason != "lost":
            try:
                message = messages.get(timeout=pause)
            except queue.Empty:
                if _ended(self.child):
                    return  # a process that it left behind still holds the pipe
            else:
                if message is None:
                    return
                self._hear(message)
            self._beat()
            self._decide()

    def _hear(self, message: dict[str, Any]) -> None:
        if "progress" in message:
            self.progress = (message["progress"], message["message"])
            if message.get("numbers"):
                readings.keep(self.ws, self.claim.job, *self.progress, message["numbers"])
        else:
            self.answer = message

    def _beat(self) -> None:
        clock = time.monotonic()
        if clock < self.next_beat and (self.progress is None or clock < self.next_report):
            return
        try:
            pulse = jobs.pulse(self.ws, self.claim, *(self.progress or (None, None)))
        except OperationalError:
            log.exception("job %d: no sign of life could be given", self.claim.job)
            self.next_beat = self.next_report = clock + REPORT_SECONDS
            return
        self.progress = None
        self.next_beat, self.next_report = clock + self.ws.settings.heartbeat, clock + REPORT_SECONDS
        if not pulse.mine:
            self.reason = "lost"
        elif pulse.cancel:
            self._end("cancelled")

    def _decide(self) -> None:
        clock, limit = time.monotonic(), self.ws.settings.job_timeout
        if self.stop.is_set():
            self._end("stopped")
        if limit and clock - self.started > limit:
            self._end("late")
        if clock > self.kill_at:
            _signal(self.child, signal.SIGKILL)

    def _end(self, reason: Reason) -> None:
        if not self.reason:
            self.reason = reason
            self.kill_at = time.monotonic() + self.ws.settings.grace
            _signal(self.child, signal.SIGTERM)


def _settle(ws: Workspace, claim: Claim, watch: _Watch, code: int) -> None:
    answer, reason = watch.answer, watch.reason
    if reason == "lost":
        log.warning("job %d was taken over by another worker", claim.job)
    elif "result" in answer:
        jobs.succeed(ws, claim, answer["result"])
    elif reason == "stopped":
        jobs.release(ws, claim, "its worker was stopped", counts=False)
    elif reason == "late":
        jobs.fail(ws, claim, JobError(f"the job took longer than {ws.settings.job_timeout:g} seconds"))
    elif reason == "cancelled":
        jobs.stop(ws, claim)
    elif "error" in answer:
        jobs.fail(ws, claim, _told(answer["error"]))
    else:
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        jobs.release(ws, claim, f"its process ended with {how}")


def _told(error: dict[str, str]) -> PellucidError:
    told = PellucidError(error["message"], error["hint"])
    told.kind = error["kind"]
    return told


def _start(ws: Workspace, claim: Claim) -> "subprocess.Popen[str]":
    readings.forget(ws, claim.job)  # an earlier attempt's
    threads = str(ws.settings.threads or 1)
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        **ws.settings.to_environment(),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONUNBUFFERED": "1",
        **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), threads),
    }
    with jobs.log_path(ws, claim.job).open("a", encoding="utf-8") as printed:
        child = subprocess.Popen(
            [sys.executable, "-m", "app.job_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=printed,
            text=True,
            env=environment,
            start_new_session=True,
        )
    try:
        child.stdin.write(json.dumps({"kind": claim.kind, "params": claim.params, "attempt": claim.attempt}) + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        log.warning("job %d ended before it was told what to do", claim.job)
    return child


def _listen(child: "subprocess.Popen[str]", messages: "queue.Queue[dict[str, Any] | None]") -> None:
    try:
        for line in child.stdout:
            messages.put(json.loads(line))
    except ValueError:  # a last line cut short by SIGKILL, or a pipe that was closed while reading
        log.warning("the last message of process %d is incomplete", child.pid)
    messages.put(None)


def _signal(child: "subprocess.Popen[str]", number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself, and left nothing behind
        os.killpg(child.pid, number)


def _ended(child: "subprocess.Popen[str]") -> bool:
    # Without collecting the process: until then its number, and its group's, cannot be given to another one.
    return os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _patiently(ws: Workspace, write: Callable[[], T]) -> T:
    """Call until the database answers, for as long as the job would count as alive."""
    until = time.monotonic() + ws.settings.dead_after
    while True:
        try:
            return write()
        except OperationalError:
            if time.monotonic() > until:
                raise
            log.exception("the end of a job could not be written; trying again")
            time.sleep(IDLE_SECONDS)


def main(argv: list[str] | None = None) -> int:
    """Run a worker until SIGTERM or Ctrl-C; `python -m app.worker` and `pellucid worker` come here."""
    parser = argparse.ArgumentParser(prog="pellucid worker", description="take jobs from the queue and run them")
    parser.add_argument("--drain", action="store_true", help="stop when no job waits")
    parser.add_argument("--attached", action="store_true", help="stop when standard input closes")
    parser.add_argument("--only", action="append", default=[], metavar="KIND", help="take only such jobs; repeatable")
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if arguments.attached:
        threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    ws = open_workspace(Settings.from_environment(os.environ))
    try:
        run(ws, drain=arguments.drain, stop=stop, kinds=arguments.only)
    finally:
        ws.close()
    return 0


def _stop_at_end_of_input(stop: threading.Event) -> None:
    while os.read(sys.stdin.fileno(), 4096):  # not through sys.stdin, whose lock would be held when we end
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
