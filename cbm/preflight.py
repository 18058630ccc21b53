"""The preflight report: what an import would store and everything that is wrong or remarkable, before it does.

Errors stop an import (those of single rows can be left out on request); warnings do not. The checks of single rows
come first, then the files are opened, then the data set is looked at as a whole.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32

from cbm.errors import unknown
from cbm.filechecks import FileCheck, check_files
from cbm.progress import OnProgress, silent
from cbm.rows import Listing, Problem, Row
from cbm.splits import assign_splits, in_order

MAX_SHOWN = 1000
MAX_IMBALANCE = 10
FEW_IMAGES = 5


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
    problems = [*listing.problems, *_row_problems(listing.rows, classes)]
    bad = _bad_rows(problems)
    candidates = [(number, row) for number, row in enumerate(listing.rows) if number not in bad]
    checks = check_files(listing.root, candidates, trust=trust, on_progress=on_progress)
    problems += [problem for check in checks for problem in check.problems]
    bad = _bad_rows(problems)
    usable = [(row, check) for (number, row), check in zip(candidates, checks, strict=True) if number not in bad]
    rows, files = tuple(row for row, _ in usable), tuple(check for _, check in usable)
    splits, rule = _splits(rows, files, seed)
    values = np.array([row.concepts for row in rows], dtype=np.float32).reshape(len(rows), len(listing.concepts))
    if not (any(p.level == "error" and p.row is None for p in problems) and not listing.rows):
        problems += _whole_problems(rows, files, splits, listing.concepts, values)
    names = tuple(classes) if classes is not None else ordered({row.label for row in rows})
    report = _report(listing, rows, files, splits, rule, names, values, _capped(problems))
    return Examined(rows, files, splits, values, listing.extras, report)


def ordered(names: set[str]) -> tuple[str, ...]:
    """Class names in numerical order when all are numbers, in alphabetical order otherwise.

    Examples
    --------
    >>> ordered({"10", "9"}), ordered({"owl", "9"})
    (('9', '10'), ('9', 'owl'))
    """
    numeric = all(name.isascii() and name.isdigit() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name), name)) if numeric else sorted(names))


def _bad_rows(problems: Sequence[Problem]) -> set[int]:
    return {problem.row for problem in problems if problem.level == "error" and problem.row is not None}


def _row_problems(rows: Sequence[Row], classes: Sequence[str] | None) -> Iterator[Problem]:
    """What only shows beside the other rows: repeated ids, classes not on the list, a split missing here."""
    first: dict[str, Row] = {}
    some_split = any(row.split for row in rows)
    for number, row in enumerate(rows):
        before = first.setdefault(row.name, row)
        if before is not row and row.name:
            detail = row.says(f"id {row.name!r} is already used on {before.where or before.path}")
            yield Problem("duplicate_id", row.path, detail, row=number)
        if classes is not None and row.label and row.label not in classes:
            error = unknown("class", row.label, classes)
            yield Problem("unknown_class", row.path, row.says(f"{error.message}; {error.hint}"), row=number)
        if some_split and not row.split:
            detail = row.says("no split is given, though other rows have one")
            yield Problem("missing_value", row.path, detail, row=number)


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


def _whole_problems(
    rows: Sequence[Row],
    files: Sequence[FileCheck],
    splits: Sequence[str],
    concepts: Sequence[str],
    values: Float32[np.ndarray, "n k"],
) -> Iterator[Problem]:
    if not rows:
        yield Problem("empty", "", "there is no image that can be used")
        return
    labels = [row.label for row in rows]
    if len(set(labels)) == 1:
        yield Problem("one_class", "", f"every image has the class {labels[0]!r}; a classifier needs at least two")
    yield from _split_problems(splits)
    yield from _balance_problems(labels, splits)
    yield from _duplicates(rows, files, splits)
    yield from _divided_groups(rows, splits)
    yield from _concept_problems(concepts, values)


def _split_problems(splits: Sequence[str]) -> Iterator[Problem]:
    counts = Counter(splits)
    if not counts["train"]:
        detail = f"the split 'train' has no images; there are {', '.join(map(repr, sorted(counts)))}"
        yield Problem("empty_split", "", detail)
    for name, purpose in (("val", "choosing settings"), ("test", "the final numbers")):
        if not counts[name]:
            yield Problem("empty_split", "", f"the split {name!r} has no images; it serves {purpose}", "warning")


def _balance_problems(labels: Sequence[str], splits: Sequence[str]) -> Iterator[Problem]:
    train = Counter(label for label, split in zip(labels, splits, strict=True) if split == "train")
    if not train:
        return
    for label in ordered(set(labels)):
        if not train[label]:
            yield Problem("class_not_in_train", "", f"class {label!r} has no image in 'train'", "warning")
        elif train[label] < FEW_IMAGES:
            detail = f"class {label!r} has only {train[label]} of the images in 'train'"
            yield Problem("small_class", "", detail, "warning")
    (most, high), (least, low) = train.most_common()[0], train.most_common()[-1]
    if high >= MAX_IMBALANCE * low:
        detail = f"class {most!r} has {high} images in 'train', class {least!r} only {low}"
        yield Problem("imbalance", "", detail, "warning")


def _duplicates(rows: Sequence[Row], files: Sequence[FileCheck], splits: Sequence[str]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for number, (row, check, split) in enumerate(zip(rows, files, splits, strict=True)):
        at = first.setdefault(check.digest, number)
        if at == number:
            continue
        same = f"has the same content as {rows[at].path!r}"
        kind, more = (
            ("duplicate", "") if splits[at] == split else ("duplicate_across_splits", f" ({splits[at]}, {split})")
        )
        yield Problem(kind, row.path, row.says(same + more), "warning")
        if rows[at].label != row.label:
            detail = row.says(f"{same}, but class {row.label!r} instead of {rows[at].label!r}")
            yield Problem("conflicting_labels", row.path, detail, "warning")


def _divided_groups(rows: Sequence[Row], splits: Sequence[str]) -> Iterator[Problem]:
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row, split in zip(rows, splits, strict=True):
        if row.group:
            found[row.group][split] += 1
    for group, counts in sorted(found.items()):
        if len(counts) > 1:
            where = ", ".join(f"{n} in {split!r}" for split, n in sorted(counts.items()))
            detail = f"group {group!r} is in more than one split ({where}); if it is one patient or place, results leak"
            yield Problem("group_across_splits", "", detail, "warning")
    without = sum(not row.group for row in rows)
    if found and without:
        yield Problem("missing_value", "", f"{without} of {len(rows)} images have no group", "warning")


def _concept_problems(concepts: Sequence[str], values: Float32[np.ndarray, "n k"]) -> Iterator[Problem]:
    known = ~np.isnan(values)
    for at, name in enumerate(concepts):
        labelled = values[known[:, at], at]
        if not len(labelled):
            yield Problem("missing_value", "", f"concept {name!r} is unknown on every image", "warning")
        elif labelled.min() == labelled.max():
            detail = f"concept {name!r} is {labelled[0]:g} on every image; it explains nothing"
            yield Problem("constant_concept", "", detail, "warning")


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
    sums = np.nansum(values, axis=0, dtype=np.float64)
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
    )


def _capped(problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Errors first; at most `MAX_SHOWN` of a kind, and then how many more there are."""
    kept: list[Problem] = []
    counts: Counter[tuple[str, str]] = Counter()
    for problem in sorted(problems, key=lambda problem: problem.level != "error"):
        counts[problem.level, problem.kind] += 1
        if counts[problem.level, problem.kind] <= MAX_SHOWN:
            kept.append(problem)
    last = {(problem.level, problem.kind): problem for problem in kept}
    more = {key: count - MAX_SHOWN for key, count in counts.items() if count > MAX_SHOWN}
    return (*kept, *(replace(last[key], path="", detail=f"and {n} more of these") for key, n in more.items()))


def _problem_json(problem: Problem) -> dict[str, str]:
    return {"kind": problem.kind, "path": problem.path, "detail": problem.detail, "level": problem.level}
