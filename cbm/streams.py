"""Embeddings that may lie on disk, row by row: read when they are asked for, in an order that mixes them.

An array, a memory map and a tensor all do as `Rows`, and so does any object that has a shape and gives the rows at a
slice or at positions. Neither memory nor the result depends on how they are cut into files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Float16, Int
from numpy.typing import NDArray
from torch import Tensor

from cbm.embedding_store import EmbeddingStore
from cbm.errors import DataError

ROWS_AT_ONCE = 4096  # embeddings that are looked at together
PIECE = 1024  # neighbours that are read in one go
WINDOW = 64  # pieces that are mixed with each other


@runtime_checkable
class Rows(Protocol):
    """Embeddings `[n d]` of which some are read at a time."""

    @property
    def shape(self) -> Any:
        """`(n, d)`."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any:
        """Those at a slice, or at an array of positions, as an array or a tensor."""


@dataclass(frozen=True)
class StoredRows:
    """The embeddings of these images in a store, as `Rows`; each shard is read when one of its rows is asked for."""

    store: EmbeddingStore
    contract: str
    images: Sequence[str]

    @property
    def shape(self) -> tuple[int, int]:
        """`(n, d)`."""
        return len(self), self[:1].shape[1]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> Float16[np.ndarray, "m d"]:
        some = self.images[rows] if isinstance(rows, slice) else [self.images[i] for i in rows.tolist()]
        return self.store.matrix(self.contract, some, dtype=np.float16)


def rows_at(x: Rows, rows: slice | Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
    """These embeddings in single precision."""
    if isinstance(x, Tensor):
        return x[rows].float()
    return torch.from_numpy(np.asarray(x[rows if isinstance(rows, slice) else rows.numpy()], np.float32))


def blocks(x: Rows, size: int = ROWS_AT_ONCE) -> Iterator[Float[Tensor, "_ d"]]:
    """All embeddings, in their order."""
    for start in range(0, len(x), size):
        yield rows_at(x, slice(start, min(start + size, len(x))))


@dataclass(frozen=True)
class Shape:
    """Where embeddings lie: their mean `[d]`, the root of their mean squared distance from it, and a hash of all."""

    centre: Float[Tensor, "d"]
    scale: float
    digest: str


def shape_of(x: Rows) -> Shape:
    """In one pass, in double precision; the same for rows in half precision and for the same numbers in single.

    Raises
    ------
    DataError
        If a number is not finite.
    """
    first = rows_at(x, slice(0, 1)).double().mean(0)  # differences from it are exact where all are the same
    total, squared, digest = torch.zeros_like(first), 0.0, sha256()
    for i, block in enumerate(blocks(x)):
        wrong = torch.nonzero(~torch.isfinite(block).all(1)).flatten()
        if len(wrong):
            raise DataError(f"embedding {i * ROWS_AT_ONCE + int(wrong[0])} is not finite", hint="embed it again")
        away = block.double() - first
        total += away.sum(0)
        squared += float(away.square().sum())
        digest.update(block.contiguous().numpy().data)
    mean = total / max(len(x), 1)
    spread = max(squared / max(len(x), 1) - float(mean.square().sum()), 0.0)
    return Shape((first + mean).float(), spread**0.5, digest.hexdigest())


@dataclass(frozen=True)
class Scaled:
    """Embeddings of mean zero and mean square length 1, which are made so when they are read."""

    x: Rows
    shape: Shape

    def __len__(self) -> int:
        return len(self.x)

    def at(self, rows: slice | Int[Tensor, "b"]) -> Float[Tensor, "b d"]:
        """Those at these positions."""
        return (rows_at(self.x, rows) - self.shape.centre) / self.shape.scale

    def some(self, most: int) -> Int[Tensor, "m"]:
        """Positions at even distances, of all or of so many."""
        return torch.arange(0, len(self), max(1, -(-len(self) // most)))


def shuffled(n: int, batch: int, seed: int) -> Iterator[Int[Tensor, "_"]]:
    """Every position once, `batch` at a time, mixed within windows of neighbours that were themselves mixed.

    Pieces of neighbouring rows are dealt at random into windows, and the rows of a window at random into batches: disks
    read in long stretches, and no more than a window has to stay in memory for that. Up to 65,536 rows are one window,
    which any order can come out of.

    Examples
    --------
    >>> sorted(position for rows in shuffled(10, 4, seed=0) for position in rows.tolist())
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    draw = torch.Generator().manual_seed(seed)
    pieces = torch.randperm(-(-n // PIECE), generator=draw) if n > PIECE * WINDOW else torch.arange(-(-n // PIECE))
    left = torch.empty(0, dtype=torch.int64)
    for window in torch.split(pieces, WINDOW):
        rows = (window[:, None] * PIECE + torch.arange(PIECE)).flatten()
        rows = rows[rows < n]
        left = torch.cat([left, rows[torch.randperm(len(rows), generator=draw)]])
        whole = len(left) // batch * batch
        yield from torch.split(left[:whole], batch) if whole else ()
        left = left[whole:]
    if len(left):
        yield left
