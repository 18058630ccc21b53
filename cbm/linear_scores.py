"""Concept scores that are linear in the embeddings, computed where they are needed and never all at once."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

ROWS = 4096  # embeddings at a time: 8 MB of 512 dimensions


@dataclass(frozen=True)
class LinearScores:
    """The table `x @ weight.T + bias` of `n` images and `k` concepts, as its factors.

    Attributes
    ----------
    x
        Embeddings `[n d]` of any floating type; may be a memory map (`torch.from_numpy`).
    weight, bias
        Shapes `[k d]` and `[k]`; all arithmetic is in their precision.
    rows
        Embeddings that are read at a time.
    """

    x: Float[Tensor, "n d"]
    weight: Float[Tensor, "k d"]
    bias: Float[Tensor, "k"]
    rows: int = ROWS

    def __len__(self) -> int:
        return len(self.x)

    @property
    def shape(self) -> tuple[int, int]:
        """Images and concepts."""
        return len(self.x), len(self.weight)

    def blocks(self, less: Float[Tensor, "d"] | None = None) -> Iterator[tuple[slice, Float[Tensor, "b d"]]]:
        """Which images, and their embeddings `less` a vector, a few at a time; each block takes the place of the last."""
        buffer = self.weight.new_empty(min(self.rows, len(self.x)), self.x.shape[1])
        for start in range(0, len(self.x), self.rows):
            where = slice(start, min(start + self.rows, len(self.x)))
            block = buffer[: where.stop - start].copy_(self.x[where])
            yield where, block if less is None else block.sub_(less)

    def logits(self, weight: Float[Tensor, "c k"], bias: Float[Tensor, "c"]) -> Float[Tensor, "n c"]:
        """Logits of a linear head on the scores."""
        onto, offset = (weight @ self.weight).T, bias + weight @ self.bias
        out = onto.new_empty(len(self.x), len(bias))
        for where, block in self.blocks():
            torch.addmm(offset, block, onto, out=out[where])
        return out


def head_logits(
    s: Float[Tensor, "n k"] | LinearScores, weight: Float[Tensor, "c k"], bias: Float[Tensor, "c"]
) -> Float[Tensor, "n c"]:
    """Logits of a linear head on scores of either kind."""
    return s.logits(weight, bias) if isinstance(s, LinearScores) else torch.addmm(bias, s, weight.T)
