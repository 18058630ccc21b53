"""The results as Markdown: one table a benchmark, between two marks of a page."""

import os
import platform
import re
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measure import Row

BETWEEN = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.DOTALL)
TITLES = {
    "case": "", "what": "", "cpu_s": "CPU s", "times": "times", "of_gemm": "GEMM", "above_optimum": "above the optimum",
    "above_svc_at_most": "above SVC, at most", "above_svc_mean": "above SVC, mean", "largest_difference": "largest difference",
    "largest_gap": "largest gap", "peak_mb": "peak MB", "mb_before": "MB before", "words_a_class": "words a class",
    "under_2_gb": "below 2 GB", "nec": "NEC", "us_an_image": "µs an image", "ms_an_image": "ms an image", "images_s": "images a CPU s",
}  # fmt: skip
HIDDEN = ("wall_s", "runs", "gap")
FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx512_bf16": "bfloat16 products",
    "amx_bf16": "bfloat16 tiles (AMX)",
}


def filled(page: str, about: str, results: Iterable[Mapping[str, Any]]) -> str:
    """The page with this between its two marks: what the numbers come from, and a section for each result."""
    text = "\n".join([about, *(section(result) for result in results)])
    return BETWEEN.sub(lambda _: f"\n{text}\n", page)


def section(result: Mapping[str, Any]) -> str:
    """A result as `measure.report` keeps it: its title, its table, when it was, and the peers that were not there."""
    title = result["title"][:1].upper() + result["title"][1:]
    absent = f" Not installed, so not measured: {', '.join(result['absent'])}." if result["absent"] else ""
    return f"## {title}\n\n{table(result['rows'])}\nMeasured on {result['measured']}.{absent}\n"


def table(rows: Iterable[Row]) -> str:
    """Rows as Markdown, a column for whatever any of them says."""
    rows = list(rows)
    columns = [c for c in dict.fromkeys(key for row in rows for key in row) if c not in HIDDEN]
    lines = [[TITLES.get(c, c.replace("_", " ")) for c in columns], ["---"] * len(columns)]
    lines += [[_shown(row.get(c, "")) for c in columns] for row in rows]
    return "".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |\n" for line in lines)


def about_here(command: str) -> str:
    """With what, and on which kind of machine; no name of a machine."""
    flags = _flags()
    can = ", ".join(name for flag, name in FEATURES.items() if flag in flags)
    kind = f"{os.cpu_count()} cores ({platform.machine()}{', ' + can if can else ''}), one of them used"
    libraries = ", ".join(f"{name} {version(name).partition('+')[0]}" for name in ("torch", "numpy", "scikit-learn"))
    return (
        f"Made by `{command}` at small sizes (in each title). {kind}; Python {platform.python_version()}, {libraries}. "
        f"Processes that wanted a core in the last quarter of an hour: {os.getloadavg()[2]:.0f} on average.\n"
    )


def _flags() -> set[str]:
    file = Path("/proc/cpuinfo")
    found = re.search(r"^flags\s*:(.*)$", file.read_text(), re.MULTILINE) if file.exists() else None
    return set(found[1].split()) if found else set()


def _shown(value: str | float | int | bool) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return "" if value != value else f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else value
