"""Image files to pixels, by threads that run ahead of the encoder.

How far ahead is bounded, and large pictures are decoded one at a time, so that memory is bounded too.
"""

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from cbm.errors import DataError
from cbm.images import announced_pixels, read_file
from cbm.preprocessing import Preprocessing

DECODERS = 4
LARGE = 12_000_000  # pixels; some four bytes each, two or three times over

Frame = Float[np.ndarray, "3 h w"] | str  # pixels ready for the encoder, or why there are none
Item = TypeVar("Item")
_ONE_LARGE = Lock()


@contextmanager
def decoding(
    todo: Sequence[tuple[str, Path]], preprocessing: Preprocessing, *, ahead: int, decoders: int = DECODERS
) -> Iterator[Iterator[Frame]]:
    """The images of `todo` in their order, decoded by threads that are at most `ahead` images in front.

    Parameters
    ----------
    todo
        Content hash and path of each.
    """
    pool = ThreadPoolExecutor(decoders, thread_name_prefix="decode")
    waiting: deque[Future[Frame]] = deque()
    rest = iter(todo)

    def frames() -> Iterator[Frame]:
        waiting.extend(pool.submit(decode, *item, preprocessing) for item in islice(rest, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(decode, *item, preprocessing) for item in islice(rest, 1))

    try:
        yield frames()
    finally:
        pool.shutdown(cancel_futures=True)


def decode(image: str, path: Path, preprocessing: Preprocessing) -> Frame:
    """Pixels of one image file, or why they cannot be had; a broken file must not stop the others."""
    try:
        content = read_file(path)
        if hashlib.sha256(content).hexdigest() != image:
            return "the file has changed since it was imported"
        with _ONE_LARGE if announced_pixels(content) > LARGE else nullcontext():
            return preprocessing(preprocessing.read(content))
    except (DataError, OSError) as error:
        return str(error)


@contextmanager
def one_ahead(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """The same items; a thread makes the next one while this one is used."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="stage")
    end = object()

    def staged() -> Iterator[Item]:
        coming = pool.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = pool.submit(next, items, end)
            yield item  # type: ignore[misc]

    try:
        yield staged()
    finally:
        pool.shutdown(cancel_futures=True)
