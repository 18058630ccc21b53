"""Gallery pictures: JPEG bytes at their final size, made once an image and size, named by the image's content."""

import logging
from collections.abc import Sequence

from app.datasets import images_by_id
from app.workspace import Workspace
from cbm.errors import DataError
from cbm.whole_files import write_bytes

log = logging.getLogger(__name__)

SIZE = 192


def thumbnails(ws: Workspace, dataset: str, ids: Sequence[str], size: int = SIZE) -> dict[str, bytes]:
    """JPEG bytes of these images by id, the longer side at most `size` pixels; a broken image is left out.

    Raises
    ------
    UnknownName
        If there is no such data set or image.
    """
    from cbm.images import thumbnail_jpeg

    made: dict[str, bytes] = {}
    for image in images_by_id(ws, dataset, ids):
        file = ws.folder("thumbnails") / str(int(size)) / image.hash[:2] / f"{image.hash}.jpg"
        try:
            if not file.exists():
                write_bytes(file, thumbnail_jpeg(image.path, size=size))
            made[image.id] = file.read_bytes()
        except (DataError, OSError) as error:
            log.warning("no thumbnail of %s: %s", image.path, error)
    return made
