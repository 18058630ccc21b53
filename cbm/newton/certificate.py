"""A lower bound of the best objective, from the dual problem.

Any table of probabilities whose class means equal the class frequencies bounds the optimum from below by its entropy,
less the conjugate of the penalty at its gradient. The current probabilities, made feasible and drawn some way towards
the labels, are such a table; at the optimum the bound is tight.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.newton.problem import Penalty, Problem


def dual_bound(problem: Problem, penalty: Penalty, p: Float[Tensor, "c n"], gradient: Float[Tensor, "c k"]) -> float:
    """Best bound on the line from the labels to the current probabilities, at a few points of it.

    Notes
    -----
    Where the gradient fits in the l1 box, the conjugate vanishes; the whole way it may be dear (with ``alpha`` = 0.99
    it divides by a hundredth of ``lam``) but wins at the optimum. For the lasso only the former is finite.
    """
    p, gradient = _feasible(problem, p, gradient)
    steepest = float(gradient.abs().max())
    inside = min(1.0, penalty.l1 / steepest) if steepest > 0 else 1.0
    shares = {inside, (1 + inside) / 2, 1.0} if penalty.l2 > 0 else {inside}
    loss = problem.loss
    return max(loss.entropy(torch.lerp(loss.target, p, t)) - penalty.conjugate(t * gradient) for t in shares)


def _feasible(
    problem: Problem, p: Float[Tensor, "c n"], gradient: Float[Tensor, "c k"]
) -> tuple[Float[Tensor, "c n"], Float[Tensor, "c k"]]:
    """Probabilities whose class means are the class frequencies, which free biases ask of a dual point.

    Mixes in as much of a constant distribution as cancels the excess. On centred scores, the constant's gradient is
    that of the empty head.
    """
    loss = problem.loss
    excess = problem.scores.images.mean(p.sum(1, dtype=torch.float64)) - loss.frequency
    odds = loss.odds(excess)
    constant = (loss.frequency - torch.where(odds > 0, excess / odds, 0.0)).clamp(0, 1)
    share = (odds / (1 + odds)).to(p.dtype)[:, None]
    mixed = torch.lerp(p, constant.to(p.dtype)[:, None].expand_as(p), share)
    return mixed, torch.lerp(gradient, problem.null_gradient(), share)
