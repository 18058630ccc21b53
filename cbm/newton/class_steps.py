"""Proximal Newton steps of one class, all other classes held.

The loss is replaced by its quadratic model over the class's few concepts, the model plus penalty is minimised exactly,
and the step is taken as far as the true objective falls.
"""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cbm.newton.iterate import Block, Iterate
from cbm.newton.lasso import minimise_lasso

Array = NDArray[np.float64]
LARGEST_SHIFT = 8.0  # of a logit in one step: keeps exp() accurate in float32
SHORTEST = 1e-4  # share of a step
SUFFICIENT = 1e-3  # share of the promised fall


def go_round(iterate: Iterate, blocks: list[Block]) -> float:
    """One step for each class in turn; how much the objective fell."""
    iterate.problem.loss.start_round(iterate.logits)
    return sum(_improve(iterate, c, block) for c, block in enumerate(blocks))


def _improve(iterate: Iterate, c: int, block: Block) -> float:
    loss = iterate.problem.loss
    p = loss.row(c)
    scores = iterate.scores(block)
    slope = iterate.problem.scores.images.mean(scores @ (p - loss.target[c])).numpy()
    start = iterate.block_values(c, block).double().numpy()
    move = _minimiser(iterate, iterate.curvature(block, p, scores), slope, start) - start
    shift = torch.from_numpy(move).to(p.dtype) @ scores
    share, fall = _search(iterate, c, slope, start, move, shift)
    if share < 1:
        block.curvature = None  # it was too old, or the objective is far from its quadratic model
    if share > 0:
        _take(iterate, c, block, start + share * move, share * shift)
    return fall


def _minimiser(iterate: Iterate, curvature: Array, slope: Array, start: Array) -> Array:
    """Minimiser of the quadratic model plus the penalty; the bias has none."""
    l1, l2 = np.full(len(start), iterate.penalty.l1), np.full(len(start), iterate.penalty.l2)
    l1[-1] = l2[-1] = 0.0
    rounding = 10 * torch.finfo(iterate.weight.dtype).eps * curvature.diagonal().max()
    damped = curvature + rounding * np.eye(len(start))  # towards `start`: optima stay where they are
    return minimise_lasso(damped + np.diag(l2), damped @ start - slope, l1, start, tolerance=1e-3 * rounding)


def _search(
    iterate: Iterate, c: int, slope: Array, start: Array, move: Array, shift: Float[Tensor, "n"]
) -> tuple[float, float]:
    """Largest share of the step, halving, at which the objective falls enough; and how much it falls."""
    loss, before = iterate.problem.loss, _penalty(iterate, start)
    promised = float(slope @ move) + _penalty(iterate, start + move) - before
    share = min(1.0, LARGEST_SHIFT / max(iterate.problem.scores.images.largest(shift), 1e-30))
    while share > SHORTEST and promised < 0:
        change = loss.change(c, share * shift) + _penalty(iterate, start + share * move) - before
        if change <= SUFFICIENT * share * promised:
            return share, -change
        share /= 2
    return 0.0, 0.0


def _penalty(iterate: Iterate, values: Array) -> float:
    w = values[:-1]
    return iterate.penalty.l1 * float(np.abs(w).sum()) + iterate.penalty.l2 / 2 * float(w @ w)


def _take(iterate: Iterate, c: int, block: Block, values: Array, shift: Float[Tensor, "n"]) -> None:
    """Move one class, and keep only the concepts that are in use for its next steps."""
    iterate.set_block(c, block, torch.from_numpy(values).to(iterate.weight.dtype))
    iterate.logits[c] += shift
    iterate.problem.loss.commit(c, shift)
    block.shrink(values[:-1] != 0)
