"""Runs a script in several processes, as `torchrun` does on one machine."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def torchrun(script: str, *arguments: object, processes: int) -> str:
    """What `tests/cbm/ranks/SCRIPT.py` printed; a failure is an AssertionError with what it complained about."""
    done = started(str(Path(__file__).parent / "ranks" / f"{script}.py"), *arguments, processes=processes)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def started(*command: object, processes: int, **environment: str) -> "subprocess.CompletedProcess[str]":
    """The same for any command, whether it ends well or not."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    return subprocess.run(
        [*torchrun, *map(str, command)],
        cwd=ROOT,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
            "GLOO_SOCKET_IFNAME": "lo",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
    )
