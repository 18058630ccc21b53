"""Files that a person sends through the browser: counted, measured, kept under names of ours until they are imported.

The browser's own limits are wishes, so count, kind and size are checked here again. An upload that nobody imports is
removed a day later.
"""

import secrets
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from app.workspace import Workspace
from cbm.errors import UsageError
from cbm.whole_files import replacing

MANIFESTS = {".csv": "manifest.csv", ".parquet": "manifest.parquet", ".jsonl": "manifest.jsonl"}
CHUNK = 1 << 20
KEPT = 24 * 3600.0
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz")
_HINT = "send one zip or tar file, or a manifest (CSV, Parquet, JSON lines) with one zip or tar file of its images"


class Upload(Protocol):
    """What Streamlit hands over for one file."""

    name: str
    size: int

    def read(self, size: int = -1, /) -> bytes: ...


def receive(ws: Workspace, files: Sequence[Upload]) -> Path:
    """Keep what was uploaded and return the archive, or the folder that a manifest and its images make.

    Raises
    ------
    UsageError
        If there are other files than one archive and at most one manifest, or they are larger than the settings allow.
    DataError
        If the archive with a manifest's images is damaged or unsafe.
    """
    archive, manifest = _sorted(files)
    _check_size(ws, sum(file.size for file in files))
    sweep(ws)
    place = folder(ws) / secrets.token_hex(12)
    if manifest is None:
        place.mkdir(parents=True)
        return _write(place / f"{_stem(archive.name)}{_suffix(archive.name)}", archive)
    with replacing(place) as temporary:
        _unpack(archive, manifest, temporary)
    return place


def folder(ws: Workspace) -> Path:
    """Where uploads wait for their import."""
    return ws.folder("uploads")


def is_upload(ws: Workspace, path: Path) -> bool:
    """Whether a path lies among the uploads."""
    return path.resolve().is_relative_to(folder(ws).resolve())


def sweep(ws: Workspace, *, older_than: float = KEPT) -> None:
    """Remove uploads that are older than this many seconds."""
    if folder(ws).is_dir():
        for place in folder(ws).iterdir():
            if time.time() - place.stat().st_mtime > older_than:
                shutil.rmtree(place)


def forget(ws: Workspace, path: Path) -> None:
    """Remove an upload; a path that is none, or is gone, is left alone."""
    if is_upload(ws, path):
        place = folder(ws).resolve() / path.resolve().relative_to(folder(ws).resolve()).parts[0]
        if place.is_dir():
            shutil.rmtree(place)


def _sorted(files: Sequence[Upload]) -> tuple[Upload, Upload | None]:
    archives = [file for file in files if _suffix(file.name)]
    manifests = [file for file in files if Path(file.name).suffix.lower() in MANIFESTS]
    if len(archives) != 1 or len(manifests) > 1 or len(files) != len(archives) + len(manifests):
        names = ", ".join(repr(file.name) for file in files[:4]) or "nothing"
        raise UsageError(f"{names}: these files do not make a data set", hint=_HINT)
    return archives[0], manifests[0] if manifests else None


def _check_size(ws: Workspace, size: int) -> None:
    if size > ws.settings.max_upload_bytes:
        raise UsageError(
            f"the upload has {size / 1e6:,.0f} MB; the limit is {ws.settings.max_upload} MB",
            hint="put the files on the server and give their path, or raise PELLUCID_MAX_UPLOAD",
        )


def _suffix(name: str) -> str:
    """What says that a file is an archive that we take; empty when it is none."""
    return next((suffix for suffix in ARCHIVES if name.lower().endswith(suffix)), "")


def _stem(name: str) -> str:
    """The name of a file without folders and odd characters; it becomes the proposed name of the data set."""
    plain = Path(name).name[: -len(_suffix(name))]
    kept = "".join(letter if letter.isalnum() or letter in "-_ " else "-" for letter in plain)
    return kept.strip(" -")[:80] or "upload"


def _unpack(archive: Upload, manifest: Upload, target: Path) -> None:
    from cbm.archives import unpack

    packed = _write(target.with_suffix(_suffix(archive.name)), archive)
    try:
        unpack(packed, target)
    finally:
        packed.unlink()
    for name in MANIFESTS.values():  # the manifest that was sent beside the zip is the one that counts
        (target / name).unlink(missing_ok=True)
    _write(target / MANIFESTS[Path(manifest.name).suffix.lower()], manifest)


def _write(path: Path, source: Upload) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as sink:
        while chunk := source.read(CHUNK):
            sink.write(chunk)
    return path
