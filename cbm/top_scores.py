"""The highest-scoring concepts of every image and images of every concept, exactly, without ever holding all scores.

A score is the dot product of an image's embedding with a concept's vector. Images come in blocks, from anywhere: memory
holds one block, the concepts, and the answers. A first look in low precision leaves a few candidates, whose scores are
computed again in double precision; a bound on what rounding can have done says whether another one may belong among
them, and if so more are computed. So the answers do not depend on the precision of the first look, nor on the blocks.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.errors import DataError
from cbm.progress import OnProgress, silent

Blocks = Iterable[Tensor | np.ndarray]
SPARE = 22  # candidates beside the k that are asked for
CELLS = 2**23  # scores held at a time
IMAGES, CONCEPTS = 8192, 1024  # at a time, when images are ranked
PAIRS = 64  # scored at a time in double precision, so that they stay in a core's cache
LONGEST = 1e18  # an embedding's norm, so that no score overflows


@dataclass(frozen=True)
class Top:
    """The best of each row, the highest first; of equal scores the one that comes first.

    Attributes
    ----------
    values
        Scores, computed in double precision.
    positions
        Which concept, or which image in the order of the blocks.
    """

    values: Float[Tensor, "n k"]
    positions: Int[Tensor, "n k"]


def top_concepts(
    blocks: Blocks,
    concepts: Float[Tensor, "c d"],
    k: int,
    *,
    total: int | None = None,
    precision: torch.dtype | None = None,
    on_progress: OnProgress = silent,
) -> Top:
    """The `k` concepts with the highest scores for each image, `[n min(k, c)]`.

    Parameters
    ----------
    blocks
        Embeddings of the images, each block `[m d]` with any `m`: tensors, arrays, memory maps.
    concepts
        Their vectors.
    total
        Number of images, for the progress only.
    precision
        Of the first look, float32 or bfloat16; by default the one in which this processor is faster. It changes the
        time, never the answer.
    on_progress
        Told after each block; may raise to stop the work.

    Raises
    ------
    DataError
        If a shape does not fit, a number is not finite, there is no concept, or `k` is not positive.

    Examples
    --------
    >>> found = top_concepts([torch.eye(2)], torch.tensor([[1.0, 3.0], [2.0, 0.0], [2.0, 3.0]]), 2)
    >>> found.positions.tolist(), found.values.tolist()
    ([[1, 2], [0, 2]], [[2.0, 2.0], [3.0, 3.0]])
    """
    dtype = _precision(precision, k)
    given = _checked_concepts(concepts)
    database = _side(given, dtype, centred=True)
    rows, k = max(16, min(512, CELLS // len(given))), min(k, len(given))
    found, seen = [_nothing(0, k)], 0
    for block in _regrouped(blocks, given.shape[1], rows):
        found.append(_improved(_nothing(len(block), k), _side(block, dtype), database, 0))
        seen += len(block)
        _tell(on_progress, seen, total, len(given))
    return Top(torch.cat([top.values for top in found]).float(), torch.cat([top.positions for top in found]))


def top_images(
    blocks: Blocks,
    concepts: Float[Tensor, "c d"],
    k: int,
    *,
    total: int | None = None,
    precision: torch.dtype | None = None,
    on_progress: OnProgress = silent,
) -> Top:
    """The `k` images with the highest scores for each concept, `[c min(k, n)]`; everything else as in `top_concepts`.

    Examples
    --------
    >>> found = top_images([torch.eye(2), torch.ones(1, 2)], torch.tensor([[1.0, 3.0], [2.0, 0.0]]), 2)
    >>> found.positions.tolist(), found.values.tolist()
    ([[2, 1], [0, 2]], [[4.0, 3.0], [2.0, 2.0]])
    """
    dtype, seen = _precision(precision, k), 0
    given = _checked_concepts(concepts)
    sides = [_side(part, dtype) for part in torch.split(given, CONCEPTS)]
    best = [_nothing(len(side.given), k) for side in sides]
    for block in _regrouped(blocks, given.shape[1], IMAGES):
        database = _side(block, dtype, centred=True)
        best = [_improved(top, side, database, seen) for top, side in zip(best, sides, strict=True)]
        seen += len(block)
        _tell(on_progress, seen, total, len(given))
    values, positions = (
        torch.cat(parts)[:, :seen] for parts in zip(*((t.values, t.positions) for t in best), strict=True)
    )
    return Top(values.float(), positions)


@dataclass(frozen=True)
class _Side:
    """One of the two that are multiplied: as given, as first looked at, and how far the two may be apart."""

    given: Float[Tensor, "n d"]
    low: Float[Tensor, "n d"]
    centre: Float[Tensor, "d"]  # double; what was subtracted before `low`
    length: Float[Tensor, "n"]  # double, as `off`; before rounding to `low`
    off: Float[Tensor, "n"]  # length of what that rounding has changed

    def __getitem__(self, rows: Int[Tensor, "m"]) -> "_Side":
        return _Side(self.given[rows], self.low[rows], self.centre, self.length[rows], self.off[rows])


def _side(given: Float[Tensor, "n d"], dtype: torch.dtype, *, centred: bool = False) -> _Side:
    """Subtracting the mean of those that are ranked changes no order, and makes what is rounded smaller."""
    centre = given.mean(0) if centred else torch.zeros(given.shape[1])
    exact = given - centre if centred else given
    low = exact.to(dtype)
    return _Side(given, low, centre.double(), exact.norm(dim=1).double(), (exact - low).norm(dim=1).double())


def _nothing(n: int, k: int) -> Top:
    return Top(torch.full((n, k), -torch.inf, dtype=torch.float64), torch.full((n, k), -1))


def _improved(best: Top, queries: _Side, database: _Side, start: int) -> Top:
    """The best so far and those of another part of the database, whose first row has the position `start`."""
    low = queries.low @ database.low.T
    return _settled(best, low, queries, database, start, best.values.shape[1] + SPARE)


def _settled(best: Top, low: Float[Tensor, "n c"], queries: _Side, database: _Side, start: int, keep: int) -> Top:
    """The best of the `keep` that look best, or of more where these may miss one."""
    k, keep = best.values.shape[1], min(keep, low.shape[1])
    read, at = low.topk(keep, dim=1)
    shift = queries.given.double() @ database.centre
    slack = _slack(queries, database)
    highest = _bound(read, slack, shift, 1)
    least = best.values[:, -1]
    if keep >= k:
        least = least.maximum(_bound(read[:, k - 1], slack, shift, -1))
    rows, columns = torch.nonzero(highest >= least[:, None], as_tuple=True)
    exact = torch.full(read.shape, -torch.inf, dtype=torch.float64)
    exact[rows, columns] = _products(queries.given, rows, database.given, at[rows, columns])
    merged = _merged(best, exact, at + start)
    if keep == low.shape[1]:
        return merged
    unsure = torch.nonzero(highest[:, -1] >= merged.values[:, -1]).flatten()
    if len(unsure):
        may = _bound(low[unsure], slack[unsure], shift[unsure], 1) >= merged.values[unsure, -1:]
        enough = int(may.sum(1).max()) + 1
        some = Top(best.values[unsure], best.positions[unsure])
        again = _settled(some, low[unsure], queries[unsure], database, start, enough)
        merged.values[unsure], merged.positions[unsure] = again.values, again.positions
    return merged


def _slack(queries: _Side, database: _Side) -> Float[Tensor, "n"]:
    """How far a product of the rounded rows can be from that of the given ones, by Cauchy and Schwarz, and by summing in
    single and in double precision; the rounding of the result is not in it."""
    length, off = database.length.max(), database.off.max()
    here, there, terms = queries.length + queries.off, length + off, queries.low.shape[1] + 4
    summing = terms * (2.0**-24 * here * there + 2.0**-52 * here * (there + database.centre.norm()))
    slack: Tensor = 1.01 * (queries.off * length + here * off + summing) + 1e-30
    return slack


def _bound(
    low: Float[Tensor, "n *c"], slack: Float[Tensor, "n"], shift: Float[Tensor, "n"], sign: int
) -> Float[Tensor, "n *c"]:
    """The highest (sign 1) or lowest (-1) that the scores behind a first look can be; rises with `low`."""
    rounding = 0.51 * torch.finfo(low.dtype).eps
    read, apart = low.double(), shift + sign * slack
    return read + sign * rounding * read.abs() + (apart if low.dim() == 1 else apart[:, None])


def _products(
    a: Float[Tensor, "n d"], rows: Int[Tensor, "p"], b: Float[Tensor, "c d"], columns: Int[Tensor, "p"]
) -> Float[Tensor, "p"]:
    """Dot products of pairs in double precision, each summed in the same way wherever it stands."""
    parts = zip(torch.split(rows, PAIRS), torch.split(columns, PAIRS), strict=True)
    return torch.cat([b.index_select(0, j).double().mul_(a.index_select(0, i)).sum(1) for i, j in parts])


def _merged(best: Top, values: Float[Tensor, "n m"], positions: Int[Tensor, "n m"]) -> Top:
    """The best of both, sorted; the positions of `best` come before all others."""
    positions, order = positions.sort(dim=1)
    values = torch.cat([best.values, values.gather(1, order)], 1)
    positions = torch.cat([best.positions, positions], 1)
    values, order = values.sort(dim=1, descending=True, stable=True)
    k = best.values.shape[1]
    return Top(values[:, :k].contiguous(), positions.gather(1, order[:, :k]))


def _regrouped(blocks: Blocks, d: int, rows: int) -> Iterator[Float[Tensor, "_ d"]]:
    """The same rows in blocks of one size."""
    held, seen = torch.empty(0, d), 0
    for block in blocks:
        for start in range(0, len(block), rows):
            piece = _checked(block[start : start + rows], d, "image", seen)
            seen += len(piece)
            held = torch.cat([held, piece]) if len(held) else piece
            if len(held) >= rows:
                yield held[:rows]
                held = held[rows:]
    if len(held):
        yield held


def _checked_concepts(concepts: Float[Tensor, "c d"]) -> Float[Tensor, "c d"]:
    if not len(concepts):
        raise DataError("there is no concept to score images against")
    return _checked(concepts, concepts.shape[1], "concept", 0)


def _checked(block: Tensor | np.ndarray, d: int, what: str, start: int) -> Float[Tensor, "m d"]:
    rows = block.float() if isinstance(block, Tensor) else torch.from_numpy(np.array(block, np.float32))
    if rows.dim() != 2 or rows.shape[1] != d:
        raise DataError(f"embeddings of {d} numbers are needed, a block has the shape {list(rows.shape)}")
    wrong = torch.nonzero(~(rows.norm(dim=1) < LONGEST)).flatten()
    if len(wrong):
        raise DataError(
            f"the embedding of {what} {start + int(wrong[0])} is not finite, so nothing can be ranked",
            hint="leave it out, or embed it again",
        )
    return rows


def _precision(asked: torch.dtype | None, k: int) -> torch.dtype:
    if k < 1:
        raise DataError(f"the best {k} were asked for; at least one is needed")
    if asked is not None:
        return asked
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return torch.bfloat16 if fast() else torch.float32


def _tell(on_progress: OnProgress, seen: int, total: int | None, concepts: int) -> None:
    of = f" of {total:,}" if total else ""
    on_progress(min(1.0, seen / total) if total else 0.0, f"{seen:,}{of} images scored against {concepts:,} concepts")
