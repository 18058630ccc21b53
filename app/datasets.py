"""Data sets of a workspace, and their images as rows that can be searched by the page."""

import hashlib
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import ColumnElement, delete, func, insert, or_, select

from app import manifest
from app.db import reading, writing
from app.tables import Dataset, Embedding, Image
from app.workspace import Workspace, check_name
from cbm.errors import StoreError, UsageError, unknown
from cbm.progress import OnProgress, silent

if TYPE_CHECKING:
    from cbm.data import ImageDataset

ROWS_AT_ONCE = 5000
MAX_PER_PAGE = 500


@dataclass(frozen=True)
class DatasetRow:
    """A data set as lists show it; `splits` is images by split, `encoders` those it is embedded with."""

    name: str
    fingerprint: str
    size: int
    classes: tuple[str, ...]
    concepts: tuple[str, ...]
    splits: Mapping[str, int]
    report: Mapping[str, Any]
    encoders: tuple[str, ...]
    created: float


@dataclass(frozen=True)
class ImageRow:
    """An image as galleries show it; `concepts` are those annotated as present."""

    id: str
    position: int
    path: Path
    class_: str
    split: str
    group: str | None
    hash: str
    concepts: tuple[str, ...]


def add_dataset(ws: Workspace, dataset: "ImageDataset", report: Mapping[str, Any]) -> DatasetRow:
    """Store a data set under its name; adding the same one again changes nothing.

    Parameters
    ----------
    report
        The preflight report as JSON, `Report.to_json()`.

    Raises
    ------
    StoreError
        If another data set has that name already.
    """
    _refuse_another(ws, dataset)
    content = manifest.save(dataset, ws.folder("manifests"), ws.settings.home)
    with writing(ws.engine) as session:
        there = session.scalars(select(Dataset).where(Dataset.name == dataset.name)).one_or_none()
        if there is not None and there.manifest != content:
            raise _taken(dataset.name)
        if there is None:
            row = Dataset(
                name=dataset.name,
                fingerprint=dataset.fingerprint,
                manifest=content,
                size=len(dataset),
                classes=list(dataset.classes),
                concepts=list(dataset.concepts),
                splits={name: int((dataset.splits == name).sum()) for name in dataset.split_names},
                report=dict(report),
            )
            session.add(row)
            session.flush()
            rows = _image_rows(dataset, row.id, ws.settings.home)
            while part := [values for _, values in zip(range(ROWS_AT_ONCE), rows, strict=False)]:
                session.execute(insert(Image), part)
    return dataset_row(ws, dataset.name)


def copy_images(ws: Workspace, dataset: "ImageDataset", on_progress: OnProgress = silent) -> "ImageDataset":
    """The same data set with its pictures and masks copied into the workspace, once for equal content.

    Raises
    ------
    StoreError
        If another data set has that name already; then nothing is copied.
    """
    from cbm.data import read_dataset
    from cbm.importing import copy_into

    _refuse_another(ws, dataset)
    folder = ws.folder("datasets") / _content(dataset)
    if not folder.exists():
        return copy_into(dataset, folder, on_progress=on_progress)
    stored, _ = read_dataset(folder / "manifest.csv", name=dataset.name, classes=dataset.classes, trust=True)
    return replace(dataset, paths=stored.paths, masks=stored.masks)


def datasets(ws: Workspace) -> list[DatasetRow]:
    """All data sets by name."""
    with reading(ws.engine) as session:
        encoders: dict[int, list[str]] = {}
        for row in session.scalars(select(Embedding).order_by(Embedding.id)):
            encoders.setdefault(row.dataset_id, []).append(row.encoder)
        rows = session.scalars(select(Dataset).order_by(Dataset.name))
        return [_dataset_row(row, encoders.get(row.id, [])) for row in rows]


def dataset_row(ws: Workspace, name: str) -> DatasetRow:
    """One data set as lists show it; `UnknownName` if there is none of that name."""
    row = find(ws, name)
    with reading(ws.engine) as session:
        query = select(Embedding.encoder).where(Embedding.dataset_id == row.id).order_by(Embedding.id)
        return _dataset_row(row, session.scalars(query))


def dataset(ws: Workspace, name: str) -> "ImageDataset":
    """The data set of this name.

    Raises
    ------
    UnknownName
        If there is none.
    """
    return manifest.load(ws.folder("manifests") / find(ws, name).manifest, ws.settings.home)


def delete_dataset(ws: Workspace, name: str) -> None:
    """Forget a data set and remove its copied pictures; models and banks that were made with it stay."""
    row = find(ws, name)
    stored = dataset(ws, name)
    with writing(ws.engine) as session:
        session.execute(delete(Dataset).where(Dataset.id == row.id))
        shared = session.scalar(select(func.count()).where(Dataset.manifest == row.manifest))
        copies = session.scalar(select(func.count()).where(Dataset.fingerprint == row.fingerprint))
    if not shared:
        shutil.rmtree(ws.folder("manifests") / row.manifest)
    if not copies:
        for folder in {path.parents[2] for path in stored.paths if path.is_relative_to(ws.folder("datasets"))}:
            shutil.rmtree(folder)


