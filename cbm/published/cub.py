"""Caltech-UCSD Birds 200-2011: 200 species, and what crowd workers saw of 312 attributes on each photograph.

The layout is that of its README. `attributes.txt` lies beside the folder in the published archive, in some copies
inside it. There is no validation split; methods hold out training images by themselves.

References
----------
Wah, Branson, Welinder, Perona & Belongie, "The Caltech-UCSD Birds-200-2011 Dataset", CNS-TR-2011-001.
Koh et al., "Concept Bottleneck Models", ICML 2020.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from cbm.config import option
from cbm.published import Published
from cbm.published.cub_attributes import Attributes, attribute_name, by_image, majorities, published_shares, seen
from cbm.published.cub_parts import part_columns, part_places
from cbm.published.texts import bad_rows, class_name, needed, numbered, relative
from cbm.rows import Listing, Problem, Row

TITLE = "CUB-200-2011"
TREE = """CUB_200_2011/images/001.Black_footed_Albatross/*.jpg
CUB_200_2011/images.txt, classes.txt, image_class_labels.txt, train_test_split.txt
CUB_200_2011/attributes/image_attribute_labels.txt
attributes.txt"""
HINT = f"unpack the whole archive; it looks like\n{TREE}"
SPLITS = {"1": "train", "0": "test", "": ""}


@dataclass(frozen=True)
class Options:
    """How attributes are read."""

    attributes: Literal["image", "class", "percent"] = option(
        "image", choices=("image", "class", "percent"),
        help="what each image's annotator saw; the majority of its class, as papers have it; or the published share a class",
    )  # fmt: skip
    min_classes: int = option(
        0, help="keep attributes that most see in at least so many classes; papers: 10", low=0, high=200
    )
    certainties: bool = option(True, help="keep how certain annotators were, 1 (not visible) to 4 (definitely)")


def read(top: Path, options: Options) -> Listing:
    """The rows of the folder that holds `CUB_200_2011`, or of that folder itself."""
    problems: list[Problem] = []
    base = needed(top, "image_class_labels.txt", title=TITLE, hint=HINT).parent
    for part in ("images", "images.txt", "classes.txt"):
        needed(base, part, title=TITLE, hint=HINT)
    names = numbered(base / "images.txt", problems)
    labels = _labels(base, names, problems)
    splits = _splits(base, names, problems)
    found = _attributes(top, base, names, labels, splits, options, problems)
    places = part_places(base, list(names), problems)
    prefix = relative(base, top)
    rows = tuple(
        Row(
            path=f"{prefix}images/{name}",
            label=label,
            split=split,
            concepts=tuple(values),
            extra=(*certainties, *place),
            where=f"images.txt, image {image}",
        )
        for (image, name), label, split, values, certainties, place in zip(
            names.items(), labels, splits, found.values.tolist(), found.certainty_texts(), places, strict=True
        )
    )
    bad_rows(rows, problems, "image_class_labels.txt and classes.txt")
    certainties = tuple(f"cw:{name}" for name in found.names) if found.certainty is not None else ()
    return Listing(top, rows, found.names, (*certainties, *part_columns(base)), tuple(problems))


def _labels(base: Path, names: dict[int, str], problems: list[Problem]) -> list[str]:
    classes = numbered(base / "classes.txt", problems)
    of_image = numbered(base / "image_class_labels.txt", problems)
    called = {str(number): class_name(name) for number, name in classes.items()}
    return [called.get(of_image.get(image, ""), "") for image in names]


def _splits(base: Path, names: dict[int, str], problems: list[Problem]) -> list[str]:
    file = base / "train_test_split.txt"
    told = numbered(file, problems) if file.is_file() else {}
    return [SPLITS.get(told.get(image, ""), "") for image in names]


def _attributes(
    top: Path,
    base: Path,
    names: dict[int, str],
    labels: list[str],
    splits: list[str],
    options: Options,
    problems: list[Problem],
) -> Attributes:
    """The attributes that the options ask for; none, and a warning, where the files are not there."""
    places = (base / "attributes", base, base.parent, top)
    listed = next((place / "attributes.txt" for place in places if (place / "attributes.txt").is_file()), None)
    told = base / "attributes" / "image_attribute_labels.txt"
    if listed is None or not told.is_file():
        missing = "attributes.txt" if listed is None else "attributes/image_attribute_labels.txt"
        detail = f"there is no {missing}, so no image has concepts; unpack the whole archive"
        problems.append(Problem("missing_part", missing, detail, "warning"))
        return Attributes((), np.zeros((len(names), 0), np.float32))
    attributes = numbered(listed, problems)
    annotated = seen(told, list(names), list(attributes), problems)
    majority = majorities(annotated, labels, [split != "test" for split in splits])
    kept = np.flatnonzero(np.nansum(list(majority.values()), axis=0) >= options.min_classes)
    concepts = tuple(attribute_name(name) for at, name in enumerate(attributes.values()) if at in set(kept.tolist()))
    if options.attributes == "image":
        certainty = annotated.certainty[:, kept] if options.certainties else None
        return Attributes(concepts, by_image(annotated)[:, kept], certainty)
    of_class = majority if options.attributes == "class" else published_shares(base, len(attributes))
    unknown = np.full(len(attributes), np.nan, np.float32)
    return Attributes(concepts, np.array([of_class.get(label, unknown) for label in labels])[:, kept])


PUBLISHED = Published(
    name="cub",
    title=TITLE,
    telltales=("image_class_labels.txt",),
    tree=TREE,
    concepts="attributes",
    terms="for non-commercial research and education; the photographs belong to those who took them",
    contact="https://www.vision.caltech.edu/datasets/cub_200_2011/",
    cite="Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001, 2011",
    options=Options,
    read=read,
)
