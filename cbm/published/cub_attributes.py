"""The attributes of CUB-200-2011: what one annotator saw on each image, and what most said of each class.

In `image_attribute_labels.txt` the lines of two images have a zero too many before the time; the first four numbers of
every line are used. An attribute that the annotator called not visible is unknown.

References
----------
Koh et al., "Concept Bottleneck Models", ICML 2020: an attribute of a class is what most labels of its training images
say. As in their code, an absent attribute that is not visible has no vote and ties count as present. Unlike there, an
attribute for which a class has no vote at all is unknown.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, UInt8

from cbm.errors import DataError
from cbm.published.texts import bad_line, class_name, lines, numbered, plain
from cbm.rows import Problem

NOT_VISIBLE = 1
YES_NO, CERTAINTIES = {"0", "1"}, {"1", "2", "3", "4"}
NOTHING = 2  # in `present`: nobody wrote anything


@dataclass(frozen=True)
class Seen:
    """What annotators saw: 0 absent, 1 present, 2 nothing was written; and how certain they were, 1 to 4."""

    present: UInt8[np.ndarray, "n k"]
    certainty: UInt8[np.ndarray, "n k"]


@dataclass(frozen=True)
class Attributes:
    """Names and values of the attributes that are kept, and the annotators' certainty where it is kept too."""

    names: tuple[str, ...]
    values: Float32[np.ndarray, "n k"]
    certainty: UInt8[np.ndarray, "n k"] | None = None

    def certainty_texts(self) -> Iterator[tuple[str, ...]]:
        """The certainties of each image, empty where there is none."""
        if self.certainty is None:
            yield from ((),) * len(self.values)
            return
        written = ("", "1", "2", "3", "4")
        for row in self.certainty:
            yield tuple(map(written.__getitem__, row.tolist()))


def attribute_name(text: str) -> str:
    """A published attribute in words.

    Examples
    --------
    >>> attribute_name("has_bill_shape::curved_(up_or_down)")
    'bill shape::curved (up or down)'
    """
    return plain(text.removeprefix("has_"))


def seen(path: Path, images: Sequence[int], attributes: Sequence[int], problems: list[Problem]) -> Seen:
    """The annotations of images and attributes with these numbers."""
    row, column = ({str(id): at for at, id in enumerate(ids)} for ids in (images, attributes))
    present = np.full((len(images), len(attributes)), NOTHING, np.uint8)
    certainty = np.zeros_like(present)
    longer, first = 0, ""
    for where, line in lines(path):
        cells = line.split()
        if len(cells) < 4 or cells[2] not in YES_NO or cells[3] not in CERTAINTIES or not _known(cells, row, column):
            problems.append(bad_line(path, where, line, "an image, an attribute, 0 or 1, and a certainty"))
            continue
        at = row[cells[0]], column[cells[1]]
        present[at], certainty[at] = int(cells[2]), int(cells[3])
        if len(cells) > 5:
            longer, first = longer + 1, first or where
    if longer:
        detail = f"{first}: {longer} lines have more than five columns, as published; their first four are used"
        problems.append(Problem("cells", path.name, detail, "warning"))
    return Seen(present, certainty)


def by_image(seen: Seen) -> Float32[np.ndarray, "n k"]:
    """What each image's annotator saw; unknown where nothing was written or the part was not visible."""
    unknown = (seen.present == NOTHING) | (seen.certainty == NOT_VISIBLE)
    return np.where(unknown, np.float32(np.nan), seen.present.astype(np.float32))


def majorities(seen: Seen, labels: Sequence[str], learnt: Sequence[bool]) -> dict[str, Float32[np.ndarray, " k"]]:
    """What most labels of each class say, over the images that are learnt from; unknown where nobody says anything."""
    of_image, train = np.array(labels), np.array(learnt)
    found = {}
    for label in dict.fromkeys(labels):
        chosen = train & (of_image == label)
        yes = (seen.present[chosen] == 1).sum(0)
        no = ((seen.present[chosen] == 0) & (seen.certainty[chosen] != NOT_VISIBLE)).sum(0)
        found[label] = np.where(yes + no == 0, np.nan, yes >= no).astype(np.float32)
    return found


def published_shares(base: Path, k: int) -> dict[str, Float32[np.ndarray, " k"]]:
    """How many of the annotators say so, by class, from 0 to 1; the file has a line a class in their order.

    Raises
    ------
    DataError
        If the file is missing, or has not as many lines and numbers as there are classes and attributes.
    """
    path = base / "attributes" / "class_attribute_labels_continuous.txt"
    classes = [class_name(name) for name in numbered(base / "classes.txt", []).values()]
    try:
        table = np.loadtxt(path, dtype=np.float32, ndmin=2) / 100
    except (OSError, ValueError) as error:
        raise DataError(f"{path.name} cannot be read ({error})", hint="use attributes=class instead") from error
    if table.shape != (len(classes), k) or not ((table >= 0) & (table <= 1)).all():
        raise DataError(f"{path.name} is not {len(classes)} lines of {k} percentages", hint="unpack the archive again")
    return dict(zip(classes, table, strict=True))


def _known(cells: list[str], row: dict[str, int], column: dict[str, int]) -> bool:
    return cells[0] in row and cells[1] in column
