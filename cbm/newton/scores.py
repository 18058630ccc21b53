"""Centred concept scores, as a table or as factors of one, concept after concept.

Centring changes nothing but the biases, which are free, and keeps float32 accurate when scores share a large mean.
"""

from collections.abc import Iterator
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

    def gradient(self, residual: Float[Tensor, "c n"]) -> Float[Tensor, "c k"]:
        """Mean over all images of residual times score."""
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

    def gradient(self, residual: Float[Tensor, "c n"]) -> Float[Tensor, "c k"]:
        """As `Scores.gradient`."""
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
        self._held = scores.weight.new_empty(min(k, HELD_NUMBERS // n), n)
        self._place = torch.full((k,), -1)  # of a concept in what is held

    def logits(self, weight: Float[Tensor, "c k"]) -> Float[Tensor, "c n"]:
        """As `Scores.logits`, by way of the embeddings' dimensions."""
        out = weight.new_empty(len(weight), len(self._scores))
        self._multiply(weight @ self._scores.weight, out, torch.arange(len(weight)))
        return out

    def gradient(self, residual: Float[Tensor, "c n"]) -> Float[Tensor, "c k"]:
        """As `Scores.gradient`, by way of the embeddings' dimensions."""
        total = torch.zeros(len(residual), len(self._centre), dtype=torch.float64)
        for where, block in self._blocks():
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
        place = self._place[concepts]
        if bool((place >= 0).all()):
            torch.index_select(self._held, 0, place, out=out)
        else:
            self._multiply(self._scores.weight[concepts], out, torch.arange(len(concepts)))

    def _free(self) -> Int[Tensor, "f"]:
        taken = torch.zeros(len(self._held), dtype=torch.bool)
        taken[self._place[self._place >= 0]] = True
        return torch.nonzero(~taken).flatten()

    def _blocks(self) -> Iterator[tuple[slice, Float[Tensor, "b d"]]]:
        for where, block in self._scores.blocks():
            yield where, block - self._centre

    def _multiply(self, directions: Float[Tensor, "m d"], out: Float[Tensor, "h n"], into: Int[Tensor, "m"]) -> None:
        """Write the products of directions and embeddings into rows of a table."""
        for where, block in self._blocks():
            out[into, where] = directions @ block.T
