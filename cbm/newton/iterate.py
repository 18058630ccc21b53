"""Weights on their way to the optimum, and the small block of them that a class may move."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cbm.newton.problem import Penalty, Problem

Array = NDArray[np.float64]
SMALLEST_CURVATURE = 1e-5  # of p (1 - p): a confident image must not make the model flat
KEPT_NUMBERS = 2**27  # of all classes' blocks together: half a gigabyte in float32


@dataclass
class Iterate:
    """Weights `[c k]`, biases `[c]` and the logits `[c n]` that belong to them."""

    problem: Problem
    penalty: Penalty
    weight: Float[Tensor, "c k"]
    bias: Float[Tensor, "c"]
    logits: Float[Tensor, "c n"]

    def objective(self) -> float:
        """Loss plus penalty."""
        return self.problem.loss.value(self.logits) + self.penalty(self.weight)

    def block_values(self, c: int, block: "Block") -> Float[Tensor, "m1"]:
        """A class's weights on a block, its bias last."""
        return torch.cat([self.weight[c, block.concepts], self.bias[c : c + 1]])

    def set_block(self, c: int, block: "Block", values: Float[Tensor, "m1"]) -> None:
        """Give a block new values; the logits are the caller's to move."""
        self.weight[c, block.concepts], self.bias[c] = values[:-1], values[-1]

    def scores(self, block: "Block") -> Float[Tensor, "m1 n"]:
        """A block's centred scores and a row of ones; kept in the block where all blocks together stay small."""
        if block.scores is not None:
            return block.scores
        scores = self.problem.columns.new_ones(len(block.concepts) + 1, self.logits.shape[1])
        torch.index_select(self.problem.columns, 0, block.concepts, out=scores[:-1])
        if len(self.weight) * scores.numel() <= KEPT_NUMBERS:
            block.scores = scores
        return scores

    def curvature(self, block: "Block", p: Float[Tensor, "n"]) -> Array:
        """Hessian of the loss in a block, at probabilities ``p`` of its class or as it was last computed."""
        if block.curvature is None:
            scores, weights = self.scores(block), (p * (1 - p)).clamp_min(SMALLEST_CURVATURE)
            block.curvature = ((scores * weights) @ scores.T / len(p)).double().numpy()
        return block.curvature

    def working_sets(self, gradient: Float[Tensor, "c k"]) -> list["Block"]:
        """Concepts that may move: those in use and the worst violators of the l1 box, at most as many again."""
        used = self.weight != 0
        excess = torch.where(used, 0.0, gradient.abs() - self.penalty.l1)
        room = max(10, int(used.sum(1).double().mean())) if self.penalty.l1 > 0 else gradient.shape[1]
        blocks = []
        for c in range(len(gradient)):
            entering = torch.nonzero(excess[c] > 0).flatten()
            if len(entering) > room:
                entering = entering[excess[c, entering].topk(room).indices]
            blocks.append(Block(torch.cat([torch.nonzero(used[c]).flatten(), entering])))
        return blocks


@dataclass
class Block:
    """Concepts of one class that may move, and what is known of them from step to step.

    Attributes
    ----------
    concepts
        Their positions.
    scores, curvature
        See `Iterate.scores` and `Iterate.curvature`; the bias comes last.
    """

    concepts: Int[Tensor, "m"]
    scores: Float[Tensor, "m1 n"] | None = None
    curvature: Array | None = None

    def shrink(self, kept: NDArray[np.bool_]) -> None:
        """Leave out concepts, for good until the next gradient."""
        if kept.all():
            return
        with_bias = np.append(kept, True)
        self.concepts = self.concepts[torch.from_numpy(kept)]
        if self.scores is not None:
            self.scores = self.scores[torch.from_numpy(with_bias)]
        if self.curvature is not None:
            self.curvature = self.curvature[np.ix_(with_bias, with_bias)]
