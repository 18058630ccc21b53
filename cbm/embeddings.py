"""Embeds a data set: every image content once for each encoder, decoding ahead, resuming where an earlier run stopped.

The work is cut into shards of some hundred images. A shard is computed in fixed batches and written in one piece, so a
run that is killed loses at most one shard, and continuing it arrives at the same bytes as never having stopped.
"""

import hashlib
import logging
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor

from cbm.data import ImageDataset
from cbm.embedding_store import EmbeddingStore, Shard
from cbm.encoders import Encoder, TextEncoder
from cbm.errors import DataError, EncoderError
from cbm.images import open_image
from cbm.preprocessing import Preprocessing
from cbm.process_group import ALONE, Group
from cbm.progress import OnProgress, silent
from cbm.training_set import TrainingSet

__all__ = ["Embedded", "EmbeddingStore", "Skipped", "embed", "embed_images", "encode_image", "stored_training_set"]

DECODERS = 4
SHARD_SIZE = 256

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Skipped:
    """An image that could not be embedded, and why, in words."""

    id: str
    path: Path
    reason: str


@dataclass(frozen=True)
class Embedded:
    """What an embedding run did.

    Attributes
    ----------
    computed
        Image contents embedded in this run.
    reused
        Image contents that the store had already.
    skipped
        Images of the data set that have no embedding.
    """

    computed: int
    reused: int
    skipped: tuple[Skipped, ...]


def embed(
    dataset: ImageDataset,
    encoder: Encoder,
    *,
    store: EmbeddingStore | None = None,
    batch_size: int = 32,
    on_progress: OnProgress = silent,
) -> TrainingSet:
    """The data set as embeddings, with its labels, splits and concept labels.

    Parameters
    ----------
    store
        Where embeddings are kept and looked up; without one they are computed anew and only returned.
    batch_size
        Images that the encoder sees at once.
    on_progress
        Told the images a second and the time left; may raise `Cancelled`, and finished shards stay.

    Returns
    -------
    Without the images that could not be read; `embed_images` says which and why. The embeddings have the precision of
    the store, half a float, whether or not one is given.

    Raises
    ------
    DataError
        If no image could be read.
    """
    if store is None:
        with tempfile.TemporaryDirectory() as folder:
            return embed(dataset, encoder, store=EmbeddingStore(folder), batch_size=batch_size, on_progress=on_progress)
    done = embed_images(dataset, encoder, store, batch_size=batch_size, on_progress=on_progress)
    for image in done.skipped:
        log.warning("not embedded: %s: %s", image.path, image.reason)
    text_encoder = encoder if isinstance(encoder, TextEncoder) else None
    return stored_training_set(dataset, store, encoder.contract, encoder_id=encoder.id, encoder=text_encoder)


def embed_images(
    dataset: ImageDataset,
    encoder: Encoder,
    store: EmbeddingStore,
    *,
    batch_size: int = 32,
    shard_size: int = SHARD_SIZE,
    group: Group = ALONE,
    on_progress: OnProgress = silent,
) -> Embedded:
    """Make sure that the store has every image of the data set; parameters as in `embed`.

    Images that could not be read in an earlier run are tried again, after the new ones.

    Parameters
    ----------
    group
        Which share of the shards is done here, and counted; the shards are the same for any number of shares.
    """
    store.register(encoder)
    every = list(dict.fromkeys(dataset.hashes))
    failed = store.skipped(encoder.contract)
    present = {image for image, here in zip(every, store.has(encoder.contract, every), strict=True) if here}
    starts = range(0, len(every), shard_size)
    pieces = [every[starts[i] : starts[i] + shard_size] for i in group.share(len(starts))]
    wanted = {image for piece in pieces for image in piece}
    missing = [[image for image in piece if image not in present] for piece in pieces]
    fresh = [[image for image in piece if image not in failed] for piece in missing]
    again = [[image for image in piece if image in failed] for piece in missing]
    plan = [piece for piece in (*fresh, *again) if piece]

    pace = _Pace(sum(len(planned) for planned in plan), on_progress)
    paths = _paths(dataset)
    todo = [(image, paths[image]) for planned in plan for image in planned]
    with _decoding(todo, encoder.preprocessing, ahead=2 * batch_size) as frames:
        shards = (_compute(planned, frames, encoder, batch_size, pace) for planned in plan)
        for shard in shards:
            if shard.hashes or not failed.keys() >= set(shard.planned):  # a second failure is no news
                store.write(encoder.contract, shard)
    computed = int(store.has(encoder.contract, [image for image, _ in todo]).sum())
    reused = sum(image in present for image in wanted)
    return Embedded(computed, reused, _skipped(dataset, store, encoder.contract, wanted))


