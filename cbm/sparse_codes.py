"""Codes of which few are not zero: how the largest are found, and products that cost what they have.

few = largest_of_rows(read, 32)
few.times(decoder)               # [n h] @ [h d]
few.products(down, decoder)      # (down @ decoder.T) where few is not zero
few.transposed_times(x)          # [n h].T @ [n d]
"""

import warnings
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

from cbm.process_group import ALONE, Group

BLOCK = 8  # columns of which only the largest is looked at first


@dataclass(frozen=True)
class Turn:
    """The entries of a `Sparse` column after column: which comes when, its row, and where each column starts."""

    order: Int[Tensor, "m"]
    rows: Int[Tensor, "m"]
    starts: Int[Tensor, "h"]


@dataclass(frozen=True)
class Sparse:
    """Entries of a matrix that are not zero, row after row, in each row from left to right.

    Attributes
    ----------
    starts
        `[n + 1]`, where in the entries each row starts, and the end.
    columns, values
        `[m]`, one an entry.
    width
        Columns of the matrix.
    """

    starts: Int[Tensor, "_"]
    columns: Int[Tensor, "m"]
    values: Float[Tensor, "m"]
    width: int

    def times(self, matrix: Float[Tensor, "h d"]) -> Float[Tensor, "n d"]:
        """The product with a matrix."""
        return embedding_bag(self.columns, matrix, offsets=self.starts[:-1], per_sample_weights=self.values, mode="sum")

    def products(self, left: Float[Tensor, "n d"], right: Float[Tensor, "h d"]) -> "Sparse":
        """`left @ right.T` at the entries, zero elsewhere."""
        with warnings.catch_warnings():  # torch says once that these tensors are in beta
            warnings.simplefilter("ignore", UserWarning)
            pattern = torch.sparse_csr_tensor(
                self.starts,
                self.columns,
                torch.zeros_like(self.values),
                (len(left), self.width),
                check_invariants=False,
            )
            found = torch.sparse.sampled_addmm(pattern, left, right.T, beta=0)
        return replace(self, values=found.values())

    def plus(self, number: float | Float[Tensor, "m"]) -> "Sparse":
        """Every entry and a number, or a number of its own."""
        return replace(self, values=self.values + number)

    def only(self, kept: Int[Tensor, "k"]) -> "Sparse":
        """The entries at these places, which rise."""
        counts = torch.bincount(self.rows()[kept], minlength=len(self.starts) - 1)
        return replace(self, starts=_starts(counts), columns=self.columns[kept], values=self.values[kept])

    def largest_of_rows(self, k: int) -> "Sparse":
        """The `k` largest positive entries of each row."""
        n, first = len(self.starts) - 1, self.starts[:-1]
        wide = max(k, int(self.starts.diff().max()) if n else 0)
        places = torch.arange(len(self.values)) - first.repeat_interleave(self.starts.diff())
        whole = torch.full((n, wide), -torch.inf)
        whole[self.rows(), places] = self.values
        best = torch.from_numpy(np.sort(_last(whole, k), axis=1))  # [n k]
        return self.only((first[:, None] + best)[whole.gather(1, best) > 0])

    def largest_of_all(self, count: int, group: Group = ALONE) -> "Sparse":
        """The `count` largest positive entries, of all rows of all processes."""
        mine = self.values.numpy()
        at = np.flatnonzero(mine > 0)
        if len(at) > count:
            at = at[np.sort(np.argpartition(mine[at], len(at) - count)[len(at) - count :])]
        return self.only(torch.from_numpy(at[mine[at] >= _least_of_all(mine[at], count, group)]))

    def by_columns(self) -> Turn:
        """The order of the entries that goes column after column."""
        order = self.columns.to(torch.int32).argsort(stable=True)
        counts = self.column_counts()
        return Turn(order, self.rows()[order], counts.cumsum(0) - counts)

    def transposed_times(self, matrix: Float[Tensor, "n d"], turn: Turn) -> Float[Tensor, "h d"]:
        """The product of the transposed matrix with another one; `turn` as `by_columns` has it."""
        values = self.values[turn.order]
        return embedding_bag(turn.rows, matrix, offsets=turn.starts, per_sample_weights=values, mode="sum")

    def rows(self) -> Int[Tensor, "m"]:
        """The row of each entry."""
        return torch.repeat_interleave(self.starts.diff())

    def row_sums(self) -> Float[Tensor, "n"]:
        """Of each row."""
        return torch.zeros(len(self.starts) - 1).index_add_(0, self.rows(), self.values)

    def column_sums(self) -> Float[Tensor, "h"]:
        """Of each column."""
        return torch.bincount(self.columns, weights=self.values, minlength=self.width).float()

    def column_counts(self) -> Int[Tensor, "h"]:
        """Entries of each column."""
        return torch.bincount(self.columns, minlength=self.width)


