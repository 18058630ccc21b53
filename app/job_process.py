"""The process of one job: reads what to do from standard input, reports on standard output, prints to its log.

Standard input stays open for as long as the supervisor lives; when it closes, this process and all that it started
end at once. SIGTERM makes the next progress report raise `Cancelled`.
"""

import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

from app.settings import MEGABYTE, Settings
from cbm.errors import Cancelled, PellucidError
from cbm.progress import OnProgress, Reading

log = logging.getLogger(__name__)


def main() -> int:
    """Run the job that the supervisor describes."""
    cancelled = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: cancelled.set())
    channel = _take_standard_output()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    order = json.loads(sys.stdin.readline())
    threading.Thread(target=_die_with_supervisor, daemon=True).start()
    log.info("%s %s, attempt %d", order["kind"], json.dumps(order["params"]), order["attempt"])
    answer = _answer(order["kind"], order["params"], _reporter(channel, cancelled))
    if answer:
        _send(channel, answer)
    return 0


def _answer(kind: str, params: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    try:
        return {"result": _run(kind, params, on_progress)}
    except Cancelled:
        log.info("stopped on request")
        return {}
    except PellucidError as error:
        log.error("%s %s", error.message, error.hint)
        return {"error": {"kind": error.kind, "message": error.message, "hint": error.hint}}
    except MemoryError:
        log.exception("out of memory")
        hint = "use a smaller encoder or fewer concepts, or allow jobs more memory"
        return {"error": {"kind": "memory", "message": "the job ran out of memory", "hint": hint}}
    except Exception as error:  # the outermost edge: what nobody foresaw is logged whole and shown as one line
        log.exception("the job failed")
        message = f"the job failed: {type(error).__name__}: {error}"
        return {"error": {"kind": "bug", "message": message, "hint": "the job's log has the details"}}


def _run(kind: str, params: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    settings = Settings.from_environment(os.environ)
    _limit_memory(settings)
    for name in settings.extension_modules:
        importlib.import_module(name)

    from app import tasks
    from app.workspace import open_workspace

    ws = open_workspace(settings)
    try:
        return tasks.run(ws, kind, params, on_progress)
    finally:
        ws.close()


def _reporter(channel: TextIO, cancelled: threading.Event) -> OnProgress:
    last_logged = 0.0

    def on_progress(fraction: float, message: str) -> None:
        nonlocal last_logged
        if cancelled.is_set():
            raise Cancelled
        numbers = {"numbers": message.numbers} if isinstance(message, Reading) else {}
        _send(channel, {"progress": float(fraction), "message": message, **numbers})
        if time.monotonic() - last_logged > 1.0:
            last_logged = time.monotonic()
            log.info("%3.0f %% %s", 100 * fraction, message)

    return on_progress


def _send(channel: TextIO, message: Mapping[str, Any]) -> None:
    channel.write(json.dumps(message) + "\n")
    channel.flush()


def _take_standard_output() -> TextIO:
    """Standard output for our messages alone; what anybody prints, C libraries too, goes to the log."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return channel


def _die_with_supervisor() -> None:
    sys.stdin.read()
    os.killpg(os.getpgid(0), signal.SIGKILL)


def _limit_memory(settings: Settings) -> None:
    if settings.job_memory:
        import resource  # not on Windows

        limit = settings.job_memory * MEGABYTE
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


if __name__ == "__main__":
    sys.exit(main())
