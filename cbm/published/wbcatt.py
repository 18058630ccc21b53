"""WBCAtt: eleven attributes of 10,298 white blood cells, annotated by pathologists on images of the PBC data set.

Three lists, `pbc_attr_v1_train.csv`, `_val.csv` and `_test.csv`; the images are a download of their own and are found by
their names wherever they lie. A granule that is not there has `nil` as its type and colour.

References
----------
Tsutsui, Pang & Wen, "WBCAtt: a white blood cell dataset annotated with detailed morphological attributes",
NeurIPS 2023 Datasets and Benchmarks. Acevedo et al., "A dataset of microscopic peripheral blood cell images",
Data in Brief 2020 (PBC).
"""

from dataclasses import dataclass, replace
from pathlib import Path

from cbm.config import option
from cbm.errors import unknown
from cbm.folders import find
from cbm.published import Published
from cbm.published.texts import Values, bad_rows, needed, pictures, plain, records
from cbm.rows import Listing, Problem, Row, Source, clean_name

TITLE = "WBCAtt"
TREE = """pbc_attr_v1_train.csv, pbc_attr_v1_val.csv, pbc_attr_v1_test.csv
PBC_dataset_normal_DIB/neutrophil/*.jpg"""
HINT = f"put the three lists and the images of PBC into one folder; it looks like\n{TREE}"
ATTRIBUTES = {
    "cell_size": ("big", "small"),
    "cell_shape": ("round", "irregular"),
    "nucleus_shape": (
        "unsegmented-round", "unsegmented-indented", "unsegmented-band", "segmented-bilobed", "segmented-multilobed", "irregular",
    ),
    "nuclear_cytoplasmic_ratio": ("low", "high"),
    "chromatin_density": ("loosely", "densely"),
    "cytoplasm_vacuole": ("no", "yes"),
    "cytoplasm_texture": ("clear", "frosted"),
    "cytoplasm_colour": ("light blue", "blue", "purple blue"),
    "granule_type": ("nil", "small", "round", "coarse"),
    "granule_colour": ("nil", "pink", "red", "purple"),
    "granularity": ("no", "yes"),
}  # fmt: skip
CELL = "cell type"
LABELS = (CELL, *map(plain, ATTRIBUTES))


@dataclass(frozen=True)
class Options:
    """What is to be predicted."""

    label: str = option(CELL, help="the cell type, or one of the attributes, which then is no concept")


def read(top: Path, options: Options) -> Listing:
    """The rows of a folder with the three lists and the images."""
    if options.label not in LABELS:
        raise unknown("label", options.label, LABELS)
    problems: list[Problem] = []
    values = Values({name: known for name, known in ATTRIBUTES.items() if plain(name) != options.label})
    column = next((name for name in ATTRIBUTES if plain(name) == options.label), "label")
    there, rows = pictures(top), list[Row]()
    for split in ("train", "val", "test"):
        place = find(top, f"pbc_attr_v1_{split}.csv")
        if place is None:
            problems.append(Problem("missing_part", f"pbc_attr_v1_{split}.csv", f"there is no {split} list", "warning"))
            continue
        for cells in records(place, problems, "img_name", "label", *ATTRIBUTES):
            row = Row(
                path=there.get(cells["img_name"], cells.get("path") or cells["img_name"]),
                label=clean_name(cells[column]),
                split=split,
                where=cells["where"],
            )
            rows.append(replace(row, concepts=values.read(cells, row, len(rows), problems)))
    if not there:
        needed(top, "PBC_dataset_normal_DIB", title=TITLE, hint=HINT)
    bad_rows(rows, problems, "the lists")
    return Listing(top, tuple(rows), values.concepts, (), tuple(problems), Source("wbcatt", labels=LABELS))


PUBLISHED = Published(
    name="wbcatt",
    title=TITLE,
    telltales=tuple(f"pbc_attr_v1_{split}.csv" for split in ("train", "val", "test")),
    tree=TREE,
    concepts="values of eleven attributes",
    terms="annotations on their publishers' terms; the images are those of PBC, CC BY 4.0",
    contact="https://github.com/apple2373/wbcatt",
    cite="Tsutsui, Pang and Wen, WBCAtt, NeurIPS 2023 Datasets and Benchmarks",
    options=Options,
    read=read,
)
