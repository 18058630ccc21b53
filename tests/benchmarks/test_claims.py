"""The table of claims says what was measured, and calls a claim held only when its whole interval does."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _from_the_checkout(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("values", "holds", "why"),
    [([4.0, 5.0, 6.0], True, ""), ([-9.0, 5.0, 13.0], False, "seeds differ"), ([1.0, 1.1, 0.9], False, "too small")],
)
def test_a_claim_holds_when_its_whole_interval_does(values, holds, why):
    from benchmarks.claims.claim import judged

    found = judged("A paper", "at least two points", values, least=2, control="nothing", why="too small")

    assert (found.holds, why in found.why) == (holds, True)
    assert found.low <= found.measured <= found.high
    assert found.n == 3


def test_the_table_goes_between_the_marks_and_nowhere_else():
    from benchmarks.claims.claim import filled, judged

    claim = judged("A paper", "a | b", [1.0, 1.0], least=2, control="probe 0.5", why="because")
    page = "before\n<!-- claims -->\nstale\n<!-- end of claims -->\nafter"

    text = filled(page, [claim])

    assert text.startswith("before\n<!-- claims -->\n| paper |")
    assert "| A paper | a / b | +1.0 points | +1.0 to +1.0 | 2 | probe 0.5 | **no** | because |\n<!-- end" in text
    assert "stale" not in text
    assert filled(text, [claim]) == text


def test_every_seed_deals_each_class_as_many_images_of_a_split_as_before(planted):
    from benchmarks.claims.world import World

    shifted = replace(planted.training, splits=np.where(np.arange(480) < 40, "shifted", planted.training.splits))
    world = World(shifted, Path())

    one, other = world.data(1), world.data(2)

    assert world.data(0) is shifted
    assert (one.splits != other.splits).any()
    assert np.array_equal(one.splits == "shifted", shifted.splits == "shifted")
    for label in range(4):
        of_class = shifted.labels.numpy() == label
        for split in ("train", "val", "test"):
            assert (one.splits[of_class] == split).sum() == (shifted.splits[of_class] == split).sum()


def test_every_paper_has_a_file_with_claims():
    from importlib import import_module

    from benchmarks.claims import PAPERS

    assert PAPERS
    assert all(callable(import_module(f"benchmarks.claims.{paper}").claims) for paper in PAPERS)
