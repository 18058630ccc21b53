"""Unpacking a zip or tar file from somebody we do not know.

What an archive says about itself is not believed (`cbm.archive_limits`). Nothing is left behind when it is refused.
"""

import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cbm.archive_limits import LIMITS, Limits, check_name, check_ratio, is_system, size_text, write_counted
from cbm.errors import DataError
from cbm.progress import OnProgress, silent
from cbm.tars import is_tar, unpack_tar


@contextmanager
def opened(
    path: Path, *, within: Path | None = None, limits: Limits = LIMITS, on_progress: OnProgress = silent
) -> Iterator[Path]:
    """The folder itself; of a zip or tar file, a temporary folder with its content, removed afterwards.

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
    """Whether a path is a file that is called, or begins like, a zip, or is called like a tar."""
    if not path.is_file():
        return False
    if is_tar(path):
        return True
    with path.open("rb") as file:
        return path.suffix.lower() == ".zip" or file.read(4) in {b"PK\x03\x04", b"PK\x05\x06"}


def unpack(path: Path, folder: Path, *, limits: Limits = LIMITS, on_progress: OnProgress = silent) -> None:
    """Unpack a zip or tar file into a folder that does not exist yet.

    Raises
    ------
    DataError
        If the archive is damaged, encrypted or nested, is larger than the limits, or has an entry that is absolute,
        climbs out with `..`, is a link or a device, or is there twice. The folder is then removed again.
    """
    folder.mkdir(parents=True)
    try:
        (unpack_tar if is_tar(path) else _unpack)(path, folder, limits, on_progress)
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
                check_ratio(written, packed, limits, path.name)
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
        if entry.is_dir() or is_system(entry.filename):
            continue
        if entry.filename in seen:
            raise DataError(f"the archive holds {entry.filename!r} twice", hint="pack it again")
        seen.add(entry.filename)
        files.append(entry)
    announced = sum(entry.file_size for entry in files)
    if announced > limits.total_bytes:
        raise DataError(
            f"{path.name!r} unpacks to {size_text(announced)}; the limit is {size_text(limits.total_bytes)}"
        )
    return files


def _check_entry(entry: zipfile.ZipInfo, limits: Limits) -> None:
    name = entry.filename
    check_name(entry.orig_filename if "\0" in entry.orig_filename else name, limits, folder=entry.is_dir())
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise DataError(f"the archive's entry {name!r} is a link or a device", hint="pack the files themselves")
    if entry.flag_bits & 0x1:
        raise DataError(f"the archive's entry {name!r} is encrypted", hint="pack it without a password")


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, folder: Path, limits: Limits, left: int) -> int:
    """Write one file and return its true size; stops at the first byte beyond a limit."""
    target = folder / entry.filename
    target.parent.mkdir(parents=True, exist_ok=True)
    with archive.open(entry) as source:
        return write_counted(source.read, target, limits, left, packed=entry.compress_size)
