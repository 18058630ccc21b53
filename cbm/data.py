"""Labelled images, with their splits and what people annotated on them, as one frozen value.

An `ImageDataset` holds paths and hashes, never pixels. It is read from any of the layouts, always by way of the
preflight report; `cbm.importing` copies one into a folder of ours.
"""

import csv
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import Bool, Float32, Int64, Shaped
from PIL import Image

from cbm.archives import is_archive
from cbm.errors import DataError, unknown
from cbm.images import open_image
from cbm.incoming import listed
from cbm.layouts import list_images
from cbm.preflight import Examined, Report, examine
from cbm.progress import OnProgress, part, silent
from cbm.rows import Listing
from cbm.splits import in_order
from cbm.whole_files import replacing

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images with a class and a split each.

    Attributes
    ----------
    ids
        A unique name of each image; its path in the source when none was given.
    labels
        Position in `classes`.
    splits
        `train`, `val`, `test` or any other name.
    concept_labels
        Between 0 and 1, NaN where unknown; `None` when nobody annotated concepts.
    groups
        What each image belongs to (a patient, a place, a subpopulation); empty text where unknown.
    masks
        Pictures of part numbers, `None` where an image has none.
    hashes
        SHA-256 of each file's bytes.
    meta
        Further columns as text, by their full name (`meta:camera`, `cw:striped wing`).
    """

    name: str
    ids: tuple[str, ...]
    paths: tuple[Path, ...]
    labels: Int64[np.ndarray, " n"]
    classes: tuple[str, ...]
    splits: Shaped[np.ndarray, " n"]
    concepts: tuple[str, ...] = ()
    concept_labels: Float32[np.ndarray, "n k"] | None = None
    groups: tuple[str, ...] | None = None
    masks: tuple[Path | None, ...] | None = None
    hashes: tuple[str, ...] = ()
    meta: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        columns = [self.paths, self.labels, self.splits, self.hashes, *self.meta.values()]
        columns += [column for column in (self.concept_labels, self.groups, self.masks) if column is not None]
        if {len(column) for column in columns} != {len(self.ids)}:
            raise DataError(f"the columns of {self.name!r} are not all as long as its {len(self.ids)} ids")
        if len(set(self.ids)) < len(self.ids):
            raise DataError(f"the ids of {self.name!r} are not unique")
        named = 0 if self.concept_labels is None else self.concept_labels.shape[1]
        if named != len(self.concepts):
            raise DataError(f"{self.name!r} has {len(self.concepts)} concepts, but labels of {named}")

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def read(
        cls,
        path: Path | str,
        layout: str = "auto",
        *,
        name: str | None = None,
        skip_bad: bool = False,
        seed: int = 0,
        options: Mapping[str, object] | None = None,
        on_progress: OnProgress = silent,
    ) -> "ImageDataset":
        """The data set of a folder or manifest in any layout; `read_dataset` returns the report as well."""
        return read_dataset(
            path, name=name, layout=layout, skip_bad=skip_bad, seed=seed, options=options, on_progress=on_progress
        )[0]

    @classmethod
    def from_folder(
        cls, path: Path | str, *, name: str | None = None, skip_bad: bool = False, seed: int = 0
    ) -> "ImageDataset":
        """The data set of `class/image` or `split/class/image`."""
        return read_dataset(path, name=name, layout="folder", skip_bad=skip_bad, seed=seed)[0]

    @classmethod
    def from_manifest(
        cls,
        path: Path | str,
        *,
        name: str | None = None,
        root: Path | str | None = None,
        classes: Sequence[str] | None = None,
        skip_bad: bool = False,
        seed: int = 0,
        trust: bool = False,
    ) -> "ImageDataset":
        """The data set of a CSV, Parquet or JSON-lines manifest; see `read_dataset` for the options."""
        return read_dataset(
            path,
            name=name,
            layout="manifest",
            root=root,
            classes=classes,
            skip_bad=skip_bad,
            seed=seed,
            trust=trust,
        )[0]

    @classmethod
    def from_hf(
        cls, path: Path | str, *, name: str | None = None, skip_bad: bool = False, seed: int = 0
    ) -> "ImageDataset":
        """The data set of a Hugging Face image folder with `metadata.csv`, `.parquet` or `.jsonl`."""
        return read_dataset(path, name=name, layout="hf", skip_bad=skip_bad, seed=seed)[0]

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the contents, classes, splits and annotations: equal for a copy elsewhere, whatever its name."""
        digest = hashlib.sha256()
        for values in (self.ids, self.hashes, self.classes, self.splits.tolist(), self.concepts, self.groups or ()):
            digest.update(repr(tuple(values)).encode("utf-8", "surrogatepass"))
        digest.update(self.labels.tobytes())
        if self.concept_labels is not None:
            digest.update(np.where(np.isnan(self.concept_labels), np.float32(-1), self.concept_labels).tobytes())
        return digest.hexdigest()

    @property
    def split_names(self) -> tuple[str, ...]:
        """The splits that have images: train, val, test, and then the others by name."""
        return in_order(set(self.splits.tolist()))

    def image(self, index: int) -> Image.Image:
        """One picture, upright and in RGB."""
        return open_image(self.paths[index])

    def split(self, name: str) -> "ImageDataset":
        """The images of one split.

        Raises
        ------
        UnknownName
            If no image is in it.
        """
        if name not in self.split_names:
            raise unknown("split", name, self.split_names)
        return self.where(self.splits == name)

    def where(self, mask: Bool[np.ndarray, " n"]) -> "ImageDataset":
        """The images at which the mask is true; classes and concepts stay as they are."""
        at = np.flatnonzero(mask)
        pick = _picker(at)
        return replace(
            self,
            ids=pick(self.ids),
            paths=pick(self.paths),
            labels=self.labels[at],
            splits=self.splits[at],
            concept_labels=None if self.concept_labels is None else self.concept_labels[at],
            groups=None if self.groups is None else pick(self.groups),
            masks=None if self.masks is None else pick(self.masks),
            hashes=pick(self.hashes),
            meta={column: pick(values) for column, values in self.meta.items()},
        )

    def to_manifest(self, path: Path | str) -> Path:
        """Write the CSV manifest that `from_manifest` reads back to the same data set.

        Paths are relative to the manifest when all images lie below its folder, and absolute otherwise (give
        `from_manifest` a `root` that holds them). Classes without an image are only known again when they are given
        as `classes`.
        """
        target = Path(path)
        base = target.resolve().parent
        files = [file.resolve() for file in (*self.paths, *(self.masks or ())) if file is not None]
        relative = all(file.is_relative_to(base) for file in files)
        with replacing(target) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows(_lines(self, base if relative else None))
        return target


