"""Embeds a data set on a Ray cluster, for those who run one; needs the extra `ray`.

Ray Data reads a list of shards and hands them to a pool of actors, each of which has loaded the encoder once and writes
whole shards into the store. So the files are those of `cbm.embeddings.embed_images`, and a run can be continued by either.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from cbm.data import ImageDataset
from cbm.embedding_store import EmbeddingStore
from cbm.embeddings import SHARD_SIZE, Embedded, Skipped, embed_images
from cbm.encoders import Encoder
from cbm.errors import UsageError


def embed_on_ray(
    dataset: ImageDataset,
    load: Callable[[], Encoder],
    store: EmbeddingStore,
    *,
    actors: int = 2,
    cpus: float = 1.0,
    gpus: float = 0.0,
    batch_size: int = 32,
    shard_size: int = SHARD_SIZE,
) -> Embedded:
    """Make sure that the store has every image, with actors on the cluster that `ray.init` has joined, or a new one.

    Parameters
    ----------
    load
        Makes the encoder, in each actor: `functools.partial(load_encoder, "builtin:photo")`.
    store
        In a folder that all nodes see by the same path, like the images.
    cpus, gpus
        What each actor reserves.

    Raises
    ------
    UsageError
        If Ray is not installed.
    """
    try:
        import ray.data
    except ImportError as error:
        raise UsageError("Ray is not installed", hint="pip install 'pellucid[ray]'") from error

    first = dict(zip(reversed(dataset.hashes), map(str, reversed(dataset.paths)), strict=True))
    every = list(dict.fromkeys(dataset.hashes))
    pieces = [every[start : start + shard_size] for start in range(0, len(every), shard_size)]
    shards = [{"hashes": piece, "paths": [first[image] for image in piece]} for piece in pieces]
    done = (
        ray.data.from_items(shards, override_num_blocks=max(len(shards), 1))
        .map(
            _Embedding,
            fn_constructor_args=(load, str(store.root), batch_size, shard_size),
            compute=ray.data.ActorPoolStrategy(size=actors),
            num_cpus=cpus,
            num_gpus=gpus,
        )
        .take_all()
    )
    reasons = store.skipped(done[0]["contract"]) if done else {}
    images = zip(dataset.ids, dataset.paths, dataset.hashes, strict=True)
    skipped = tuple(Skipped(id, Path(path), reasons[image]) for id, path, image in images if image in reasons)
    return Embedded(sum(row["computed"] for row in done), sum(row["reused"] for row in done), skipped)


class _Embedding:
    """What an actor does: one row is one shard."""

    def __init__(self, load: Callable[[], Encoder], root: str, batch_size: int, shard_size: int) -> None:
        self.encoder, self.store = load(), EmbeddingStore(root)
        self.batch_size, self.shard_size = batch_size, shard_size

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        hashes, paths = tuple(row["hashes"]), tuple(map(Path, row["paths"]))
        labels, splits = np.zeros(len(hashes), np.int64), np.full(len(hashes), "train")
        shard = ImageDataset("shard", hashes, paths, labels, ("",), splits, hashes=hashes)
        sizes: dict[str, Any] = {"batch_size": self.batch_size, "shard_size": self.shard_size}
        done = embed_images(shard, self.encoder, self.store, **sizes)
        return {"computed": done.computed, "reused": done.reused, "contract": self.encoder.contract}
