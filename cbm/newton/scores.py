"""Centred concept scores, as a table or as factors of one, concept after concept.

Centring changes nothing but the biases, which are free, and keeps float32 accurate when scores share a large mean.
"""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.linear_scores import LinearScores
from cbm.newton.images import Images

HELD_NUMBERS = 2**29  # scores of working concepts that are kept: two gigabytes in float32


@runtime_checkable
class Scores(Protocol):
    """Scores of the images that are here, less the mean over all images.

    Attributes
    ----------
    means
        What was taken off, `[k]`.
    images
        All images, here and in other processes.
    selects
        Whether a product with a few of the concepts costs less than one with all.
    """

    means: Float[Tensor, "k"]
    images: Images
    selects: bool

    def logits(self, weight: Float[Tensor, "c k"]) -> Float[Tensor, "c n"]:
        """Weights times scores."""
        ...

    def gradient(
        self, residual: Float[Tensor, "c n"], concepts: Int[Tensor, "u"] | None = None
    ) -> Float[Tensor, "c k"]:
        """Mean over all images of residual times score; anything may stand for concepts that are not asked for."""
        ...

    def hold(self, concepts: Int[Tensor, "u"]) -> None:
        """Prepare for calls of `rows` for some of these."""
        ...

    def rows(self, concepts: Int[Tensor, "m"], out: Float[Tensor, "m n"]) -> None:
        """Write the scores of these concepts."""
        ...


class Stored:
    """A table, `[k n]`."""

    selects = True

    def __init__(self, s: Float[Tensor, "n k"], images: Images) -> None:
        self.images = images
        self.means = images.mean(s.sum(0, dtype=torch.float64)).to(s.dtype)
        self._columns = (s - self.means).T.contiguous()

    def logits(self, weight: Float[Tensor, "c k"]) -> Float[Tensor, "c n"]:
        """As `Scores.logits`."""
        return weight @ self._columns

    def gradient(
        self, residual: Float[Tensor, "c n"], concepts: Int[Tensor, "u"] | None = None
    ) -> Float[Tensor, "c k"]:
        """As `Scores.gradient`, of all."""
        return self.images.mean(residual @ self._columns.T).to(residual.dtype)

    def hold(self, concepts: Int[Tensor, "u"]) -> None:
        """Nothing to do."""

    def rows(self, concepts: Int[Tensor, "m"], out: Float[Tensor, "m n"]) -> None:
        """As `Scores.rows`."""
        torch.index_select(self._columns, 0, concepts, out=out)


class Factored:
    """Embeddings and concepts, read in blocks; the scores of working concepts are held while there is room."""

    selects = False

    def __init__(self, scores: LinearScores, images: Images) -> None:
        self.images, self._scores = images, scores
        total = torch.zeros(scores.x.shape[1], dtype=torch.float64)
        for _, block in scores.blocks():
            total += block.sum(0, dtype=torch.float64)
        self._centre = images.mean(total).to(scores.weight.dtype)
        self.means = scores.weight @ self._centre + scores.bias
        n, k = scores.shape
        room = HELD_NUMBERS * images.group.size // images.count  # as much in every process
        self._held = scores.weight.new_empty(min(k, room), n)
        self._place = torch.full((k,), -1)  # of a concept in what is held

    def logits(self, weight: Float[Tensor, "c k"]) -> Float[Tensor, "c n"]:
        """As `Scores.logits`, on what is held or by way of the embeddings' dimensions."""
        used = torch.nonzero(weight.any(0)).flatten()
        held = self._table_of(used)
        if held is not None:
            on_held = weight.new_zeros(len(weight), len(held))
            on_held[:, self._place[used]] = weight[:, used]
            return on_held @ held
        out = weight.new_empty(len(weight), len(self._scores))
        self._multiply(weight @ self._scores.weight, out, torch.arange(len(weight)))
        return out

    def gradient(
        self, residual: Float[Tensor, "c n"], concepts: Int[Tensor, "u"] | None = None
    ) -> Float[Tensor, "c k"]:
        """As `Scores.gradient`, on what is held or by way of the embeddings' dimensions."""
        held = None if concepts is None else self._table_of(concepts)
        if held is not None:
            return self.images.mean(residual @ held.T).to(residual.dtype)[:, self._place]
        total = torch.zeros(len(residual), len(self._centre), dtype=torch.float64)
        for where, block in self._scores.blocks(self._centre):
            total += residual[:, where] @ block
        return self.images.mean(total).to(residual.dtype) @ self._scores.weight.T

    def hold(self, concepts: Int[Tensor, "u"]) -> None:
        """Compute those that are not held yet, in one pass; others make room for them."""
        missing = concepts[self._place[concepts] < 0]
        if len(missing) > len(self._free()):
            keep = torch.zeros(len(self._place), dtype=torch.bool).index_fill_(0, concepts, True)
            self._place[~keep] = -1
        free = self._free()
        missing = missing[: len(free)]
        if len(missing):
            self._place[missing] = free[: len(missing)]
            self._multiply(self._scores.weight[missing], self._held, self._place[missing])

    def rows(self, concepts: Int[Tensor, "m"], out: Float[Tensor, "m n"]) -> None:
        """As `Scores.rows`; reads the embeddings again if one of them is not held."""
        if self._are_held(concepts):
            torch.index_select(self._held, 0, self._place[concepts], out=out)
        else:
            self._multiply(self._scores.weight[concepts], out, torch.arange(len(concepts)))

    def _free(self) -> Int[Tensor, "f"]:
        taken = torch.zeros(len(self._held), dtype=torch.bool)
        taken[self._place[self._place >= 0]] = True
        return torch.nonzero(~taken).flatten()

    def _are_held(self, concepts: Int[Tensor, "u"]) -> bool:
        return bool((self._place[concepts] >= 0).all())

    def _table_of(self, concepts: Int[Tensor, "u"]) -> Float[Tensor, "h n"] | None:
        """What is held, if that has these concepts and is less to multiply with than the embeddings are to read."""
        taken = int(self._place.max()) + 1
        return self._held[:taken] if 0 < taken <= 2 * len(self._centre) and self._are_held(concepts) else None

    def _multiply(self, directions: Float[Tensor, "m d"], out: Float[Tensor, "h n"], into: Int[Tensor, "m"]) -> None:
        """Write the products of directions and embeddings into rows of a table."""
        for where, block in self._scores.blocks(self._centre):
            out[into, where] = directions @ block.T
