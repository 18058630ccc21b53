"""Reading the text files that data sets are published with: what does not fit becomes a problem with its line."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

from cbm.errors import DataError
from cbm.folders import files_below, find
from cbm.images import SUFFIXES
from cbm.manifests import read_records
from cbm.rows import Problem, Row, clean_name

UNKNOWN = float("nan")


def needed(top: Path, *names: str, title: str, hint: str) -> Path:
    """A part that a data set cannot be read without.

    Raises
    ------
    DataError
        If it is not in the folder, nor one level below.
    """
    place = find(top, *names)
    if place is None:
        raise DataError(f"{title}: there is no {' or '.join(map(repr, names))} in {top.name!r}", hint=hint)
    return place


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Each line that is not empty, after `line N`.

    Raises
    ------
    DataError
        If the file is not UTF-8 text.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield f"line {number}", line.strip()
    except UnicodeDecodeError as error:
        raise DataError(f"{path.name!r} is not UTF-8 text ({error.reason})", hint="unpack it again") from error


def numbered(path: Path, problems: list[Problem]) -> dict[int, str]:
    """The texts of a file of `<number> <text>` lines, in its order."""
    found: dict[int, str] = {}
    for where, line in lines(path):
        number, *rest = line.split(None, 1)
        if number.isdecimal() and rest:
            found[int(number)] = rest[0]
        else:
            problems.append(bad_line(path, where, line, "a number and a text"))
    return found


def bad_line(path: Path, where: str, line: str, wanted: str) -> Problem:
    """The warning for a line that is left out."""
    return Problem("bad_line", path.name, f"{where}: {line[:60]!r} is not {wanted}; it is left out", "warning")


def records(path: Path, problems: list[Problem], *needs: str) -> list[dict[str, str]]:
    """The lines of a CSV file as cells by column, with the line itself as `where`.

    Raises
    ------
    DataError
        If it is not CSV, or has none of the columns that are needed.
    """
    header, cells = read_records(path)
    with closing(cells):
        missing = [name for name in needs if name not in header]
        if missing:
            has = ", ".join(map(repr, header[:12]))
            raise DataError(f"{path.name} has no column {missing[0]!r}; it has {has}", hint="take the published file")
        found = []
        for record in cells:
            if len(record.cells) == len(header):
                where = f"{path.name}, {record.where}"
                found.append({**dict(zip(header, map(str.strip, record.cells), strict=True)), "where": where})
            else:
                wanted = f"a line of {len(header)} cells"
                problems.append(bad_line(path, record.where, ",".join(record.cells), wanted))
    return found


def pictures(top: Path) -> dict[str, str]:
    """Every picture below a folder: its relative path by its name, and by its name without the suffix."""
    found: dict[str, str] = {}
    for file in sorted(files_below(top)[0]):
        stem, suffix = os.path.splitext(os.path.basename(file))
        if suffix.lower() in SUFFIXES:
            found.setdefault(stem + suffix, file)
            found.setdefault(stem, file)
    return found


def relative(place: Path, top: Path) -> str:
    """A folder as the beginning of paths below another: empty for itself, else with a slash at its end."""
    inside = place.relative_to(top).as_posix()
    return "" if inside == "." else f"{inside}/"


def plain(name: str) -> str:
    """A published name in words: underscores are blanks.

    Examples
    --------
    >>> plain("blue_whitish_veil")
    'blue whitish veil'
    """
    return clean_name(name.replace("_", " "))


def class_name(name: str) -> str:
    """A class in words, without the number before it.

    Examples
    --------
    >>> class_name("001.Black_footed_Albatross")
    'Black footed Albatross'
    """
    number, dot, rest = name.partition(".")
    return plain(rest if dot and number.isdecimal() else name)


def bad_rows(rows: Sequence[Row], problems: list[Problem], needs: str) -> None:
    """A problem for each row without a label, which `needs` says where it should be."""
    for number, row in enumerate(rows):
        if not row.label:
            problems.append(Problem("missing_value", row.path, row.says(f"no label is given in {needs}"), row=number))


class Values:
    """Attributes with several values, as one concept a value: `streaks::regular`, with the attribute as its group.

    A value that says that there is nothing (absent, no, nil) has no concept of its own; where there is only one other
    value (present, yes), the concept is called like the attribute.
    """

    NOTHING = frozenset({"absent", "no", "nil"})

    def __init__(self, attributes: Mapping[str, Sequence[str]]) -> None:
        self._at: dict[tuple[str, str], int] = {}
        self._known = attributes
        names: list[str] = []
        for attribute, values in attributes.items():
            telling = [value for value in values if value not in self.NOTHING]
            for value in telling:
                self._at[attribute, value] = len(names)
                only = len(telling) == 1 and len(values) > 1
                names.append(plain(attribute) if only else f"{plain(attribute)}::{value}")
        self.concepts = tuple(names)

    def read(self, cells: Mapping[str, str], row: Row, number: int, problems: list[Problem]) -> tuple[float, ...]:
        """One row's values: 1 for the value that a cell has, 0 for the others, unknown where the cell is empty."""
        values = [0.0] * len(self.concepts)
        for attribute, known in self._known.items():
            cell = cells.get(attribute, "")
            if cell not in known:
                for value in known:
                    if (attribute, value) in self._at:
                        values[self._at[attribute, value]] = UNKNOWN
                if cell:
                    told = f"{attribute} is {cell[:40]!r}; it must be {', '.join(known)}; it is taken as unknown"
                    problems.append(Problem("concept_value", row.path, row.says(told), "warning", number))
            elif (attribute, cell) in self._at:
                values[self._at[attribute, cell]] = 1.0
        return tuple(values)
