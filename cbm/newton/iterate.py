"""Weights on their way to the optimum, and the small block of them that a class may move."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cbm.newton.problem import Penalty, Problem

Array = NDArray[np.float64]
SMALLEST_CURVATURE = 1e-5  # of p (1 - p): a confident image must not make the model flat
AT_ONCE = 2**14  # images in a sum of products: they stay near the processor, and sums accurate
KEPT_NUMBERS = 2**27  # of all classes' blocks together: half a gigabyte in float32


@dataclass
class Iterate:
    """Weights `[c k]`, biases `[c]` and the logits `[c n]` that belong to them."""

    problem: Problem
    penalty: Penalty
    weight: Float[Tensor, "c k"]
    bias: Float[Tensor, "c"]
    logits: Float[Tensor, "c n"]
    _space: Float[Tensor, "m1 n"] | None = None

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
        """A block's centred scores and a row of ones; kept in the block where all blocks together stay small.

        Otherwise they are good until the next call.
        """
        if block.scores is not None:
            return block.scores
        size, n = len(block.concepts) + 1, self.logits.shape[1]
        kept = len(self.weight) * size * n <= KEPT_NUMBERS
        if kept or self._space is None or len(self._space) < size:
            self._space = self.logits.new_empty(size, n)
        scores = self._space[:size]
        scores[-1] = 1.0
        self.problem.scores.rows(block.concepts, scores[:-1])
        if kept:
            block.scores, self._space = scores, None
        return scores

    def curvature(self, block: "Block", p: Float[Tensor, "n"], scores: Float[Tensor, "m1 n"]) -> Array:
        """Hessian of the loss in a block, at probabilities ``p`` of its class or as it was last computed."""
        if block.curvature is None:
            weights = (p * (1 - p)).clamp_min(SMALLEST_CURVATURE)
            total = torch.zeros(len(scores), len(scores), dtype=torch.float64)
            for some, of_some in zip(torch.split(scores, AT_ONCE, 1), torch.split(weights, AT_ONCE), strict=True):
                total += (some * of_some) @ some.T
            block.curvature = self.problem.scores.images.mean(total).numpy()
        return block.curvature

    def push(self, blocks: Sequence["Block"], step: Float[Tensor, "v"]) -> Float[Tensor, "c n"]:
        """Change of the logits by a change of weights and biases, which are one vector, block after block."""
        parts = torch.split(step, [len(block.concepts) + 1 for block in blocks])
        if self.problem.scores.selects:
            return torch.stack([part @ self.scores(block) for part, block in zip(parts, blocks, strict=True)])
        change = torch.zeros_like(self.weight)
        for c, (part, block) in enumerate(zip(parts, blocks, strict=True)):
            change[c, block.concepts] = part[:-1]
        return self.problem.scores.logits(change) + torch.stack([part[-1] for part in parts])[:, None]

    def pull(self, blocks: Sequence["Block"], residual: Float[Tensor, "c n"]) -> Float[Tensor, "v"]:
        """Gradient in weights and biases of a gradient in the logits."""
        images = self.problem.scores.images
        if self.problem.scores.selects:
            sums = torch.cat([self.scores(block) @ residual[c] for c, block in enumerate(blocks)])
            return images.mean(sums).to(residual.dtype)
        gradient = self.problem.scores.gradient(residual, torch.cat([block.concepts for block in blocks]))
        biases = images.mean(residual.sum(1)).to(residual.dtype)
        parts = [(gradient[c, block.concepts], biases[c : c + 1]) for c, block in enumerate(blocks)]
        return torch.cat([values for part in parts for values in part])

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
        self.problem.scores.hold(torch.unique(torch.cat([block.concepts for block in blocks])))
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