def query_images(
    ws: Workspace,
    dataset: str,
    *,
    class_: str | None = None,
    split: str | None = None,
    concept: str | None = None,
    present: bool = True,
    text: str | None = None,
    page: int = 1,
    per_page: int = 24,
) -> tuple[list[ImageRow], int]:
    """One page of the images that fit every filter, in the order of the data set, and how many fit in all.

    Parameters
    ----------
    concept, present
        Images on which the concept is annotated as present, or as absent.
    text
        Part of an image's id or group, in any case.
    page
        Counts from 1; a page after the last one is empty.

    Raises
    ------
    UnknownName
        If there is no such data set, class, split or concept.
    """
    if page < 1 or not 1 <= per_page <= MAX_PER_PAGE:
        raise UsageError(f"page {page} of {per_page} images", hint=f"pages count from 1 and hold up to {MAX_PER_PAGE}")
    found = find(ws, dataset)
    fits: list[ColumnElement[bool]] = [Image.dataset_id == found.id]
    if class_ is not None:
        fits.append(Image.label == _position("class", class_, found.classes))
    if split is not None:
        _position("split", split, list(found.splits))
        fits.append(Image.split == split)
    if concept is not None:
        place = _position("concept", concept, found.concepts)
        fits.append(func.substr(Image.concepts, place + 1, 1) == ("1" if present else "0"))
    if text:
        fits.append(or_(Image.key.icontains(text, autoescape=True), Image.group.icontains(text, autoescape=True)))
    query = select(Image).where(*fits).order_by(Image.position).limit(per_page).offset((page - 1) * per_page)
    with reading(ws.engine) as session:
        total = session.scalar(select(func.count()).select_from(Image).where(*fits))
        return [_image_row(row, found, ws.settings.home) for row in session.scalars(query)], total or 0


def images_by_id(ws: Workspace, dataset: str, ids: Sequence[str]) -> list[ImageRow]:
    """These images, in this order; `UnknownName` for an id that the data set does not have."""
    found = find(ws, dataset)
    with reading(ws.engine) as session:
        rows = session.scalars(select(Image).where(Image.dataset_id == found.id, Image.key.in_(ids)))
        by_id = {row.key: _image_row(row, found, ws.settings.home) for row in rows}
        for id in ids:
            if id not in by_id:
                near = select(Image.key).where(Image.dataset_id == found.id).order_by(Image.position).limit(1000)
                raise unknown("image", id, session.scalars(near))
    return [by_id[id] for id in ids]


def find(ws: Workspace, name: str) -> Dataset:
    """The table's row of a data set, for the modules beside this one."""
    with reading(ws.engine) as session:
        row = session.scalars(select(Dataset).where(Dataset.name == name)).one_or_none()
        if row is None:
            raise unknown("data set", name, session.scalars(select(Dataset.name).order_by(Dataset.name)))
        return row


def _refuse_another(ws: Workspace, dataset: "ImageDataset") -> None:
    """Before files are written, so that a refusal leaves nothing behind."""
    check_name(dataset.name)
    with reading(ws.engine) as session:
        there = session.scalar(select(Dataset.fingerprint).where(Dataset.name == dataset.name))
    if there not in (None, dataset.fingerprint):
        raise _taken(dataset.name)


def _taken(name: str) -> StoreError:
    return StoreError(f"there is another data set named {name!r}", hint="choose another name, or delete that one first")


def _position(what: str, name: str, choices: Sequence[str]) -> int:
    if name not in choices:
        raise unknown(what, name, choices)
    return choices.index(name)


def _content(dataset: "ImageDataset") -> str:
    """A name for the copied files: labels, pictures and, unlike the fingerprint, masks."""
    digest = hashlib.sha256(dataset.fingerprint.encode())
    for path in dataset.masks or ():
        digest.update(hashlib.sha256(path.read_bytes()).digest() if path else b"-")
    return digest.hexdigest()


def _image_rows(dataset: "ImageDataset", id: int, home: Path) -> Iterator[dict[str, Any]]:
    groups = dataset.groups or (None,) * len(dataset)
    concepts = _as_letters(dataset.concept_labels) if dataset.concept_labels is not None else [""] * len(dataset)
    for position, key in enumerate(dataset.ids):
        yield {
            "dataset_id": id,
            "position": position,
            "key": key,
            "path": manifest.stored_path(dataset.paths[position], home),
            "label": int(dataset.labels[position]),
            "split": str(dataset.splits[position]),
            "group": groups[position],
            "hash": dataset.hashes[position],
            "concepts": concepts[position],
        }


def _as_letters(labels: np.ndarray) -> list[str]:
    """One text an image, one letter a concept: 1, 0 or ? (unknown)."""
    letters = np.where(np.isnan(labels), ord("?"), np.where(labels >= 0.5, ord("1"), ord("0"))).astype(np.uint8)
    return [row.tobytes().decode("ascii") for row in letters]


def _dataset_row(row: Dataset, encoders: Iterable[str]) -> DatasetRow:
    classes, concepts = tuple(row.classes), tuple(row.concepts)
    return DatasetRow(
        row.name, row.fingerprint, row.size, classes, concepts, row.splits, row.report, tuple(encoders), row.created
    )


def _image_row(row: Image, dataset: Dataset, home: Path) -> ImageRow:
    present = tuple(name for name, known in zip(dataset.concepts, row.concepts, strict=False) if known == "1")
    path, class_ = home / row.path, dataset.classes[row.label]
    return ImageRow(row.key, row.position, path, class_, row.split, row.group, row.hash, present)