class PreflightFailed(DataError):
    """An import was refused; `report` has every problem."""

    def __init__(self, message: str, hint: str, report: Report) -> None:
        super().__init__(message, hint)
        self.report = report

    def __reduce__(self) -> tuple[type, tuple[str, str, Report]]:  # type: ignore[override]
        return type(self), (self.message, self.hint, self.report)


def preflight(
    path: Path | str,
    layout: str = "auto",
    *,
    root: Path | str | None = None,
    classes: Sequence[str] | None = None,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    salt: bytes | None = None,
    on_progress: OnProgress = silent,
) -> Report:
    """What an import would find, of a folder, a manifest or an archive of either; nothing is stored.

    Raises
    ------
    DataError
        If the path cannot be read at all; everything else is a problem in the report.
    """
    below, ready = None if root is None else Path(root), part(on_progress, 0.0, 0.4)
    with listed(Path(path), layout, root=below, options=options, salt=salt, on_progress=ready) as listing:
        return examine(listing, classes=classes, seed=seed, on_progress=part(on_progress, 0.4, 1.0)).report


def read_dataset(
    path: Path | str,
    *,
    name: str | None = None,
    layout: str = "auto",
    root: Path | str | None = None,
    classes: Sequence[str] | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    trust: bool = False,
    options: Mapping[str, object] | None = None,
    on_progress: OnProgress = silent,
) -> tuple[ImageDataset, Report]:
    """The data set of a folder or manifest where it lies, and the preflight report.

    Without splits, images are divided 70/15/15 into train, val and test: stratified by class, groups and identical
    files kept together, the same for the same `seed`.

    Parameters
    ----------
    name
        That of the folder or file by default.
    layout
        One of `cbm.layouts.LAYOUTS`.
    root
        The folder that a manifest's paths are relative to and may not leave; the manifest's own by default.
    classes
        The only classes allowed, in their order; any by default.
    skip_bad
        Leave out rows with errors, which the report lists, instead of refusing.
    trust
        Believe a manifest's `sha256` column and do not open the pictures; for manifests that we wrote ourselves.
    options
        How a published data set is read; see `cbm.published`.

    Raises
    ------
    PreflightFailed
        If the report has errors, other than those of rows that `skip_bad` leaves out.
    DataError
        If the path cannot be read at all.
    """
    place = Path(path)
    if is_archive(place):
        raise DataError(
            f"{place.name!r} is an archive", hint="import it into a folder with cbm.importing.import_dataset"
        )
    listing = list_images(place, layout, root=None if root is None else Path(root), options=options)
    chosen = name or default_name(place)
    return dataset_of(
        listing, chosen, classes=classes, skip_bad=skip_bad, seed=seed, trust=trust, on_progress=on_progress
    )


