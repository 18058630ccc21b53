"""How every benchmark here measures: all cases in one process, taken in turns, judged by medians of CPU seconds.

The machines are small and shared. CPU seconds of the process do not count what others do meanwhile; wall seconds are
printed beside them. Ratios only compare cases of one run.
"""

import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import TypeVar

RESULTS = Path(os.environ.get("BENCHMARK_RESULTS", Path(__file__).parent / "results"))
Answer = TypeVar("Answer")
LONG = 30.0  # CPU seconds
Row = dict[str, str | float | int | bool]


@dataclass
class Clock:
    """CPU and wall seconds since it was made, without the time spent in `pause`."""

    cpu: float = field(default_factory=lambda: -time.process_time())
    wall: float = field(default_factory=lambda: -time.perf_counter())

    def read(self) -> tuple[float, float]:
        """CPU and wall seconds so far."""
        return self.cpu + time.process_time(), self.wall + time.perf_counter()

    def uncounted(self, work: Callable[[], float]) -> float:
        """Do something that is measured but not timed."""
        before = time.process_time(), time.perf_counter()
        result = work()
        self.cpu -= time.process_time() - before[0]
        self.wall -= time.perf_counter() - before[1]
        return result


def interleaved(
    cases: Mapping[str, Callable[[], Answer]], judge: Callable[[Answer], Row], *, repetitions: int, baseline: str
) -> list[Row]:
    """Run A B C A B C and return one row a case: median seconds, how many times the baseline's, and its last answer.

    Parameters
    ----------
    cases
        Name to a function that does the work once. A case that took longer than half a minute is not repeated.
    judge
        What to say of an answer; not timed. If it says "cpu_s" and "wall_s", these count: for work that is stopped when
        it is good enough.
    """
    runs: dict[str, list[Row]] = {name: [] for name in cases}
    for _ in range(repetitions):
        for name, run in cases.items():
            if any(float(taken["cpu_s"]) > LONG for taken in runs[name]):
                continue
            clock = Clock()
            answer = run()
            cpu, wall = clock.read()
            runs[name].append({"cpu_s": cpu, "wall_s": wall} | judge(answer))
    rows = [_median(name, taken) for name, taken in runs.items()]
    reference = next(float(row["cpu_s"]) for row in rows if row["case"] == baseline)
    return [{**row, "times": float(row["cpu_s"]) / max(reference, 1e-9)} for row in rows]


def _median(name: str, runs: list[Row]) -> Row:
    medians = {key: statistics.median(float(run[key]) for run in runs) for key in ("cpu_s", "wall_s")}
    return {"case": name, **runs[-1], **medians, "runs": len(runs)}


def peak_mb() -> float:
    """The process's largest resident memory so far, libraries included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def gemm_rate(repetitions: int = 7) -> float:
    """Floating-point operations a CPU second of a single-precision product, here and now; the median of some."""
    import torch

    a, b = torch.ones(512, 512), torch.ones(512, 8192)
    out = a @ b
    taken = []
    for _ in range(repetitions):
        clock = Clock()
        torch.mm(a, b, out=out)
        taken.append(clock.read()[0])
    return 2.0 * a.numel() * b.shape[1] / statistics.median(taken)


def report(
    name: str, title: str, rows: Iterable[Row], absent: Iterable[str] = (), *, multiplications: float = 0.0
) -> None:
    """Print a table and keep the same numbers, with the machine they come from, in `results/<name>.json`.

    Parameters
    ----------
    multiplications
        Floating-point operations of the products that no case can avoid. With them each row says, as `of_gemm`, how
        much of its time these take at the rate of a plain product: 1 is nothing left to gain in single precision.
    """
    rows, absent = list(rows), list(absent)
    if multiplications:
        least = multiplications / gemm_rate()
        rows = [{**row, "of_gemm": least / max(float(row["cpu_s"]), 1e-9)} for row in rows]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_shown(row.get(key, "")) for key in columns] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    print(f"\n{title}")
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for peer in absent:
        print(f"not installed, so not measured: {peer}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    machine = {"processor": platform.machine(), "threads": os.environ.get("OMP_NUM_THREADS", "default")}
    content = {"title": title, "measured": date.today().isoformat(), "machine": machine, "rows": rows, "absent": absent}
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


def _shown(value: str | float | int | bool) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
