"""What a person waits for: `pellucid serve` and Chromium, from an address to the heading and to a finished page."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from playwright.sync_api import Page, expect, sync_playwright

from benchmarks.measure import Row
from benchmarks.screens.server import Screen

QUIET = ("--no-sandbox", "--disable-gpu", "--disable-background-networking")
PATIENCE = 120_000  # milliseconds


@contextmanager
def served(home: Path) -> Iterator[tuple[str, int]]:
    """The address of a server of the workspace, without a worker, and its process."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "app.cli", "serve", "--no-browser", "--no-worker", "--port", str(port)]
    environment = {**os.environ, "PELLUCID_HOME": str(home), "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                raise SystemExit("the server ended")
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait()


def measured(home: Path, screens: tuple[Screen, ...], **parameters: str) -> list[Row]:
    """A row for each screen on one server: seconds to the heading and to the end at the first and at the second visit, CPU
    seconds of the server meanwhile, kilobytes that the page was sent, and the server's memory afterwards."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    expect.set_options(timeout=PATIENCE)
    rows: list[Row] = []
    with served(home) as (address, pid), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        for screen in screens:
            url = f"{address}/{screen.name if screen.name != 'home' else ''}?{urlencode({**screen.parameters, **parameters})}"
            row: Row = {"screen": screen.name, "view": " ".join(screen.parameters.values())}
            for visit in ("first", "again"):
                page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
                sent = _counted(page)
                start, before = time.perf_counter(), _busy(pid)
                page.goto(url)
                expect(page.get_by_role("main").get_by_role("heading", level=1)).to_be_visible()
                row[f"{visit}_heading_s"] = time.perf_counter() - start
                expect(page.locator("[data-testid=stApp]")).to_have_attribute("data-test-script-state", "notRunning")
                row[f"{visit}_whole_s"] = time.perf_counter() - start
                row[f"{visit}_cpu_s"] = _busy(pid) - before
                row["sent_kb"] = sum(sent) // 1024
                page.context.close()
            row["server_mb"] = _resident(pid)
            rows.append(row)
        browser.close()
    return rows


def _counted(page: Page) -> list[int]:
    """Sizes of what comes over the page's WebSocket, as it comes."""
    sizes: list[int] = []
    page.on("websocket", lambda ws: ws.on("framereceived", lambda frame: sizes.append(len(frame))))
    return sizes


def _busy(pid: int) -> float:
    """CPU seconds that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    """Megabytes of a process that are in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1024
