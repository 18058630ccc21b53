"""What is asked of every archive from somebody we do not know, whatever its format.

Names are checked, and bytes are counted while they are written, so that a bomb stops at the limit whatever its directory
announces.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from cbm.errors import DataError

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


LIMITS = Limits()


def check_name(name: str, limits: Limits, *, folder: bool) -> None:
    """Refuse an entry that is absolute, climbs out, is very deep, or is an archive itself.

    Raises
    ------
    DataError
        If it does.
    """
    parts = PurePosixPath(name).parts
    if name.startswith("/") or PureWindowsPath(name).drive or "\\" in name or "\0" in name:
        raise DataError(f"the archive's entry {name!r} has a path that is not relative", hint="pack it again")
    if ".." in parts:
        raise DataError(f"the archive's entry {name!r} climbs out of its folder", hint="do not trust this archive")
    if len(parts) > limits.depth:
        raise DataError(
            f"the archive's entry {name[:60]!r}... is {len(parts)} folders deep; the limit is {limits.depth}"
        )
    if not folder and name.lower().endswith(NESTED) and not is_system(name):
        raise DataError(f"the archive holds another archive, {name!r}", hint="pack the images themselves")


def write_counted(
    read: Callable[[int], bytes], target: Path, limits: Limits, left: int, *, packed: int | None = None
) -> int:
    """Write one file and return its true size; stops at the first byte beyond a limit.

    Parameters
    ----------
    read
        Gives the next bytes of the entry, at most so many.
    left
        How many bytes the whole may still take.
    packed
        Its size in the archive, where entries are packed one by one.
    """
    size, name = 0, target.name
    with target.open("xb") as sink:
        while chunk := read(CHUNK):
            size += len(chunk)
            if size > limits.file_bytes:
                raise DataError(f"{name!r} unpacks to more than {size_text(limits.file_bytes)}, the limit for a file")
            if size > left:
                raise DataError(f"the archive unpacks to more than {size_text(limits.total_bytes)}, the limit")
            if packed is not None:
                check_ratio(size, packed, limits, name)
            sink.write(chunk)
    return size


def check_ratio(size: int, packed: int, limits: Limits, name: str) -> None:
    """Refuse what unpacks to far more than it is; what is small may."""
    if size > CHUNK and size > limits.ratio * max(packed, 1):
        raise DataError(
            f"{name!r} unpacks to more than {limits.ratio} times its size, as a zip bomb does",
            hint="pack it without compression if it is genuine",
        )


def is_system(name: str) -> bool:
    """Files that macOS and Windows add by themselves."""
    parts = PurePosixPath(name).parts
    last = parts[-1].lower() if parts else ""
    return "__MACOSX" in parts or last.startswith("._") or last in {".ds_store", "thumbs.db", "desktop.ini"}


def size_text(count: int) -> str:
    """A number of bytes in words."""
    return f"{count / 2**30:.3g} GiB" if count >= 2**30 else f"{count / 2**20:.3g} MiB"
