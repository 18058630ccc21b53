"""Unpacking a tar file, packed or not, as a stream: each entry is checked before it is written."""

import lzma
import tarfile
import zlib
from pathlib import Path

from cbm.archive_limits import Limits, check_name, check_ratio, is_system, write_counted
from cbm.errors import DataError
from cbm.progress import OnProgress

LARGEST_HEADER = 2**20
SUFFIXES = (".tar", ".tgz", ".tar.gz", ".tbz2", ".tar.bz2", ".txz", ".tar.xz")


def is_tar(path: Path) -> bool:
    """Whether a file is called like a tar file.

    Examples
    --------
    >>> is_tar(Path("CUB_200_2011.tgz")), is_tar(Path("images.gz"))
    (True, False)
    """
    return path.name.lower().endswith(SUFFIXES)


def unpack_tar(path: Path, folder: Path, limits: Limits, on_progress: OnProgress) -> None:
    """Write the files of a tar file into a folder.

    Raises
    ------
    DataError
        If it is damaged, is larger than the limits, or has an entry that is absolute, climbs out with `..`, is a link or
        a device, is an archive, or is there twice.
    """
    try:
        packed = path.stat().st_size
        with path.open("rb") as file, tarfile.open(fileobj=file, mode="r|*", tarinfo=_Entry) as archive:
            written = 0
            for count, entry in enumerate(archive, start=1):
                if count > limits.entries:
                    raise DataError(f"{path.name!r} holds more than {limits.entries} entries, the limit")
                written += _write(archive, entry, folder, limits, limits.total_bytes - written)
                check_ratio(written, packed, limits, path.name)
                if count % 64 == 0:
                    on_progress(min(1.0, file.tell() / packed), f"unpacked {count} files")
    except (tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
        raise DataError(f"{path.name!r} is not a tar file that can be unpacked ({error})") from error
    except (UnicodeError, ValueError) as error:
        raise DataError(f"{path.name!r} holds a name that cannot be used ({error})") from error


class _Entry(tarfile.TarInfo):
    """An entry whose long names and further headers, which are read into memory whole, are not larger than they need be."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type not in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE) and self.size > LARGEST_HEADER:
            raise tarfile.ReadError("an entry has a header that is too large")
        made: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return made


def _write(archive: tarfile.TarFile, entry: tarfile.TarInfo, folder: Path, limits: Limits, left: int) -> int:
    name = entry.name.removeprefix("./")
    check_name(name, limits, folder=entry.isdir())
    if entry.isdir() or is_system(name):
        return 0
    if not entry.isreg():
        raise DataError(f"the archive's entry {name!r} is a link or a device", hint="pack the files themselves")
    source, target = archive.extractfile(entry), folder / name
    if source is None:
        raise DataError(f"the archive's entry {name!r} has no content", hint="pack it again")
    if target.exists():
        raise DataError(f"the archive holds {name!r} twice", hint="pack it again")
    target.parent.mkdir(parents=True, exist_ok=True)
    return write_counted(source.read, target, limits, left)
