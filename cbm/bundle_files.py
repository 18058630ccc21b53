"""A bundle on disk: a folder or a zip of named files with a checksum for each, written whole and read with suspicion.

Names, sizes and kinds are checked before a byte is read, and every byte against its checksum before anybody uses it.
"""

import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from cbm.errors import BundleError

LARGEST_FILE = 1 << 30  # bytes of the tensors inside a bundle
LARGEST_TEXT = 64 << 20  # bytes of any other file
SUMS = "SHA256SUMS"
Entries = dict[str, tuple[int, Callable[[], bytes]]]  # name to size and how to read it


def write_bundle(path: Path, files: Mapping[str, bytes], *, replaces: tuple[str, ...]) -> Path:
    """Write these files and their checksums, as a folder or (when the name ends in `.zip`) a zip; return the path.

    Parameters
    ----------
    replaces
        What is at the path already is replaced if it holds checksums and nothing but files of these names.

    Raises
    ------
    BundleError
        If the path is taken by something else, or cannot be written.
    """
    sums = "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in sorted(files.items()))
    files = {**files, SUMS: sums.encode()}
    if path.exists() and not _is_bundle(path, {*replaces, SUMS}):
        raise BundleError(f"{path} exists and is not a bundle", hint="choose another place")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _write_zip(path, files) if path.suffix == ".zip" else _write_folder(path, files)
    except OSError as error:
        raise BundleError(f"{path} cannot be written: {error.strerror}", hint="choose another place") from error


def read_bundle(path: Path, *, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Content of every file by name, checked against its checksum.

    Raises
    ------
    BundleError
        If a file is missing, strange, too large, not a plain file, or not what its checksum says.
    """
    required = (*required, SUMS)
    with _opened(path) as entries:
        missing = [name for name in required if name not in entries]
        if missing:
            raise BundleError(f"the bundle lacks {missing[0]}", hint="export it again")
        strange = [name for name in entries if name not in {*required, *optional}]
        if strange:
            raise BundleError(
                f"the bundle holds {strange[0]!r}, which does not belong there; nothing of it was read",
                hint="a bundle holds safetensors and JSON only; pickles and scripts are refused",
            )
        for name, (size, _) in entries.items():
            limit = LARGEST_FILE if name.endswith(".safetensors") else LARGEST_TEXT
            if size > limit:
                raise BundleError(f"{name} has {size:,} bytes; the limit is {limit:,}")
        files = {name: read() for name, (_, read) in entries.items()}
    _check_sums(files)
    return files


def _write_folder(path: Path, files: Mapping[str, bytes]) -> Path:
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as beside:
        fresh, old = Path(beside) / "fresh", Path(beside) / "old"
        fresh.mkdir()
        for name, content in files.items():
            _write_synced(fresh / name, content)
        if path.exists():
            os.replace(path, old)
        os.replace(fresh, path)
    return path


def _write_zip(path: Path, files: Mapping[str, bytes]) -> Path:
    staging = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with zipfile.ZipFile(staging, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in sorted(files.items()):
                info = zipfile.ZipInfo(name)  # its fixed date makes equal models equal bytes
                archive.writestr(info, content, compress_type=zipfile.ZIP_DEFLATED)
        os.replace(staging, path)
    finally:
        staging.unlink(missing_ok=True)
    return path


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _is_bundle(path: Path, known: set[str]) -> bool:
    if path.is_dir():
        names = {entry.name for entry in path.iterdir()}
        return not names or (SUMS in names and names <= known)
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
    return SUMS in names and names <= known


def _check_sums(files: Mapping[str, bytes]) -> None:
    lines = files[SUMS].decode(errors="replace").splitlines()
    listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name, content in files.items():
        if name != SUMS and hashlib.sha256(content).hexdigest() != listed.get(name):
            raise BundleError(f"{name} does not match its checksum", hint="the bundle is damaged; export it again")
    missing = set(listed) - set(files)
    if missing:
        raise BundleError(f"the bundle lacks {min(missing)!r}, which its checksums list", hint="export it again")


@contextmanager
def _opened(path: Path) -> Iterator[Entries]:
    if path.is_dir():
        yield {entry.name: (entry.stat().st_size, entry.read_bytes) for entry in _plain_files(path)}
    elif zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                yield _zip_entries(archive)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError) as error:
            raise BundleError(f"{path.name} is a damaged zip", hint="export the bundle again") from error
    else:
        raise BundleError(f"{path.name} is not a bundle", hint="give a bundle's folder or its zip file")


def _plain_files(path: Path) -> list[Path]:
    entries = list(path.iterdir())
    for entry in entries:
        if entry.is_symlink() or not entry.is_file():
            raise BundleError(f"the bundle holds {entry.name!r}, which is not a plain file")
    return entries


def _zip_entries(archive: zipfile.ZipFile) -> Entries:
    infos = archive.infolist()
    if len({info.filename for info in infos}) != len(infos):
        raise BundleError("the zip holds one name twice", hint="export the bundle again")
    return {info.filename: (info.file_size, partial(archive.read, info)) for info in infos}
