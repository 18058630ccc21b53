"""The preflight report: what an import would store and everything that is wrong or remarkable, before it does.

Errors stop an import (those of single rows can be left out on request); warnings do not. The checks of single rows
come first, then the files are opened, then the data set is looked at as a whole.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from cbm.filechecks import FileCheck, check_files
from cbm.progress import OnProgress, silent
from cbm.rowchecks import ordered, row_problems, whole_problems
from cbm.rows import Level, Listing, Problem, Row, Source
from cbm.splits import assign_splits, in_order

MAX_SHOWN = 1000


@dataclass(frozen=True)
class Report:
    """What was found; `images` and every count are of the rows without errors, `listed` is of all rows.

    Attributes
    ----------
    splits
        Images in each split.
    split_counts
        Images of each class in each split.
    split_rule
        How the splits came about: `given`, or the rule by which they were made.
    prevalence
        Mean of each concept where it is known; NaN where it never is.
    missing
        Images on which each concept is unknown.
    modes
        Images in each colour mode, as stored; all are used as RGB.
    rotated
        Images that their EXIF orientation turns or mirrors.
    source
        What the data set was recognised as, and on what terms it is given away.
    """

    images: int
    listed: int
    classes: tuple[str, ...]
    splits: Mapping[str, int]
    concepts: tuple[str, ...]
    problems: tuple[Problem, ...]
    class_counts: Mapping[str, int]
    split_counts: Mapping[str, Mapping[str, int]]
    split_rule: str
    prevalence: Mapping[str, float]
    missing: Mapping[str, int]
    modes: Mapping[str, int]
    rotated: int
    source: Source

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that stop an import."""
        return tuple(problem for problem in self.problems if problem.level == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that do not."""
        return tuple(problem for problem in self.problems if problem.level == "warning")

    @property
    def ok(self) -> bool:
        """Whether the data set can be imported as it is."""
        return not self.errors

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values; a prevalence that is not known is `None`."""
        known = {name: None if np.isnan(value) else round(value, 6) for name, value in self.prevalence.items()}
        return {
            "images": self.images,
            "classes": list(self.classes),
            "splits": dict(self.splits),
            "concepts": list(self.concepts),
            "problems": [_problem_json(problem) for problem in self.problems],
            "ok": self.ok,
            "listed": self.listed,
            "class_counts": dict(self.class_counts),
            "split_counts": {split: dict(counts) for split, counts in self.split_counts.items()},
            "split_rule": self.split_rule,
            "concept_prevalence": known,
            "concept_missing": dict(self.missing),
            "colour_modes": dict(self.modes),
            "exif_rotated": self.rotated,
            "source": asdict(self.source),
        }


@dataclass(frozen=True)
class Examined:
    """The rows that can be used, with their files and splits, and the report on all of them."""

    rows: tuple[Row, ...]
    files: tuple[FileCheck, ...]
    splits: tuple[str, ...]
    values: Float32[np.ndarray, "n k"]
    extras: tuple[str, ...]
    report: Report


def examine(
    listing: Listing,
    *,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    trust: bool = False,
    on_progress: OnProgress = silent,
) -> Examined:
    """Check every row, open every file, and look at the whole.

    Parameters
    ----------
    classes
        The only classes allowed, in their order; any by default, in alphabetical (or numerical) order.
    seed
        Of the division into splits, when none is given.
    trust
        Believe `sha256` columns instead of opening the pictures.
    """
    bad = _bad_rows(listing.problems)
    problems = [*listing.problems, *(p for p in row_problems(listing.rows, classes) if p.row not in bad)]
    bad = _bad_rows(problems)
    candidates = [(number, row) for number, row in enumerate(listing.rows) if number not in bad]
    checks = check_files(listing.root, candidates, trust=trust, on_progress=on_progress)
    problems += [problem for check in checks for problem in check.problems]
    bad = _bad_rows(problems)
    usable = [(row, check) for (number, row), check in zip(candidates, checks, strict=True) if number not in bad]
    rows, files = tuple(row for row, _ in usable), tuple(check for _, check in usable)
    splits, rule = _splits(rows, files, seed)
    values = np.array([row.concepts for row in rows], dtype=np.float32).reshape(len(rows), len(listing.concepts))
    if listing.rows or not problems:  # a manifest without its columns has one problem, not also that it is empty
        problems += whole_problems(rows, [file.digest for file in files], splits, listing.concepts, values)
    names = tuple(classes) if classes is not None else ordered({row.label for row in rows})
    report = _report(listing, rows, files, splits, rule, names, values, _capped(problems))
    return Examined(rows, files, splits, values, listing.extras, report)


def _bad_rows(problems: Sequence[Problem]) -> set[int]:
    return {problem.row for problem in problems if problem.level == "error" and problem.row is not None}


def _splits(rows: Sequence[Row], files: Sequence[FileCheck], seed: int) -> tuple[tuple[str, ...], str]:
    if any(row.split for row in rows):
        return tuple(row.split for row in rows), "given"
    labels = [row.label for row in rows]
    rule = f"made: 70 % train, 15 % val, 15 % test, seed {seed}, stratified by class"
    contents = [check.digest for check in files]
    if any(row.group for row in rows):
        groups = [f"group:{row.group}" if row.group else digest for row, digest in zip(rows, contents, strict=True)]
        splits = assign_splits(labels, groups, seed=seed)
        learnt = {label for label, split in zip(labels, splits, strict=True) if split == "train"}
        if learnt == set(labels) and len(set(splits)) == 3:
            return tuple(splits), f"{rule}, groups kept together"
        rule += ", groups divided because keeping them together leaves a class or a split out"
    return tuple(assign_splits(labels, contents, seed=seed)), rule


def _report(
    listing: Listing,
    rows: Sequence[Row],
    files: Sequence[FileCheck],
    splits: Sequence[str],
    rule: str,
    classes: tuple[str, ...],
    values: Float32[np.ndarray, "n k"],
    problems: tuple[Problem, ...],
) -> Report:
    pairs = Counter(zip(splits, (row.label for row in rows), strict=True))
    sizes = Counter(splits)
    order = in_order(sizes)
    unknown_count = np.isnan(values).sum(axis=0)
    known_count = np.maximum(len(rows) - unknown_count, 0)
    sums: np.ndarray = np.where(np.isnan(values), 0, values).sum(axis=0, dtype=np.float64)
    mean = np.divide(sums, known_count, out=np.full(len(sums), np.nan), where=known_count > 0)
    labels = Counter(row.label for row in rows)
    return Report(
        images=len(rows),
        listed=len(listing.rows),
        classes=classes,
        splits={name: sizes[name] for name in order},
        concepts=listing.concepts,
        problems=problems,
        class_counts={name: labels[name] for name in classes},
        split_counts={split: {name: pairs[split, name] for name in classes} for split in order},
        split_rule=rule,
        prevalence=dict(zip(listing.concepts, mean.tolist(), strict=True)),
        missing=dict(zip(listing.concepts, unknown_count.tolist(), strict=True)),
        modes=dict(Counter(check.facts.mode for check in files if check.facts).most_common()),
        rotated=sum(check.facts.rotated for check in files if check.facts),
        source=listing.source,
    )


def _capped(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Errors first; at most `MAX_SHOWN` of a kind, and then how many more there are."""
    kept: list[Problem] = []
    counts: Counter[tuple[Level, str]] = Counter()
    for problem in sorted(problems, key=lambda problem: problem.level != "error"):
        counts[problem.level, problem.kind] += 1
        if counts[problem.level, problem.kind] <= MAX_SHOWN:
            kept.append(problem)
    last = {(problem.level, problem.kind): problem for problem in kept}
    more = {key: count - MAX_SHOWN for key, count in counts.items() if count > MAX_SHOWN}
    return (*kept, *(replace(last[key], path="", detail=f"and {n} more of these") for key, n in more.items()))


def _problem_json(problem: Problem) -> dict[str, str]:
    return {"kind": problem.kind, "path": problem.path, "detail": problem.detail, "level": problem.level}
