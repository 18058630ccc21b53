"""Tries the claims, prints their tables, keeps the numbers in `results/`, and writes all that is kept into `docs/claims.md`."""

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.claims import PAPERS
from benchmarks.claims.claim import Claim, filled, table
from benchmarks.claims.world import load_world

PAGE = Path(__file__).parents[2] / "docs" / "claims.md"
KEPT = Path(__file__).parents[1] / "results" / "claims.json"


def main() -> None:
    """Parse the command line, try the claims, print the table and keep it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claims", description="the papers' claims, tried")
    parser.add_argument("--seeds", type=int, default=5, help="repetitions, each with splits and fits of its own")
    parser.add_argument("--only", choices=PAPERS, action="append", help="these papers; others stay as they are")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "pellucid-claims",
                        help="folder for the drawn and embedded birds")  # fmt: skip
    given = parser.parse_args()
    torch.set_num_threads(1)
    world = load_world(given.cache)
    for paper in given.only or PAPERS:
        start = time.monotonic()
        found = import_module(f"benchmarks.claims.{paper}").claims(world, range(given.seeds))
        print(f"{paper}: {time.monotonic() - start:.0f} s\n{table(found)}", flush=True)
        keep(paper, found)


def keep(paper: str, found: list[Claim]) -> None:
    """Put a paper's claims in the place of its earlier ones, in the results and on the page."""
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    kept[paper] = [asdict(claim) for claim in found]
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    claims = [Claim(**row) for name in PAPERS for row in kept.get(name, [])]
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), claims), encoding="utf-8")


if __name__ == "__main__":
    main()
