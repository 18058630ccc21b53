"""Embeds a data set: every image content once for each encoder, decoding ahead, resuming where an earlier run stopped.

The work is cut into shards of some hundred images. A shard is computed in fixed batches and written in one piece, so a
run that is killed loses at most one shard, and continuing it arrives at the same bytes as never having stopped.

What decides the bytes of a shard: its images, the encoder, how many of them it sees at once and with how many threads (both
change the order of sums, and so the last bit), and the processor. Not how many threads decode.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL.Image import Image
from torch import Tensor, nn

from cbm.data import ImageDataset
from cbm.decoding import DECODERS, Frame, decoding, one_ahead
from cbm.embedding_store import EmbeddingStore, Shard
from cbm.encoders import Encoder, TextEncoder
from cbm.errors import DataError, EncoderError
from cbm.pace import Pace
from cbm.process_group import ALONE, Group
from cbm.progress import OnProgress, silent
from cbm.training_set import TrainingSet

__all__ = ["Embedded", "EmbeddingStore", "Skipped", "embed", "embed_images", "encode_image", "stored_training_set"]

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
    threads: int = 0,
    decoders: int = DECODERS,
    group: Group = ALONE,
    on_progress: OnProgress = silent,
) -> Embedded:
    """Make sure that the store has every image of the data set; parameters as in `embed`.

    Images that could not be read in an earlier run are tried again, after the new ones. Batches that do not fit into memory
    are halved until they do.

    Parameters
    ----------
    threads
        That compute; 0 for as many as torch has.
    decoders
        Threads that decode.
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

    paths = _paths(dataset)
    pace = Pace(sum(len(planned) for planned in plan), on_progress)
    with computing_threads(threads):
        for shard in _shards(plan, paths, encoder, batch_size, decoders, pace):
            if shard.hashes or not failed.keys() >= set(shard.planned):  # a second failure is no news
                store.write(encoder.contract, shard)
    todo = [image for planned in plan for image in planned]
    computed = int(store.has(encoder.contract, todo).sum())
    reused = sum(image in present for image in wanted)
    return Embedded(computed, reused, _skipped(dataset, store, encoder.contract, wanted))


def encode_image(encoder: Encoder, image: Image | Path | str) -> Float[Tensor, "d"]:
    """The embedding of one picture, or of the picture in a file; in full precision.

    Raises
    ------
    DataError
        If the file cannot be read.
    """
    picture = encoder.preprocessing.read(Path(image)) if isinstance(image, Path | str) else image
    return encoder.encode_images([picture])[0]


@dataclass(frozen=True)
class _Batch:
    """Images that the encoder sees at once: those that were to be, why some are not, and the pixels of the others."""

    planned: Sequence[str]
    skipped: dict[str, str]
    pixels: Float[Tensor, "n 3 h w"] | None


def _shards(
    plan: Sequence[Sequence[str]], paths: dict[str, Path], encoder: Encoder, size: int, decoders: int, pace: Pace
) -> Iterator[Shard]:
    """Each planned list of images as a shard, in batches of this size, or of half of it from where memory ran out."""
    done = 0
    while done < len(plan):
        try:
            for shard in _shards_of(plan[done:], paths, encoder, size, decoders, pace):
                yield shard
                done += 1
        except RuntimeError as error:
            if not _out_of_memory(error):
                raise
            if size == 1:
                raise EncoderError(
                    f"one image at once is too much memory for {encoder.id}", hint="try --device cpu"
                ) from error
            size //= 2
            log.warning("out of memory: going on with batches of %d", size)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _shards_of(
    plan: Sequence[Sequence[str]], paths: dict[str, Path], encoder: Encoder, size: int, decoders: int, pace: Pace
) -> Iterator[Shard]:
    finished = pace.total - sum(map(len, plan))
    todo = [(image, paths[image]) for planned in plan for image in planned]
    with (
        decoding(todo, encoder.preprocessing, ahead=2 * size, decoders=decoders) as frames,
        one_ahead(_batches(plan, frames, size, pinned=_on_cuda(encoder))) as batches,
    ):
        for planned in plan:
            rows: list[np.ndarray] = [np.empty((0, encoder.dim), np.float16)]
            skipped: dict[str, str] = {}
            for batch in islice(batches, -(-len(planned) // size)):
                if batch.pixels is not None:
                    rows.append(_half(encoder.encode_pixels(batch.pixels), encoder.id))
                skipped |= batch.skipped
                finished += len(batch.planned)
                pace.at(finished)
            hashes = tuple(image for image in planned if image not in skipped)
            recipe = f"batches of {size}, {torch.get_num_threads()} threads"
            yield Shard(tuple(planned), hashes, np.concatenate(rows), skipped, recipe)


def _batches(
    plan: Sequence[Sequence[str]], frames: Iterator[Frame], size: int, *, pinned: bool = False
) -> Iterator[_Batch]:
    """`frames` yields the images of the plan in its order; no batch spans two shards."""
    for planned in plan:
        for start in range(0, len(planned), size):
            batch = dict(zip(planned[start : start + size], islice(frames, size), strict=False))
            skipped = {image: frame for image, frame in batch.items() if isinstance(frame, str)}
            pixels = [torch.from_numpy(frame) for frame in batch.values() if not isinstance(frame, str)]
            stacked = torch.stack(pixels) if pixels else None
            yield _Batch(tuple(batch), skipped, stacked.pin_memory() if stacked is not None and pinned else stacked)


@contextmanager
def computing_threads(threads: int) -> Iterator[None]:
    """Within it torch computes with so many threads; 0 changes nothing."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _on_cuda(encoder: Encoder) -> bool:
    visual = getattr(encoder, "visual", None)
    return isinstance(visual, nn.Module) and any(weights.is_cuda for weights in visual.parameters())


def _out_of_memory(error: RuntimeError) -> bool:
    return isinstance(error, torch.cuda.OutOfMemoryError) or any(
        words in str(error) for words in ("MPS backend out of memory", "not enough memory")
    )


def _half(embedding: Float[Tensor, "n d"], encoder: str) -> np.ndarray:
    half = embedding.to(torch.float16)
    if not bool(torch.isfinite(half).all()):
        raise EncoderError(f"{encoder} made an embedding that is not finite", hint="load it with precision fp32")
    return half.numpy()


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
