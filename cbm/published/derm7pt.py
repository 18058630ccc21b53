"""Derm7pt: 1,011 skin lesions, each as a dermoscopic and a clinical image, with the seven-point checklist.

`meta/meta.csv` has one line a case; `train_indexes.csv` and its like count its lines from 0. Rare values are grouped as
in the publishers' code (`Derm7PtDatasetGroupInfrequent`), unless `values=all`; each value is a concept of its own.

References
----------
Kawahara, Daneshvar, Argenziano & Hamarneh, "Seven-point checklist and skin lesion classification using multitask
multimodal neural nets", IEEE JBHI 2019; github.com/jeremykawahara/derm7pt.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cbm.config import option
from cbm.published import Published
from cbm.published.texts import Values, bad_line, bad_rows, needed, records, relative
from cbm.rows import Listing, Problem, Row, Source, clean_name

TITLE = "Derm7pt"
TREE = """release_v0/images/*/*.jpg
release_v0/meta/meta.csv, train_indexes.csv, valid_indexes.csv, test_indexes.csv"""
HINT = f"unpack the whole release; it looks like\n{TREE}"
LABELS = ("diagnosis group", "diagnosis", "melanoma")
VALUES = {
    "pigment_network": ("absent", "typical", "atypical"),
    "streaks": ("absent", "regular", "irregular"),
    "pigmentation": ("absent", "diffuse regular", "localized regular", "diffuse irregular", "localized irregular"),
    "regression_structures": ("absent", "blue areas", "white areas", "combinations"),
    "dots_and_globules": ("absent", "regular", "irregular"),
    "blue_whitish_veil": ("absent", "present"),
    "vascular_structures": (
        "absent", "arborizing", "comma", "hairpin", "within regression", "wreath", "dotted", "linear irregular",
    ),
}  # fmt: skip
GROUPED = {
    "pigmentation": {v: v.split()[-1] for v in VALUES["pigmentation"]},
    "regression_structures": dict.fromkeys(VALUES["regression_structures"][1:], "present"),
    "vascular_structures": {
        **dict.fromkeys(VALUES["vascular_structures"][1:6], "regular"),
        **dict.fromkeys(VALUES["vascular_structures"][6:], "irregular"),
    },
}
META = ("elevation", "location", "sex", "management", "level_of_diagnostic_difficulty", "seven_point_score")
RARE = {"dermatofibroma", "lentigo", "melanosis", "miscellaneous", "vascular lesion"}


@dataclass(frozen=True)
class Options:
    """Which images, which values and which label."""

    label: Literal["diagnosis group", "diagnosis", "melanoma"] = option(
        "diagnosis group", choices=LABELS, help="five groups of diagnoses, every diagnosis, or melanoma or not"
    )
    images: Literal["derm", "clinic", "both"] = option(
        "derm", choices=("derm", "clinic", "both"), help="dermoscopic images, clinical ones, or both, grouped by case"
    )
    values: Literal["grouped", "all"] = option(
        "grouped", choices=("grouped", "all"), help="rare values of a criterion together, or every published value"
    )


def read(top: Path, options: Options) -> Listing:
    """The rows of `release_v0`."""
    problems: list[Problem] = []
    meta = needed(top, "meta/meta.csv", title=TITLE, hint=HINT)
    images = needed(meta.parents[1], "images", title=TITLE, hint=HINT)
    columns = ("derm", "clinic") if options.images == "both" else (options.images,)
    cases = records(meta, problems, "diagnosis", *columns, *VALUES)
    splits = _splits(meta.parent, len(cases), problems)
    grouped = GROUPED if options.values == "grouped" else {}
    known = {name: tuple(dict.fromkeys(grouped.get(name, {}).get(v, v) for v in VALUES[name])) for name in VALUES}
    values, rows, prefix = Values(known), list[Row](), relative(images, top)
    for number, case in enumerate(cases):
        cells = {name: grouped.get(name, {}).get(case[name].lower(), case[name].lower()) for name in VALUES}
        for column in columns:
            row = Row(
                path=prefix + case[column],
                label=_label(case["diagnosis"].lower(), options.label),
                split=splits.get(number, ""),
                group=f"case {case.get('case_num') or number}" if len(columns) > 1 else "",
                extra=(column, *(case.get(name, "") for name in META)),
                where=case["where"],
            )
            rows.append(replace(row, concepts=values.read(cells, row, len(rows), problems)))
    bad_rows(rows, problems, "meta.csv")
    extras = ("meta:image", *(f"meta:{name}" for name in META))
    return Listing(top, tuple(rows), values.concepts, extras, tuple(problems), Source("derm7pt", labels=LABELS))


def _label(diagnosis: str, kind: str) -> str:
    """A diagnosis as the label that is asked for.

    Examples
    --------
    >>> _label("melanoma (in situ)", "diagnosis group"), _label("clark nevus", "melanoma")
    ('melanoma', 'not melanoma')
    """
    name = clean_name(diagnosis)
    if kind == "diagnosis" or not name:
        return name
    if name.startswith("melanoma"):
        return "melanoma"
    if kind == "melanoma":
        return "not melanoma"
    return "nevus" if name.endswith("nevus") else "miscellaneous" if name in RARE else name


def _splits(folder: Path, cases: int, problems: list[Problem]) -> dict[int, str]:
    """The split of each case by its place in `meta.csv`."""
    found: dict[int, str] = {}
    for name, split in (("train", "train"), ("valid", "val"), ("test", "test")):
        path = needed(folder, f"{name}_indexes.csv", title=TITLE, hint=HINT)
        for record in records(path, problems, "indexes"):
            text = record["indexes"]
            if text.isdecimal() and int(text) < cases:
                found[int(text)] = split
            else:
                problems.append(bad_line(path, record["where"], text, f"a number below {cases}"))
    return found


PUBLISHED = Published(
    name="derm7pt",
    title=TITLE,
    telltales=("meta/train_indexes.csv",),
    tree=TREE,
    concepts="values of the seven criteria",
    terms="for research; its publishers' page has the terms that were agreed to for the download",
    contact="https://derm.cs.sfu.ca",
    cite="Kawahara, Daneshvar, Argenziano and Hamarneh, Seven-point checklist and skin lesion classification, JBHI 2019",
    options=Options,
    read=read,
)
