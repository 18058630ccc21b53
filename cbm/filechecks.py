"""Opening every listed file once: is it inside the folder, is it a picture, what is its content's hash.

Each file is read into memory once, hashed, and decoded to its end by a few threads (the decoders release the
interpreter lock). What is found is a value a row; nothing is raised for a bad file.
"""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from cbm.images import MAX_FILE_BYTES, SUFFIXES, ImageFacts, UnreadableImage, inspect_image, open_mask
from cbm.progress import OnProgress, silent
from cbm.rows import Level, Problem, Row

BATCH = 64  # how many files between two reports of progress, and so before a cancel is noticed
MAX_THREADS = 4


@dataclass(frozen=True, slots=True)
class FileCheck:
    """What one row's files are; `facts` is `None` when the picture was not opened or cannot be."""

    path: Path
    mask: Path | None = None
    digest: str = ""
    facts: ImageFacts | None = None
    problems: tuple[Problem, ...] = ()


def check_files(
    root: Path, rows: Sequence[tuple[int, Row]], *, trust: bool = False, on_progress: OnProgress = silent
) -> list[FileCheck]:
    """Look at the files of numbered rows, in their order.

    Parameters
    ----------
    root
        The folder that no path may leave, links followed.
    rows
        Each row with its number, which its problems carry.
    trust
        Believe a row's own `sha256` and do not open its picture: for manifests that we wrote ourselves.
    """
    real = root.resolve()
    found: list[FileCheck] = []
    with ThreadPoolExecutor(min(MAX_THREADS, os.cpu_count() or 1)) as pool:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            found += pool.map(lambda item: _check(real, item[0], item[1], trust), batch)
            on_progress(len(found) / len(rows), f"checked {len(found)} of {len(rows)} images")
    return found


def resolve_inside(root: Path, path: str) -> Path | None:
    """The real path of a file below a resolved folder; `None` when it lies elsewhere.

    Examples
    --------
    >>> resolve_inside(Path("/data").resolve(), "../etc/passwd") is None
    True
    """
    real = (root / path).resolve()
    return real if real.is_relative_to(root) else None


def _check(root: Path, number: int, row: Row, trust: bool) -> FileCheck:
    path = row.file or resolve_inside(root, row.path)
    if path is None:
        fault = _problem("outside", row, number, f"the path {row.path!r} leaves the folder of the data set")
        return FileCheck(root, problems=(fault,))
    if not path.is_file():
        hint = "; write / between folders" if "\\" in row.path else ""
        return FileCheck(path, problems=(_problem("missing_file", row, number, f"there is no such file{hint}"),))
    mask = resolve_inside(root, row.mask) if row.mask else None
    if row.mask and (mask is None or not mask.is_file()):
        detail = f"the mask {row.mask!r} is not a file in the folder of the data set"
        return FileCheck(path, problems=(_problem("mask", row, number, detail),))
    return FileCheck(path, mask, row.digest) if trust and row.digest else _open(path, mask, number, row)


def _open(path: Path, mask: Path | None, number: int, row: Row) -> FileCheck:
    try:
        content = _content(path)
        facts = inspect_image(content)
        problems = (*_named_wrongly(path, facts, number, row), *_mask_problems(mask, facts, number, row))
    except UnreadableImage as error:
        return FileCheck(path, mask, problems=(_problem(error.fault, row, number, error.message),))
    except OSError as error:
        detail = f"the file cannot be read ({error.strerror})"
        return FileCheck(path, mask, problems=(_problem("unreadable", row, number, detail),))
    digest = hashlib.sha256(content).hexdigest()
    if row.digest and row.digest.lower() != digest:
        detail = "the content is not the one that the manifest's sha256 names"
        problems = (*problems, _problem("changed", row, number, detail))
    return FileCheck(path, mask, digest, facts, problems)


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if size == 0:
        raise UnreadableImage("the file is empty")
    if size > MAX_FILE_BYTES:
        raise UnreadableImage(f"the file is larger than {MAX_FILE_BYTES // 2**20} MiB", fault="too_large")
    return path.read_bytes()


def _named_wrongly(path: Path, facts: ImageFacts, number: int, row: Row) -> tuple[Problem, ...]:
    if SUFFIXES.get(path.suffix.lower()) == facts.format:
        return ()
    detail = f"is called {path.suffix or path.name!r} but holds {facts.format}; it is read as {facts.format}"
    return (_problem("mislabelled", row, number, detail, "warning"),)


def _mask_problems(mask: Path | None, facts: ImageFacts, number: int, row: Row) -> tuple[Problem, ...]:
    if mask is None:
        return ()
    try:
        height, width = open_mask(mask).shape
    except UnreadableImage as error:
        return (_problem("mask", row, number, f"mask {row.mask!r}: {error.message}"),)
    if (width, height) == (facts.width, facts.height):
        return ()
    detail = f"the mask is {width} x {height} pixels, the image {facts.width} x {facts.height}; it will be resized"
    return (_problem("mask_size", row, number, detail, "warning"),)


def _problem(kind: str, row: Row, number: int, detail: str, level: Level = "error") -> Problem:
    return Problem(kind, row.path, row.says(detail), level, number)
