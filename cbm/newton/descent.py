"""The rounds of the method: certify, choose the weights that may move, improve them.

A full gradient is computed only to certify the result and to choose working sets: the weights in use, and those whose
gradient exceeds the l1 penalty.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cbm.newton.certificate import dual_bound
from cbm.newton.class_steps import go_round
from cbm.newton.iterate import Iterate
from cbm.newton.joint_steps import step_together
from cbm.newton.problem import Penalty, Problem
from cbm.progress import OnProgress, silent

MOST_GRADIENTS = 100
ROUNDS = 3  # over the classes between two gradients
NEAR = 0.1  # share of the objective that the gap may have for a joint step
IDLE = 3  # gradients in a row without gain, after which floating point has no more to give


@dataclass(frozen=True)
class Descended:
    """Where the descent ended: weights `[c k]`, biases `[c]` of centred scores, and what is known of them."""

    weight: Float[Tensor, "c k"]
    bias: Float[Tensor, "c"]
    objective: float
    gap: float
    converged: bool


def descend(
    problem: Problem,
    penalty: Penalty,
    weight: Float[Tensor, "c k"],
    bias: Float[Tensor, "c"],
    *,
    tolerance: float,
    on_progress: OnProgress = silent,
) -> Descended:
    """Lower the objective from a start until the duality gap is at most `tolerance` of it.

    Ends early, without having converged, when several gradients in a row gain nothing that floating point can see.
    """
    iterate = Iterate(problem, penalty, weight, bias, problem.scores.logits(weight) + bias[:, None])
    objective, bound, gap, first, idle = np.inf, -np.inf, np.inf, 0.0, 0
    for _ in range(MOST_GRADIENTS):
        _balance(iterate)
        p = problem.loss.probabilities(iterate.logits)
        gradient = problem.gradient(p - problem.loss.target)
        before, objective = objective, iterate.objective()
        bound = max(bound, dual_bound(problem, penalty, p, gradient))
        wider, gap = gap, objective - bound
        first = first or gap
        if gap <= tolerance * objective:
            break
        on_progress(_done(gap / first, tolerance * objective / first), f"gap {gap / objective:.1e}")
        idle = 0 if before - objective > 1e-3 * tolerance * objective or gap < 0.9 * wider else idle + 1
        if idle == IDLE:
            break
        _improve(iterate, gradient, gap, tolerance)
    on_progress(1.0, f"gap {gap / objective:.1e}" if objective > 0 else "solved")
    return Descended(iterate.weight, iterate.bias, objective, gap, gap <= tolerance * objective)


def _improve(iterate: Iterate, gradient: Float[Tensor, "c k"], gap: float, tolerance: float) -> None:
    """Go round the classes until that gains little; near the optimum, or without l1, then step together."""
    objective = iterate.objective()
    little = 0.02 * min(gap, 5 * tolerance * objective)
    blocks = iterate.working_sets(gradient)
    for _ in range(ROUNDS):
        if go_round(iterate, blocks) < little:
            break
    if iterate.penalty.l1 == 0 or gap < NEAR * objective:
        step_together(iterate, blocks)


def _balance(iterate: Iterate) -> None:
    """Newton steps in the biases until mean probabilities equal class frequencies."""
    loss = iterate.problem.loss
    rounding = max(torch.finfo(iterate.weight.dtype).eps, 1e-11)
    for _ in range(8):
        p = loss.probabilities(iterate.logits)
        excess = iterate.problem.scores.images.mean(p.sum(1, dtype=torch.float64)) - loss.frequency
        if float(loss.odds(excess).max()) < rounding:
            return
        step = -torch.linalg.pinv(loss.bias_curvature(p), rtol=1e-12, hermitian=True) @ excess
        if not _shift_biases(iterate, step.clamp(-2, 2).to(p.dtype)):
            return


def _shift_biases(iterate: Iterate, step: Float[Tensor, "c"]) -> bool:
    """Take the step, or a quarter of it and so on, if that does not raise the loss by more than rounding."""
    loss = iterate.problem.loss
    before = loss.value(iterate.logits) * (1 + torch.finfo(step.dtype).eps)
    for _ in range(4):
        moved = iterate.logits + step[:, None]
        if loss.value(moved) <= before:
            iterate.bias, iterate.logits = iterate.bias + step, moved
            return True
        step = step / 4
    return False


def _done(gap: float, goal: float) -> float:
    """Share of the way to the goal, on a logarithmic scale that starts at 1."""
    return float(np.clip(np.log(gap) / np.log(goal), 0, 1)) if goal < 1 else 0.0
