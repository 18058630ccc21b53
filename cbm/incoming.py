"""From what somebody has, a folder, a manifest, an archive, to the rows of a data set with a file for each picture.

Whatever has to be unpacked or written first lies in a temporary folder until the block ends.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cbm.archives import opened
from cbm.layouts import list_images
from cbm.progress import OnProgress, part, silent
from cbm.rows import Listing


@contextmanager
def listed(
    path: Path,
    layout: str = "auto",
    *,
    root: Path | None = None,
    options: Mapping[str, object] | None = None,
    salt: bytes | None = None,
    within: Path | None = None,
    on_progress: OnProgress = silent,
) -> Iterator[Listing]:
    """The rows of a data set, as long as the block lasts.

    Parameters
    ----------
    path, layout, root, options, salt
        As `cbm.layouts.list_images`; the path may be an archive.
    within
        Where temporary folders are made; the system's place for such by default, which may be small.

    Raises
    ------
    DataError, UnknownName, UsageError
        As `cbm.archives.unpack` and `list_images`.
    """
    with (
        opened(path, within=within, on_progress=part(on_progress, 0.0, 0.5)) as inside,
        tempfile.TemporaryDirectory(prefix="pellucid-pictures-", dir=within) as made,
    ):
        written = part(on_progress, 0.5, 1.0)
        yield list_images(inside, layout, root=root, options=options, into=Path(made), salt=salt, on_progress=written)
