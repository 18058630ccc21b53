"""`pellucid serve` with its worker, started as a person starts it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Server:
    """`pellucid serve` with its worker, in processes of their own."""

    home: Path
    log: Path
    port: int
    process: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        """Serve, and come back when it answers."""
        command = [_installed("pellucid"), "serve", "--no-browser", "--port", str(self.port), "--workspace", self.home]
        known = {name: value for name, value in os.environ.items() if not name.startswith("PELLUCID_")}
        environment = {**known, "PELLUCID_HEARTBEAT": "0.2", "PELLUCID_GRACE": "2", "OMP_NUM_THREADS": "1"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.home)
        for _ in range(600):
            with socket.socket() as probe:
                probe.settimeout(0.1)
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            try:
                code = self.process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
            pytest.fail(f"the server ended with {code}: {self.log.read_text()[-2000:]}")
        pytest.fail(f"the server does not answer: {self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Stop as Ctrl-C does."""
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def _installed(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else shutil.which(name) or pytest.fail(f"{name} is not installed")