def largest_of_rows(read: Float[Tensor, "n h"], k: int) -> Sparse:
    """The `k` largest entries of each row, without those that are not positive.

    Notes
    -----
    The columns are dealt into blocks. The `k` blocks with the largest maxima hold the `k` largest entries, so the others
    are not looked at again.
    """
    n, h = read.shape
    k = min(k, h)
    if h % BLOCK or h < 2 * BLOCK * k:
        values, columns = _plainly(read, k)
    else:
        blocks = read.view(n, BLOCK, h // BLOCK)
        best = torch.from_numpy(np.sort(_last(blocks.amax(1), k), axis=1))  # [n k]
        inside = blocks.gather(2, best[:, None, :].expand(-1, BLOCK, -1)).view(n, BLOCK * k)
        values, places = _plainly(inside, k)
        columns = places // k * (h // BLOCK) + best.gather(1, places % k)
    counts = (values > 0).sum(1)
    if int(counts.sum()) < values.numel():
        columns, values = columns[values > 0], values[values > 0]
    return Sparse(_starts(counts), columns.flatten(), values.flatten(), h)


def _plainly(read: Float[Tensor, "n h"], k: int) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]]:
    """The `k` largest entries of each row and their columns, from left to right."""
    rows = read.numpy()
    least = np.partition(rows, rows.shape[1] - k, axis=1)[:, rows.shape[1] - k]
    at = np.flatnonzero(rows >= least[:, None])
    if len(at) == len(rows) * k:
        columns = torch.from_numpy(at % rows.shape[1]).view(-1, k)
    else:  # equal entries at the border: some of them have to go
        columns = torch.from_numpy(np.sort(_last(read, k), axis=1))
    return read.gather(1, columns), columns


def _last(read: Float[Tensor, "n h"], k: int) -> NDArray[np.int64]:
    """Columns of the `k` largest entries of each row."""
    return np.argpartition(read.numpy(), read.shape[1] - k, axis=1)[:, read.shape[1] - k :]


def largest_of_all(read: Float[Tensor, "n h"], count: int, group: Group = ALONE) -> Sparse:
    """The largest `count` entries of the whole matrix, without those that are not positive.

    In a group each process has some rows of the matrix, and gets their part of the answer.

    Notes
    -----
    As many blocks of columns as entries are wanted have a maximum above some number: what is below it is not among them.
    """
    n, h = read.shape
    flat = read.reshape(-1).numpy()
    maxima = (read.view(n, BLOCK, h // BLOCK).amax(1) if h % BLOCK == 0 else read).reshape(-1).numpy()
    least = np.partition(maxima, len(maxima) - count)[len(maxima) - count] if count < len(maxima) else -np.inf
    at = torch.from_numpy(np.flatnonzero(flat >= max(least, np.finfo(np.float32).tiny)))
    return at_positions(at, read.reshape(-1)[at], (n, h)).largest_of_all(count, group)


def _least_of_all(mine: NDArray[np.float32], count: int, group: Group) -> np.float32 | float:
    """The last of the largest `count` among what all processes have; each has `count` at most."""
    if group.size == 1:
        return -np.inf
    all_ = torch.zeros(group.size, count)
    all_[group.rank, : len(mine)] = torch.from_numpy(mine)
    group.sum_(all_)
    return float(all_.flatten().topk(count, sorted=True).values[-1])


def positive(read: Float[Tensor, "n h"], *, at_most: float) -> Sparse | None:
    """The positive entries; `None` if they are more than this share of all."""
    there = read.reshape(-1).numpy() > 0
    if np.count_nonzero(there) > at_most * read.numel():
        return None
    places = torch.from_numpy(np.flatnonzero(there))
    return at_positions(places, read.reshape(-1)[places], (len(read), read.shape[1]))


def at_positions(at: Int[Tensor, "m"], values: Float[Tensor, "m"], shape: tuple[int, int]) -> Sparse:
    """Entries at positions that rise, of the matrix laid out row after row."""
    n, h = shape
    return Sparse(_starts(torch.bincount(at // h, minlength=n)), at % h, values, h)


def _starts(counts: Int[Tensor, "n"]) -> Int[Tensor, "_"]:
    return torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
