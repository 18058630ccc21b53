"""Taking a data set in: its files are copied into a folder of ours, completely or not at all.

Files are named by their content and never by what their source called them, so names from outside never become paths.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cbm.concept_parts import parts_file
from cbm.data import ImageDataset, dataset_of, default_name
from cbm.errors import DataError
from cbm.filechecks import BATCH, MAX_THREADS
from cbm.images import SUFFIXES
from cbm.incoming import listed
from cbm.preflight import Report
from cbm.progress import OnProgress, part, silent


def import_dataset(
    path: Path | str,
    folder: Path | str,
    *,
    name: str | None = None,
    layout: str = "auto",
    classes: Sequence[str] | None = None,
    skip_bad: bool = False,
    seed: int = 0,
    options: Mapping[str, object] | None = None,
    salt: bytes | None = None,
    on_progress: OnProgress = silent,
) -> tuple[ImageDataset, Report]:
    """Read a folder, a manifest or an archive of either, and copy what is used into a new folder.

    Either the whole data set is in `folder` afterwards, with a `manifest.csv`, or the folder does not exist.

    Raises
    ------
    DataError
        As `read_dataset`, `cbm.archives.unpack` and `copy_into`.
    """
    place, target = Path(path), Path(folder).absolute()
    target.parent.mkdir(parents=True, exist_ok=True)
    chosen = name or default_name(place)
    ready = part(on_progress, 0.0, 0.3)
    with listed(place, layout, options=options, salt=salt, within=target.parent, on_progress=ready) as listing:
        dataset, report = dataset_of(
            listing, chosen, classes=classes, skip_bad=skip_bad, seed=seed, on_progress=part(on_progress, 0.3, 0.7)
        )
        return copy_into(dataset, target, on_progress=part(on_progress, 0.7, 1.0)), report


def copy_into(dataset: ImageDataset, folder: Path | str, *, on_progress: OnProgress = silent) -> ImageDataset:
    """The same data set with its files copied into a new folder, all of them or none.

    Images become `images/3f/3fa9...jpg` by the hash of their content, so identical files are kept once. They are
    written beside the folder, flushed to disk, and renamed into place together with a `manifest.csv`.

    Raises
    ------
    DataError
        If the folder exists already, or a file is no longer the one that was read.
    """
    target = Path(folder).absolute()
    digests = dict(zip(dataset.paths, dataset.hashes, strict=True))
    masks = dict.fromkeys(mask for mask in dataset.masks or () if mask is not None)
    places = {file: f"images/{digest[:2]}/{digest}{_suffix(file)}" for file, digest in digests.items()}
    places |= {mask: f"masks/{number:07d}{_suffix(mask)}" for number, mask in enumerate(masks)}
    beside = parts_file(dataset)
    with _all_or_nothing(target) as partial:
        jobs = {partial / place: (file, digests.get(file, "")) for file, place in places.items()}
        jobs |= {} if beside is None else {partial / "parts.json": (beside, "")}
        _copy_all(jobs, on_progress)
        _moved(dataset, places, partial).to_manifest(partial / "manifest.csv")
    return _moved(dataset, places, target)


def _moved(dataset: ImageDataset, places: dict[Path, str], folder: Path) -> ImageDataset:
    masks = dataset.masks
    return replace(
        dataset,
        paths=tuple(folder / places[path] for path in dataset.paths),
        masks=None if masks is None else tuple(mask and folder / places[mask] for mask in masks),
    )


def _suffix(file: Path) -> str:
    suffix = file.suffix.lower()
    return suffix if suffix in SUFFIXES else ".image"


def _copy_all(jobs: dict[Path, tuple[Path, str]], on_progress: OnProgress) -> None:
    """Copy to each target from its source; the threads spend their time waiting for the disk."""
    items = list(jobs.items())
    for folder in {target.parent for target in jobs}:
        folder.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(MAX_THREADS) as pool:
        for start in range(0, len(items), BATCH):
            batch = items[start : start + BATCH]
            for _ in pool.map(lambda item: _copy(item[0], *item[1]), batch):
                pass
            done = start + len(batch)
            on_progress(done / len(items), f"copied {done} of {len(items)} files")


def _copy(target: Path, source: Path, digest: str) -> None:
    content = source.read_bytes()
    if digest and hashlib.sha256(content).hexdigest() != digest:
        raise DataError(f"{source.name!r} was changed while it was imported", hint="import it again")
    with target.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _all_or_nothing(target: Path) -> Iterator[Path]:
    """A folder beside the target that takes its name when the block ends well, and is removed when it does not."""
    if target.exists():
        raise DataError(f"the folder {target.name!r} exists already", hint="choose another name, or remove it first")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}-", suffix=".partial", dir=target.parent))
    try:
        yield partial
        partial.chmod(0o755)
        os.rename(partial, target)
        _flush_folder(target.parent)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def _flush_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