def dataset_of(
    listing: Listing,
    name: str,
    *,
    classes: Sequence[str] | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    trust: bool = False,
    on_progress: OnProgress = silent,
) -> tuple[ImageDataset, Report]:
    """The data set of rows that are listed already, and the preflight report; see `read_dataset`."""
    examined = examine(listing, classes=classes, seed=seed, trust=trust, on_progress=on_progress)
    _refuse_errors(examined.report, skip_bad)
    return _dataset(examined, name), examined.report


def default_name(path: Path) -> str:
    """The name of a data set when none is given: that of its folder or file.

    Examples
    --------
    >>> default_name(Path("photos/birds.zip")), default_name(Path("photos/manifest.csv"))
    ('birds', 'photos')
    """
    real = path.resolve()
    if real.is_dir():
        return real.name
    stem = real.name.removesuffix(real.suffix).removesuffix(".tar")
    return real.parent.name if stem in {"manifest", "metadata"} else stem


def _refuse_errors(report: Report, skip_bad: bool) -> None:
    errors = [problem for problem in report.errors if problem.row is None or not skip_bad]
    if not errors:
        return
    told = "; ".join(
        f"{problem.path}: {problem.detail}" if problem.row is not None else problem.detail for problem in errors[:3]
    )
    more = f" (and {len(errors) - 3} more)" if len(errors) > 3 else ""
    rows = all(problem.row is not None for problem in errors)
    hint = "correct these rows, or leave them out with skip_bad" if rows else "see the preflight report"
    raise PreflightFailed(f"nothing was imported: {told}{more}", hint, report)


def _dataset(examined: Examined, name: str) -> ImageDataset:
    rows, files, concepts = examined.rows, examined.files, examined.report.concepts
    classes = examined.report.classes
    position = {label: number for number, label in enumerate(classes)}
    return ImageDataset(
        name=name,
        ids=tuple(row.name for row in rows),
        paths=tuple(file.path for file in files),
        labels=np.array([position[row.label] for row in rows], dtype=np.int64),
        classes=classes,
        splits=np.array(examined.splits, dtype=np.str_),
        concepts=concepts,
        concept_labels=examined.values if concepts else None,
        groups=tuple(row.group for row in rows) if any(row.group for row in rows) else None,
        masks=tuple(file.mask for file in files) if any(file.mask for file in files) else None,
        hashes=tuple(file.digest for file in files),
        meta={column: tuple(row.extra[at] for row in rows) for at, column in enumerate(examined.extras)},
    )


def _picker(at: np.ndarray) -> Callable[[tuple[T, ...]], tuple[T, ...]]:
    indices = at.tolist()
    return lambda values: tuple(values[index] for index in indices)


def _lines(dataset: ImageDataset, base: Path | None) -> Iterator[list[str]]:
    """The header and one line an image; a float has the nine digits that bring the same float32 back."""
    groups = {"group": dataset.groups} if dataset.groups else {}
    masks = {"mask_path": [_written(mask, base) for mask in dataset.masks]} if dataset.masks else {}
    columns: dict[str, Sequence[str]] = {
        "id": dataset.ids,
        "path": [_written(path, base) for path in dataset.paths],
        "label": [dataset.classes[label] for label in dataset.labels],
        "split": dataset.splits.tolist(),
        **groups,
        **masks,
        "sha256": dataset.hashes,
        **dataset.meta,
    }
    yield [*columns, *(f"c:{concept}" for concept in dataset.concepts)]
    for number, cells in enumerate(zip(*columns.values(), strict=True)):
        values = () if dataset.concept_labels is None else dataset.concept_labels[number].tolist()
        yield [*cells, *("" if value != value else f"{value:.9g}" for value in values)]


def _written(path: Path | None, base: Path | None) -> str:
    if path is None:
        return ""
    return path.resolve().relative_to(base).as_posix() if base else str(path.resolve())
