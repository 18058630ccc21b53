"""Runs the benchmarks at a small size, each in a process of its own, and writes their tables into `docs/benchmarks.md`."""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.page import about_here, filled

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "benchmarks.md"
SMALL = Path(__file__).parent / "results" / "small"
RUNS = {  # what is kept as results/small/NAME.json, and how it is made
    "scores": "scores compare --repetitions 3",
    "cavs-0.01": "cavs --concepts 40 --repetitions 3",
    "heads-multinomial-XS": "heads multinomial --size XS --budget 2 --repetitions 3",
    "heads-one-vs-rest-XS": "heads one-vs-rest --size XS --budget 2 --repetitions 3",
    "heads-path-XS": "heads path --size XS --repetitions 3",
    "sae-topk-10": "sae topk --width 2048 --warm 10 --repetitions 3",
    "sae-batchtopk-10": "sae batchtopk --width 2048 --warm 10 --repetitions 3",
    "selection": "texts selection --classes 2 --repetitions 3",
    "profiles": "texts profiles --classes 50 --repetitions 3",
    "towers": "embedding towers --layers 4 --repetitions 3",
    "decode": "embedding decode --repetitions 3",
    "edits": "edits --images 5000 --concepts 500 --classes 50 --repetitions 7",
    "energy": "energy --images 16 --steps 2 --repetitions 3",
    "votes": "votes --images 10000 --words 5000 --classes 50",
    "tap": "tap --images 1 --repetitions 5",
}
LARGE = (  # kept by hand at full size; benchmarks/README.md has the commands
    "scores-stream",
    "heads-many-images",
    "heads-path-L",
    "heads-path-M",
    "heads-path-S",
    "heads-multinomial-S",
    "heads-one-vs-rest-S",
    "cavs-0.01",
    "cavs-1",
    "sae-stream",
    "sae-topk-60",
    "sae-batchtopk-60",
    "sae-relu-0",
    "sae-relu-30",
    "towers",
)
ELSEWHERE = (
    "maps",
    "trust",
    "claims",
    "levels",
    "sae_stream",
    "screens",
    "many_images",
)  # each has another page, or is kept by hand


def main() -> None:
    """Parse the command line, run, keep the numbers, fill the page; exit with 1 if one of them failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", choices=RUNS, action="append", help="these; the others stay as they are on the page")
    parser.add_argument("--list", action="store_true", help="print what would be run")
    given = parser.parse_args()
    chosen = [name for name in RUNS if name in (given.only or RUNS)]
    if given.list:
        print("\n".join(f"python -m benchmarks.{RUNS[name]}" for name in chosen))
        return
    failed = [name for name in chosen if not ran(name)]
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(filled(page, about_here("python -m benchmarks"), kept()), encoding="utf-8")
    if failed:
        sys.exit(f"failed, so that the page shows earlier numbers or none: {', '.join(failed)}")


def kept() -> list[dict[str, Any]]:
    """What is there, in the order of the page."""
    files = [*(SMALL.parent / f"{name}.json" for name in LARGE), *(SMALL / f"{name}.json" for name in RUNS)]
    return [json.loads(file.read_text(encoding="utf-8")) for file in files if file.exists()]


def ran(name: str) -> bool:
    """Run one benchmark beside the peers that are installed; its numbers are kept in `SMALL`."""
    module, *options = shlex.split(RUNS[name])
    print(f"\n== {name}", flush=True)
    environment = {**os.environ, "BENCHMARK_RESULTS": str(SMALL)}
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


if __name__ == "__main__":
    main()
