"""CelebA: 202,599 photographs of faces with 40 yes-or-no attributes, of which any one can be the label.

The text files are those of the publishers, `list_attr_celeba.txt` with a first line of the count, a second of the names,
and values of -1 and 1; the comma-separated files that Kaggle passes on are read too. The published partition has no person
in two splits; `identity_CelebA.txt`, where it is there, gives the person as the group.

References
----------
Liu, Luo, Wang & Tang, "Deep learning face attributes in the wild", ICCV 2015.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cbm.config import option
from cbm.errors import DataError, unknown
from cbm.folders import find
from cbm.published import Published
from cbm.published.texts import UNKNOWN, bad_line, lines, needed, plain, relative
from cbm.rows import Listing, Problem, Row, Source

TITLE = "CelebA"
TREE = """img_align_celeba/000001.jpg
list_attr_celeba.txt
list_eval_partition.txt
identity_CelebA.txt"""
HINT = f"unpack img_align_celeba.zip beside the lists; it looks like\n{TREE}"
VALUES = {"1": 1.0, "-1": 0.0, "0": 0.0}
SPLITS = {"0": "train", "1": "val", "2": "test"}


@dataclass(frozen=True)
class Options:
    """What is to be predicted."""

    label: str = option("Smiling", help="the attribute that is predicted; the others are concepts")


def read(top: Path, options: Options) -> Listing:
    """The rows of a folder with the lists and the folder of aligned faces, or of one with `Anno`, `Eval` and `Img`."""
    problems: list[Problem] = []
    told = needed(top, "list_attr_celeba.txt", "list_attr_celeba.csv", title=TITLE, hint=HINT)
    names, values = _attributes(told, problems)
    if options.label not in names:
        raise unknown("label", options.label, names)
    at = names.index(options.label)
    splits = _pairs(find(top, "list_eval_partition.txt", "list_eval_partition.csv"))
    people = _pairs(find(top, "identity_CelebA.txt", "identity_CelebA.csv"))
    prefix = relative(_images(top), top)
    label = plain(options.label)
    called = {1.0: label, 0.0: f"not {label}"}
    rows = [
        Row(
            path=prefix + image,
            label=called.get(row[at], ""),
            split=SPLITS.get(splits.get(image, ""), ""),
            group=people.get(image, ""),
            concepts=(*row[:at], *row[at + 1 :]),
            where=f"{told.name}, {image}",
        )
        for image, row in values
    ]
    concepts = tuple(plain(name) for name in names if name != options.label)
    return Listing(top, tuple(rows), concepts, problems=tuple(problems), source=Source("celeba", labels=tuple(names)))


def _images(top: Path) -> Path:
    """The folder of pictures; Kaggle's archive has it twice, one inside the other."""
    place = needed(top, "img_align_celeba", "img_celeba", title=TITLE, hint=HINT)
    return place / place.name if (place / place.name).is_dir() else place


def _attributes(path: Path, problems: list[Problem]) -> tuple[list[str], list[tuple[str, tuple[float, ...]]]]:
    """The names of the attributes, and of each image its name and values."""
    table = _cells(path)
    names = next((cells for _, cells in table if len(cells) > 1 or path.suffix == ".csv"), [])
    names = names[1:] if path.suffix == ".csv" else names
    if not names:
        raise DataError(f"{path.name} has no line with the names of the attributes", hint=HINT)
    found = []
    for where, (image, *cells) in table:
        if len(cells) != len(names):
            problems.append(bad_line(path, where, " ".join((image, *cells)), f"an image and {len(names)} values"))
            continue
        row = tuple(VALUES.get(cell, UNKNOWN) for cell in cells)
        if not VALUES.keys() >= set(cells):
            detail = f"{path.name}, {where}: a value is neither -1 nor 1; it is taken as unknown"
            problems.append(Problem("concept_value", image, detail, "warning"))
        found.append((image, row))
    return names, found


def _pairs(path: Path | None) -> dict[str, str]:
    """A file of `<image> <value>` lines; empty when it is not there."""
    return {} if path is None else {cells[0]: cells[1] for _, cells in _cells(path) if len(cells) == 2}


def _cells(path: Path) -> Iterator[tuple[str, list[str]]]:
    comma = "," if path.suffix == ".csv" else None
    return ((where, line.split(comma)) for where, line in lines(path))


PUBLISHED = Published(
    name="celeba",
    title=TITLE,
    telltales=("list_attr_celeba.txt", "list_attr_celeba.csv"),
    tree=TREE,
    concepts="attributes beside the label",
    terms="for non-commercial research only; the photographs belong to others and may not be passed on",
    contact="https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html",
    cite="Liu, Luo, Wang and Tang, Deep learning face attributes in the wild, ICCV 2015",
    options=Options,
    read=read,
)
