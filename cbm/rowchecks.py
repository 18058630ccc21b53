"""What only shows when rows are looked at beside each other: repeated ids, leaks between splits, balance.

Each check yields the problems that it finds, in the order of the rows; none of them opens a file.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float32

from cbm.errors import unknown
from cbm.rows import Problem, Row

MAX_IMBALANCE = 10
FEW_IMAGES = 5


def row_problems(rows: Sequence[Row], classes: Sequence[str] | None) -> Iterator[Problem]:
    """What is wrong with single rows, given the others: ids used before, classes not on the list, no split here."""
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


def ordered(names: set[str]) -> tuple[str, ...]:
    """Class names in numerical order when all are numbers, in alphabetical order otherwise.

    Examples
    --------
    >>> ordered({"10", "9"}), ordered({"owl", "9"})
    (('9', '10'), ('9', 'owl'))
    """
    numeric = all(name.isascii() and name.isdigit() for name in names)
    return tuple(sorted(names, key=lambda name: (int(name), name)) if numeric else sorted(names))


def whole_problems(
    rows: Sequence[Row],
    digests: Sequence[str],
    splits: Sequence[str],
    concepts: Sequence[str],
    values: Float32[np.ndarray, "n k"],
) -> Iterator[Problem]:
    """What is wrong with the usable rows as a whole: nothing to learn, leaks between splits, rare classes."""
    if not rows:
        yield Problem("empty", "", "there is no image that can be used")
        return
    labels = [row.label for row in rows]
    if len(set(labels)) == 1:
        yield Problem("one_class", "", f"every image has the class {labels[0]!r}; a classifier needs at least two")
    yield from _split_problems(splits)
    yield from _balance_problems(labels, splits)
    yield from _duplicates(rows, digests, splits)
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


def _duplicates(rows: Sequence[Row], digests: Sequence[str], splits: Sequence[str]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for number, (row, digest, split) in enumerate(zip(rows, digests, splits, strict=True)):
        at = first.setdefault(digest, number)
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
