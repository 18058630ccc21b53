"""What every layout is read into: one row an image, and problems that name their row.

Names (classes, concepts, splits, groups) are any text that people write, and never trusted: they are normalised,
limited in length and kept free of control characters here, and escaped wherever they are shown.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Level = Literal["error", "warning"]
MAX_NAME = 500
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong, or only remarkable, with one row or with the whole data set.

    `row` is the index of the row, `None` when it is about the whole. An error of a row can be left out, an error of
    the whole cannot. `path` and `detail` hold text from the data.
    """

    kind: str
    path: str
    detail: str
    level: Level = "error"
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """One image as it was listed: `path` is relative to the listing's root, or absolute; empty text is missing.

    `file` is where the picture was written when the source is no picture file (a table, DICOM); else it is at `path`.
    """

    path: str
    label: str
    split: str = ""
    id: str = ""
    group: str = ""
    mask: str = ""
    digest: str = ""
    concepts: tuple[float, ...] = ()
    extra: tuple[str, ...] = ()
    where: str = ""
    file: Path | None = None

    @property
    def name(self) -> str:
        """The id, which is the path where none is given."""
        return self.id or clean_name(self.path)

    def says(self, message: str) -> str:
        """A message that opens with the line that this row was read from, when it was."""
        return f"{self.where}: {message}" if self.where else message


@dataclass(frozen=True)
class Source:
    """What a data set was recognised as: shown before it is imported, and kept with it.

    Attributes
    ----------
    says
        One sentence: what it is and how much of it is here.
    terms, contact, cite
        On what terms its publishers give it away, their page, and the paper.
    options
        How it was read, by the name of the option.
    labels
        What else could have been the label; empty when there is no choice.
    """

    layout: str
    title: str = ""
    says: str = ""
    terms: str = ""
    contact: str = ""
    cite: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """Every row of a data set and what was wrong with them; no picture has been opened yet.

    `extras` are the other columns that are kept as text, by their full name (`meta:camera`, `cw:striped wing`).
    """

    root: Path
    rows: tuple[Row, ...]
    concepts: tuple[str, ...] = ()
    extras: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    source: Source = Source("")


def split_name(name: str) -> str:
    """The name of a split as we use it: `validation` and `valid` are `val`; any other name stays as it is.

    Examples
    --------
    >>> split_name("Validation"), split_name("shifted")
    ('val', 'shifted')
    """
    return SPLIT_NAMES.get(name.strip().lower(), name.strip())


def is_known_split(name: str) -> bool:
    """Whether a folder of this name is a split and not a class."""
    return name.strip().lower() in SPLIT_NAMES


def clean_name(text: str) -> str:
    """The same text without outer blanks and in Unicode's composed form, so that equal-looking names are equal."""
    return unicodedata.normalize("NFC", text.strip())


def name_fault(text: str, limit: int = MAX_NAME) -> str:
    """What is wrong with a name, as the end of a sentence; empty when nothing is.

    Examples
    --------
    >>> name_fault("striped wing")
    ''
    >>> name_fault("striped" + chr(10) + "wing")
    'contains a control character'
    """
    if len(text) > limit:
        return f"is {len(text)} characters long; the limit is {limit}"
    if text.isprintable():
        return ""
    categories = {unicodedata.category(letter) for letter in text}
    if "Cs" in categories:
        return "is not valid Unicode text"
    return "contains a control character" if categories & {"Cc", "Zl", "Zp"} else ""
