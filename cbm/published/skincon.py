"""SkinCon: 48 clinical concepts that dermatologists annotated on images of Fitzpatrick 17k and of DDI.

`annotations_fitzpatrick17k.csv` and `annotations_ddi.csv` hold the concepts only. The images and what they show are
downloads of their own: `fitzpatrick17k.csv` or `ddi_metadata.csv` gives the label, images are found by their names.
Images that the annotators marked "Do not consider this image" are left out.

References
----------
Daneshjou, Yuksekgonul, Cai, Novoa & Zou, "SkinCon: a skin disease dataset densely annotated by domain experts for
fine-grained debugging and analysis", NeurIPS 2022 Datasets and Benchmarks.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cbm.config import option
from cbm.errors import DataError, unknown
from cbm.folders import find
from cbm.published import Published
from cbm.published.texts import UNKNOWN, bad_rows, needed, pictures, records
from cbm.rows import Listing, Problem, Row, Source, clean_name

TITLE = "SkinCon"
TREE = """annotations_fitzpatrick17k.csv and fitzpatrick17k.csv, or annotations_ddi.csv and ddi_metadata.csv
images/*.jpg or *.png"""
HINT = f"put the annotations, the list of the images and the images into one folder; it looks like\n{TREE}"
LEFT_OUT = "Do not consider this image"
VALUES = {"0": 0.0, "1": 1.0, "": UNKNOWN}
MALIGNANT = {"True": "malignant", "False": "benign", "1": "malignant", "0": "benign"}


@dataclass(frozen=True)
class Part:
    """One of the two collections: its list, the column with the image's name, its labels, and what else is kept."""

    listed: str
    image: str
    labels: tuple[str, ...]
    kept: str


PARTS = {
    "fitzpatrick17k": Part(
        "fitzpatrick17k.csv", "md5hash", ("three_partition_label", "nine_partition_label", "label"), "fitzpatrick_scale"
    ),
    "ddi": Part("ddi_metadata.csv", "DDI_file", ("malignant", "disease"), "skin_tone"),
}


@dataclass(frozen=True)
class Options:
    """Which of the two collections, and what is to be predicted."""

    images: Literal["auto", "fitzpatrick17k", "ddi"] = option(
        "auto", choices=("auto", "fitzpatrick17k", "ddi"), help="whose images; the first that is there by default"
    )
    label: str | None = option(
        None, help="three_partition_label (default), nine_partition_label or label; of ddi malignant (default) or disease"
    )  # fmt: skip


def read(top: Path, options: Options) -> Listing:
    """The rows of a folder with the annotations, the list of the images, and the images."""
    problems: list[Problem] = []
    name = options.images if options.images != "auto" else next(n for n in PARTS if find(top, f"annotations_{n}.csv"))
    part = PARTS[name]
    label = options.label or part.labels[0]
    if label not in part.labels:
        raise unknown("label", label, part.labels)
    annotated = records(needed(top, f"annotations_{name}.csv", title=TITLE, hint=HINT), problems, "ImageID")
    listed = records(needed(top, part.listed, title=TITLE, hint=HINT), problems, part.image, label)
    about = {Path(cells[part.image]).stem: cells for cells in listed}
    concepts = [column for column in annotated[0] if column not in _OTHERS] if annotated else []
    there = pictures(top)
    if not there:
        raise DataError(f"{TITLE}: there is no picture in {top.name!r}", hint=HINT)
    used = [cells for cells in annotated if cells.get(LEFT_OUT, "0") not in {"1", "1.0"}]
    rows = [_row(cells, about.get(Path(cells["ImageID"]).stem, {}), there, label, part, concepts) for cells in used]
    problems += _value_problems(used, concepts)
    if len(used) < len(annotated):
        detail = f"{len(annotated) - len(used)} images are marked {LEFT_OUT!r} and are left out"
        problems.append(Problem("left_out", f"annotations_{name}.csv", detail, "warning"))
    bad_rows(rows, problems, part.listed)
    source = Source("skincon", labels=part.labels, options={"images": name, "label": label})
    extras = (f"meta:{part.kept}",)
    return Listing(top, tuple(rows), tuple(map(clean_name, concepts)), extras, tuple(problems), source)


_OTHERS = {"", "Unnamed: 0", "ImageID", LEFT_OUT, "where"}


def _row(
    cells: dict[str, str], about: dict[str, str], there: dict[str, str], label: str, part: Part, concepts: list[str]
) -> Row:
    image = cells["ImageID"]
    told = about.get(label, "")
    return Row(
        path=there.get(image) or there.get(Path(image).stem) or image,
        label=clean_name(MALIGNANT.get(told, told) if label == "malignant" else told),
        concepts=tuple(VALUES.get(cells[name].removesuffix(".0"), UNKNOWN) for name in concepts),
        extra=(about.get(part.kept, ""),),
        where=cells["where"],
    )


def _value_problems(used: list[dict[str, str]], concepts: list[str]) -> list[Problem]:
    return [
        Problem("concept_value", cells["ImageID"], f"{cells['where']}: {name} is {cells[name][:40]!r}; it is taken as unknown",
                "warning", number)
        for number, cells in enumerate(used)
        for name in concepts
        if cells[name].removesuffix(".0") not in VALUES
    ]  # fmt: skip


PUBLISHED = Published(
    name="skincon",
    title=TITLE,
    telltales=tuple(f"annotations_{name}.csv" for name in PARTS),
    tree=TREE,
    concepts="clinical concepts",
    terms="the images have terms of their own: Fitzpatrick 17k CC BY-NC-SA 3.0, DDI Stanford's research agreement",
    contact="https://skincon-dataset.github.io",
    cite="Daneshjou et al., SkinCon, NeurIPS 2022 Datasets and Benchmarks",
    options=Options,
    read=read,
)
