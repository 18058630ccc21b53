"""Unpacking a zip file from somebody we do not know.

What an archive says about itself is not believed: names are checked, and bytes are counted while they are written, so
a bomb stops at the limit whatever its directory announces. Nothing is left behind when an archive is refused.
"""

import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from cbm.errors import DataError
from cbm.progress import OnProgress, silent

CHUNK = 1 << 20
NESTED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst")


@dataclass(frozen=True)
class Limits:
    """What an archive may hold. `ratio` is unpacked to packed bytes, of a file above one mebibyte and of the whole."""

    entries: int = 1_000_000
    file_bytes: int = 512 * 2**20
    total_bytes: int = 50 * 2**30
    ratio: int = 200
    depth: int = 32


@contextmanager
def opened(
    path: Path, *, within: Path | None = None, limits: Limits = Limits(), on_progress: OnProgress = silent
) -> Iterator[Path]:
    """The folder itself; of a zip file, a temporary folder with its content, removed afterwards.

    Parameters
    ----------
    within
        Where the temporary folder is made; the system's place for such by default, which may be small.

    Raises
    ------
    DataError
        As `unpack`.
    """
    if not is_archive(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="pellucid-zip-", dir=within) as folder:
        inside = Path(folder) / "content"
        unpack(path, inside, limits=limits, on_progress=on_progress)
        yield inside


def is_archive(path: Path) -> bool:
    """Whether a path is a file that is called, or begins like, a zip."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return path.suffix.lower() == ".zip" or file.read(4) in {b"PK\x03\x04", b"PK\x05\x06"}


def unpack(path: Path, folder: Path, *, limits: Limits = Limits(), on_progress: OnProgress = silent) -> None:
    """Unpack a zip file into a folder that does not exist yet.

    Raises
    ------
    DataError
        If the archive is damaged, encrypted or nested, is larger than the limits, or has an entry that is absolute,
        climbs out with `..`, is a link or a device, or is there twice. The folder is then removed again.
    """
    folder.mkdir(parents=True)
    try:
        _unpack(path, folder, limits, on_progress)
    except BaseException:
        shutil.rmtree(folder)
        raise


def _unpack(path: Path, folder: Path, limits: Limits, on_progress: OnProgress) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _checked(archive.infolist(), limits, path)
            written, packed = 0, path.stat().st_size
            for number, entry in enumerate(entries, start=1):
                written += _write(archive, entry, folder, limits, limits.total_bytes - written)
                _check_ratio(written, packed, limits, path.name)
                if number % 64 == 0 or number == len(entries):
                    on_progress(number / len(entries), f"unpacked {number} of {len(entries)} files")
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path.name!r} is not a zip file that can be unpacked ({error})") from error
    except OSError as error:
        raise DataError(f"{path.name!r} cannot be unpacked ({error.strerror or error})") from error
    except (UnicodeError, ValueError) as error:
        raise DataError(f"{path.name!r} holds a name that cannot be used ({error})") from error


def _checked(entries: list[zipfile.ZipInfo], limits: Limits, path: Path) -> list[zipfile.ZipInfo]:
    """The files to write, in order, after every entry has been looked at."""
    if len(entries) > limits.entries:
        raise DataError(f"{path.name!r} holds {len(entries)} entries; the limit is {limits.entries}")
    seen: set[str] = set()
    files: list[zipfile.ZipInfo] = []
    for entry in entries:
        _check_entry(entry, limits)
        if entry.is_dir() or _is_system(entry.filename):
            continue
        if entry.filename in seen:
            raise DataError(f"the archive holds {entry.filename!r} twice", hint="pack it again")
        seen.add(entry.filename)
        files.append(entry)
    announced = sum(entry.file_size for entry in files)
    if announced > limits.total_bytes:
        raise DataError(f"{path.name!r} unpacks to {_size(announced)}; the limit is {_size(limits.total_bytes)}")
    return files


def _check_entry(entry: zipfile.ZipInfo, limits: Limits) -> None:
    name = entry.filename
    parts = PurePosixPath(name).parts
    if name.startswith("/") or PureWindowsPath(name).drive or "\\" in name or "\0" in entry.orig_filename:
        raise DataError(f"the archive's entry {name!r} has a path that is not relative", hint="pack it again")
    if ".." in parts:
        raise DataError(f"the archive's entry {name!r} climbs out of its folder", hint="do not trust this archive")
    if len(parts) > limits.depth:
        raise DataError(
            f"the archive's entry {name[:60]!r}... is {len(parts)} folders deep; the limit is {limits.depth}"
        )
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise DataError(f"the archive's entry {name!r} is a link or a device", hint="pack the files themselves")
    if entry.flag_bits & 0x1:
        raise DataError(f"the archive's entry {name!r} is encrypted", hint="pack it without a password")
    if not entry.is_dir() and name.lower().endswith(NESTED) and not _is_system(name):
        raise DataError(f"the archive holds another archive, {name!r}", hint="pack the images themselves")


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, limits: Limits, left: int) -> int:
    """Write one file and return its true size; stops at the first byte beyond a limit."""
    target = folder / entry.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with archive.open(entry) as source, target.open("xb") as sink:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > limits.file_bytes:
                raise DataError(
                    f"{entry.filename!r} unpacks to more than {_size(limits.file_bytes)}, the limit for a file"
                )
            if size > left:
                raise DataError(f"the archive unpacks to more than {_size(limits.total_bytes)}, the limit")
            if size > CHUNK:
                _check_ratio(size, entry.compress_size, limits, entry.filename)
            sink.write(chunk)
    return size


def _check_ratio(size: int, packed: int, limits: Limits, name: str) -> None:
    if size > CHUNK and size > limits.ratio * max(packed, 1):
        raise DataError(
            f"{name!r} unpacks to more than {limits.ratio} times its size, as a zip bomb does",
            hint="pack it without compression if it is genuine",
        )


def _is_system(name: str) -> bool:
    """Files that macOS and Windows add by themselves."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or (bool(parts) and parts[-1].lower() in {".ds_store", "thumbs.db", "desktop.ini"})


def _size(count: int) -> str:
    return f"{count / 2**30:.3g} GiB" if count >= 2**30 else f"{count / 2**20:.3g} MiB"