def encode_image(encoder: Encoder, image: Image | Path | str) -> Float[Tensor, "d"]:
    """The embedding of one picture, or of the picture in a file; in full precision.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    picture = open_image(Path(image)) if isinstance(image, Path | str) else image
    return encoder.encode_images([picture])[0]


Frame = Float[np.ndarray, "3 h w"] | str  # pixels ready for the encoder, or why there are none


def _compute(
    planned: Sequence[str], frames: Iterator[Frame], encoder: Encoder, batch_size: int, pace: "_Pace"
) -> Shard:
    """Embed the planned images; `frames` yields them in the same order."""
    rows: list[np.ndarray] = [np.empty((0, encoder.dim), np.float16)]
    skipped: dict[str, str] = {}
    for start in range(0, len(planned), batch_size):
        batch = dict(zip(planned[start : start + batch_size], islice(frames, batch_size), strict=False))
        skipped |= {image: frame for image, frame in batch.items() if isinstance(frame, str)}
        pixels = [torch.from_numpy(frame) for frame in batch.values() if not isinstance(frame, str)]
        if pixels:
            rows.append(_half(encoder.encode_pixels(torch.stack(pixels)), encoder.id))
        pace.step(len(batch))
    hashes = tuple(image for image in planned if image not in skipped)
    return Shard(tuple(planned), hashes, np.concatenate(rows), skipped, recipe=f"batches of {batch_size}")


def _half(embedding: Float[Tensor, "n d"], encoder: str) -> np.ndarray:
    half = embedding.to(torch.float16)
    if not bool(torch.isfinite(half).all()):
        raise EncoderError(f"{encoder} made an embedding that is not finite", hint="load it with precision fp32")
    return half.numpy()


@contextmanager
def _decoding(
    todo: Sequence[tuple[str, Path]], preprocessing: Preprocessing, *, ahead: int
) -> Iterator[Iterator[Frame]]:
    """The images of `todo` in their order, decoded by threads that are at most `ahead` images in front."""
    pool = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")
    waiting: deque[Future[Frame]] = deque()
    rest = iter(todo)

    def frames() -> Iterator[Frame]:
        waiting.extend(pool.submit(_frame, *item, preprocessing) for item in islice(rest, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(_frame, *item, preprocessing) for item in islice(rest, 1))

    try:
        yield frames()
    finally:
        pool.shutdown(cancel_futures=True)


def _frame(image: str, path: Path, preprocessing: Preprocessing) -> Frame:
    """Pixels of one image file, or why they cannot be had; a broken file must not stop the others."""
    try:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        if content != image:
            return "the file has changed since it was imported"
        return preprocessing(open_image(path))
    except (DataError, OSError) as error:
        return str(error)


class _Pace:
    """Turns steps into sentences about how fast it goes and how long it will take."""

    def __init__(self, total: int, on_progress: OnProgress) -> None:
        self.total, self.done, self.on_progress, self.start = total, 0, on_progress, monotonic()
        on_progress(0.0 if total else 1.0, f"{total} images to embed" if total else "all images are embedded already")

    def step(self, images: int) -> None:
        self.done += images
        speed = self.done / max(monotonic() - self.start, 1e-9)
        left = (self.total - self.done) / speed
        self.on_progress(
            self.done / self.total,
            f"embedded {self.done:,} of {self.total:,} images, {speed:.3g} images/s, {left:.0f} s left",
        )


def _paths(dataset: ImageDataset) -> dict[str, Path]:
    """Where each content is; of equal images, the first."""
    pairs = zip(dataset.hashes, dataset.paths, strict=True)
    return {image: Path(path) for image, path in reversed(list(pairs))}


def _skipped(dataset: ImageDataset, store: EmbeddingStore, contract: str, wanted: set[str]) -> tuple[Skipped, ...]:
    reasons = {image: reason for image, reason in store.skipped(contract).items() if image in wanted}
    images = zip(dataset.ids, dataset.paths, dataset.hashes, strict=True)
    return tuple(Skipped(name, Path(path), reasons[image]) for name, path, image in images if image in reasons)


def stored_training_set(
    dataset: ImageDataset,
    store: EmbeddingStore,
    contract: str,
    *,
    encoder_id: str,
    encoder: TextEncoder | None = None,
) -> TrainingSet:
    """The data set as embeddings that the store has already, without loading the encoder that made them.

    Parameters
    ----------
    contract
        Of the encoder; `store.contracts()` lists those that there are.
    encoder
        A text encoder for methods that need one.

    Raises
    ------
    DataError
        If no image of the data set has an embedding.
    """
    keep = store.has(contract, dataset.hashes)
    if not keep.any():
        raise DataError(
            f"none of the {len(keep)} images of {dataset.name} could be read",
            hint="check the files with: pellucid data validate PATH",
        )
    kept = np.flatnonzero(keep)
    x = store.matrix(contract, [dataset.hashes[i] for i in kept])
    labels = dataset.concept_labels
    return TrainingSet(
        x=torch.from_numpy(x),
        labels=torch.from_numpy(np.asarray(dataset.labels, np.int64)[keep]),
        classes=tuple(dataset.classes),
        splits=np.asarray(dataset.splits)[keep],
        ids=tuple(dataset.ids[i] for i in kept),
        concepts=tuple(dataset.concepts),
        concept_labels=None if labels is None else torch.from_numpy(np.asarray(labels, np.float32)[keep]),
        groups=None if dataset.groups is None else tuple(dataset.groups[i] for i in kept),
        encoder_id=encoder_id,
        contract=contract,
        encoder=encoder,
    )
