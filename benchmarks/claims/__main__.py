"""Tries the claims, prints their table, and writes it into `docs/claims.md` when every paper was tried."""

import argparse
import tempfile
import time
from importlib import import_module
from pathlib import Path

import torch

from benchmarks.claims import PAPERS
from benchmarks.claims.claim import Claim, filled, table
from benchmarks.claims.world import load_world

PAGE = Path(__file__).parents[2] / "docs" / "claims.md"


def main() -> None:
    """Parse the command line, try the claims, print the table and keep it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.claims", description="the papers' claims, tried")
    parser.add_argument("--seeds", type=int, default=5, help="repetitions, each with splits and fits of its own")
    parser.add_argument("--only", choices=PAPERS, action="append", help="these papers; the page is left alone")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "pellucid-claims",
                        help="folder for the drawn and embedded birds")  # fmt: skip
    given = parser.parse_args()
    torch.set_num_threads(1)
    world = load_world(given.cache)
    claims: list[Claim] = []
    for paper in given.only or PAPERS:
        start = time.monotonic()
        found = import_module(f"benchmarks.claims.{paper}").claims(world, range(given.seeds))
        print(f"{paper}: {time.monotonic() - start:.0f} s\n{table(found)}", flush=True)
        claims += found
    if not given.only:
        PAGE.write_text(filled(PAGE.read_text(encoding="utf-8"), claims), encoding="utf-8")
        print(f"written into {PAGE.name}: {sum(c.holds for c in claims)} of {len(claims)} claims hold")


if __name__ == "__main__":
    main()
