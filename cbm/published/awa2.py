"""Animals with Attributes 2: 50 animals, and for each of them what people say of 85 attributes.

Attributes are of classes, so each image has those of its animal. The published division is one of classes, 40 to learn
from and 10 never seen, for zero-shot classification; a concept bottleneck that is to tell all animals apart needs
images of each, so by default every class is divided as usual, and `splits=classes` gives the published division.

References
----------
Xian, Lampert, Schiele & Akata, "Zero-shot learning: a comprehensive evaluation of the good, the bad and the ugly",
TPAMI 2019. The layout, and -1 for a missing value, are those of its README-attributes.txt.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float32

from cbm.config import option
from cbm.errors import DataError
from cbm.folders import is_hidden
from cbm.images import SUFFIXES
from cbm.published import Published
from cbm.published.texts import lines, needed, numbered, relative
from cbm.rows import Listing, Problem, Row, clean_name

TITLE = "Animals with Attributes 2"
TREE = """Animals_with_Attributes2/JPEGImages/antelope/*.jpg
Animals_with_Attributes2/classes.txt, predicates.txt, predicate-matrix-binary.txt
Animals_with_Attributes2/predicate-matrix-continuous.txt, trainclasses.txt, testclasses.txt"""
HINT = f"unpack AwA2-base.zip and AwA2-data.zip into one folder; it looks like\n{TREE}"


@dataclass(frozen=True)
class Options:
    """How attributes and splits are read."""

    attributes: Literal["binary", "continuous"] = option(
        "binary", choices=("binary", "continuous"), help="the published yes and no, or the percentages behind them"
    )
    splits: Literal["images", "classes"] = option(
        "images", choices=("images", "classes"),
        help="divide the images of every class, or keep the published ten classes that are only tested on",
    )  # fmt: skip


def read(top: Path, options: Options) -> Listing:
    """The rows of `Animals_with_Attributes2`."""
    problems: list[Problem] = []
    base = needed(top, "predicates.txt", title=TITLE, hint=HINT).parent
    images = needed(base, "JPEGImages", title=TITLE, hint=HINT)
    classes = list(numbered(needed(base, "classes.txt", title=TITLE, hint=HINT), problems).values())
    concepts = [clean_name(name) for name in numbered(base / "predicates.txt", problems).values()]
    values = _matrix(base, options.attributes, len(classes), len(concepts))
    split_of = _class_splits(base) if options.splits == "classes" else {}
    prefix = relative(images, top)
    rows = [
        Row(
            path=f"{prefix}{name}/{picture}",
            label=clean_name(name.replace("+", " ")),
            split=split_of.get(name, ""),
            concepts=tuple(values[at].tolist()),
        )
        for at, name in enumerate(classes)
        for picture in _pictures(images / name, problems)
    ]
    return Listing(top, tuple(rows), tuple(concepts), problems=tuple(problems))


def _pictures(folder: Path, problems: list[Problem]) -> list[str]:
    if not folder.is_dir():
        detail = f"there is no folder of class {folder.name!r}"
        problems.append(Problem("missing_part", f"JPEGImages/{folder.name}", detail, "warning"))
        return []
    return sorted(e.name for e in folder.iterdir() if e.suffix.lower() in SUFFIXES and not is_hidden(e.name))


def _matrix(base: Path, kind: str, classes: int, concepts: int) -> Float32[np.ndarray, "c k"]:
    path = needed(base, f"predicate-matrix-{kind}.txt", title=TITLE, hint=HINT)
    try:
        table = np.loadtxt(path, dtype=np.float32, ndmin=2)
    except ValueError as error:
        raise DataError(f"{path.name} cannot be read ({error})", hint=HINT) from error
    if table.shape != (classes, concepts):
        raise DataError(f"{path.name} is not {classes} lines of {concepts} numbers", hint=HINT)
    shares = table if kind == "binary" else table / 100
    return np.where((shares >= 0) & (shares <= 1), shares, np.float32(np.nan))


def _class_splits(base: Path) -> dict[str, str]:
    return {
        name: split
        for split in ("train", "test")
        for _, name in lines(needed(base, f"{split}classes.txt", title=TITLE, hint=HINT))
    }


PUBLISHED = Published(
    name="awa2",
    title=TITLE,
    telltales=("predicate-matrix-binary.txt", "predicate-matrix-continuous.txt"),
    tree=TREE,
    concepts="attributes of classes",
    terms="each photograph has a Creative Commons licence of its own, in the archive's folder of licences",
    contact="https://cvml.ista.ac.at/AwA2/",
    cite="Xian, Lampert, Schiele and Akata, Zero-shot learning, TPAMI 2019",
    options=Options,
    read=read,
)
