"""`python -m benchmarks` knows every benchmark that exists, and its page shows what was measured and what was not."""

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NO_BENCHMARK = {"__init__", "__main__", "data", "measure", "page", "peers"}


@pytest.fixture(autouse=True)
def _from_the_checkout(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    yield
    for name in [name for name in sys.modules if name.split(".")[0] == "benchmarks"]:
        del sys.modules[name]


def result(**row) -> dict:
    return {"title": "heads, 10 images", "rows": [{"case": "ours", "cpu_s": 0.5, **row}], "absent": ["glm_saga"],
            "measured": "2026-01-02"}  # fmt: skip


def test_every_benchmark_is_run_or_has_a_page_of_its_own():
    from benchmarks.__main__ import ELSEWHERE, RUNS

    there = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - NO_BENCHMARK
    packages = {path.parent.name for path in (ROOT / "benchmarks").glob("*/__main__.py")}

    assert there | packages == {shlex.split(command)[0] for command in RUNS.values()} | set(ELSEWHERE)


def test_the_page_has_one_table_a_result_between_its_marks():
    from benchmarks.page import filled

    page = "# Title\n\n<!-- results -->\nold\n<!-- end of results -->\n\nafter\n"
    rows = result(times=1.0, of_gemm=0.61234, reached=True, wall_s=9.0)

    found = filled(page, "Made today.", [rows, result(nec=float("nan"))])

    assert found.startswith("# Title\n\n<!-- results -->\n\nMade today.\n")
    assert found.endswith("<!-- end of results -->\n\nafter\n")
    assert "|  | CPU s | times | GEMM | reached |\n" in found
    assert "| ours | 0.5 | 1 | 0.612 | yes |\n" in found
    assert "| ours | 0.5 |  |\n" in found
    assert found.count("Measured on 2026-01-02. Not installed, so not measured: glm_saga.") == 2
    assert "old" not in found
    assert filled(found, "Made today.", [rows, result(nec=float("nan"))]) == found


def test_products_are_put_beside_what_the_machine_can_do(tmp_path, monkeypatch, capsys):
    from benchmarks import measure

    monkeypatch.setattr(measure, "RESULTS", tmp_path)
    monkeypatch.setattr(measure, "gemm_rate", lambda: 100.0)

    measure.report("some", "title", [{"case": "ours", "cpu_s": 0.5}], multiplications=20.0)

    assert json.loads((tmp_path / "some.json").read_text())["rows"] == [{"case": "ours", "cpu_s": 0.5, "of_gemm": 0.4}]
    assert "of_gemm" in capsys.readouterr().out


def test_the_kept_results_are_those_on_the_page():
    from benchmarks.__main__ import LARGE, PAGE, RUNS, kept
    from benchmarks.page import section

    page, results = PAGE.read_text(encoding="utf-8"), kept()

    assert len(results) == len(LARGE) + len(RUNS)
    assert [row["title"] for row in results if section(row) not in page] == []


def test_it_lists_its_commands_without_running_them():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--list", "--only", "tap", "--only", "edits"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip

    assert [line.split()[2] for line in done.stdout.splitlines()] == ["benchmarks.edits", "benchmarks.tap"]
