"""Runs a script in several processes, as `torchrun` does on one machine."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def torchrun(script: str, *arguments: object, processes: int) -> None:
    """Run `tests/cbm/ranks/SCRIPT.py` to its end; a failure is an AssertionError with what it printed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    file = Path(__file__).parent / "ranks" / f"{script}.py"
    done = subprocess.run(
        [*command, str(file), *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]
