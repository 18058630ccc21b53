"""Sparse linear heads by proximal Newton steps on small working sets, one class at a time.

A full gradient is computed only to certify the result and to choose which weights may move: those that are not zero
and those whose gradient exceeds the l1 penalty. Between gradients the solver goes round the classes; each gets a
quadratic model with its exact curvature over its few columns, minimised exactly (`cbm.active_set`), and a step that is
taken only as far as the true objective falls. Near the optimum all classes step together (`cbm.joint_newton`).
"""

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cbm.active_set import minimise_lasso
from cbm.joint_newton import BlockInverse, conjugate_gradients
from cbm.logistic import LOSSES, Loss, LossName
from cbm.progress import OnProgress, silent

Array = NDArray[np.float64]
SMALLEST_CURVATURE = 1e-5  # of p (1 - p): a confident image must not make the model flat
LARGEST_SHIFT = 8.0  # of a logit in one step: keeps exp() accurate in float32
CYCLES = 3  # rounds over the classes between two gradients
NEAR = 0.1  # share of the objective that the gap may have for a joint step
ROUNDS = 100  # gradients at most


@dataclass(frozen=True)
class Problem:
    """Scores and labels of an elastic net, laid out for column access.

    The scores are centred. That changes nothing but the biases, which are free, and keeps float32 accurate when scores
    share a large mean.
    """

    columns: Float[Tensor, "k n"]
    means: Float[Tensor, "k"]
    loss: Loss
    factors: tuple[Float[Tensor, "n d"], Float[Tensor, "d k"]] | None = None
    allowed: Bool[Tensor, "c k"] | None = None

    def logits(self, weight: Float[Tensor, "c k"]) -> Float[Tensor, "c n"]:
        """Weights times centred scores."""
        if self.factors is None:
            return weight @ self.columns
        images, concepts = self.factors
        return (weight @ concepts.T) @ images.T  # [c k] @ [k d] @ [d n]

    def gradient(self, residual: Float[Tensor, "c n"]) -> Float[Tensor, "c k"]:
        """Mean over images of residual times score; zero where a weight is not allowed."""
        n = residual.shape[1]
        if self.factors is None:
            gradient = residual @ self.columns.T / n
        else:
            images, concepts = self.factors
            gradient = (residual @ images) @ concepts / n  # [c n] @ [n d] @ [d k]
        return gradient if self.allowed is None else gradient * self.allowed

    def null_gradient(self) -> Float[Tensor, "c k"]:
        """Gradient when all weights are zero and the biases optimal."""
        return self.gradient(-self.loss.target)

    def null_bias(self) -> Float[Tensor, "c"]:
        """Optimal biases when all weights are zero."""
        return self.loss.null_bias()


def centred_problem(
    s: Float[Tensor, "n k"],
    y: Int[Tensor, "n"],
    classes: int,
    *,
    loss: LossName,
    factors: tuple[Float[Tensor, "n d"], Float[Tensor, "d k"]] | None = None,
    allowed: Bool[Tensor, "c k"] | None = None,
) -> Problem:
    """The data in the solver's layout; takes one copy of the scores. Every class must have an image."""
    means = s.mean(0, dtype=torch.float64).to(s.dtype)
    columns = (s - means).T.contiguous()
    if factors is not None:
        images, concepts = factors
        factors = (images - images.mean(0), concepts)
    return Problem(columns, means, LOSSES[loss](y, classes, s.dtype), factors, allowed)


@dataclass
class _Block:
    """The columns of one class that may move, and their curvature (the bias last) as last computed."""

    columns: Int[Tensor, "m"]
    curvature: Array | None = None

    def shrink(self, kept: NDArray[np.bool_]) -> None:
        """Leave out columns, for good until the next gradient."""
        if kept.all():
            return
        self.columns = self.columns[torch.from_numpy(kept)]
        if self.curvature is not None:
            with_bias = np.append(kept, True)
            self.curvature = self.curvature[np.ix_(with_bias, with_bias)]


@dataclass
class Descent:
    """Weights on their way to the optimum, with the logits that belong to them and a certificate."""

    problem: Problem
    l1: float
    l2: float
    weight: Float[Tensor, "c k"]
    bias: Float[Tensor, "c"]
    objective: float = float("inf")
    dual: float = float("-inf")
    _logits: Float[Tensor, "c n"] = field(init=False)

    def __post_init__(self) -> None:
        self._logits = self.problem.logits(self.weight) + self.bias[:, None]

    @property
    def gap(self) -> float:
        """Largest amount by which the objective can still fall."""
        return self.objective - self.dual

    def certify(self) -> Float[Tensor, "c k"]:
        """Gradient of the loss. Brings the biases to their optimum and updates objective and dual bound."""
        loss = self.problem.loss
        self._balance()
        p = loss.probabilities(self._logits)
        gradient = self.problem.gradient(p - loss.target)
        self.objective = loss.value(self._logits) + self._penalty(self.weight)
        self.dual = max(self.dual, self._dual_bound(p, gradient))
        return gradient

    def improve(self, gradient: Float[Tensor, "c k"], *, enough: float) -> None:
        """Lower the objective on the working sets that the gradient suggests.

        Stops going round the classes when a round gains less than ``enough``.
        """
        blocks = [_Block(columns) for columns in self._working_sets(gradient)]
        for _ in range(CYCLES):
            self.problem.loss.start_cycle(self._logits)
            if sum(self._improve_class(c, block) for c, block in enumerate(blocks)) < enough:
                break
        if self.l1 == 0 or self.gap < NEAR * self.objective:
            self._improve_jointly(blocks)

    def _penalty(self, weight: Float[Tensor, "*c k"]) -> float:
        w = weight.double()
        return float(self.l1 * w.abs().sum() + self.l2 / 2 * (w * w).sum())

    # The certificate

    def _balance(self) -> None:
        """Newton steps in the biases until mean probabilities equal class frequencies."""
        loss = self.problem.loss
        rounding = max(10 * torch.finfo(self.weight.dtype).eps, 1e-11)
        for _ in range(8):
            p = loss.probabilities(self._logits)
            excess = (p - loss.target).mean(1, dtype=torch.float64)
            if float(loss.odds(excess).max()) < rounding:
                return
            step = -torch.linalg.pinv(loss.bias_curvature(p).double(), hermitian=True) @ excess
            if not self._shift_biases(step.clamp(-2, 2).to(p.dtype)):
                return

    def _shift_biases(self, step: Float[Tensor, "c"]) -> bool:
        """Take the step, or a quarter of it and so on, if that does not raise the loss."""
        before = self.problem.loss.value(self._logits)
        for _ in range(4):
            moved = self._logits + step[:, None]
            if self.problem.loss.value(moved) <= before:
                self.bias, self._logits = self.bias + step, moved
                return True
            step = step / 4
        return False

    def _dual_bound(self, p: Float[Tensor, "c n"], gradient: Float[Tensor, "c k"]) -> float:
        """Best of several feasible dual points on the line from the labels to the current probabilities."""
        p, gradient = self._feasible(p, gradient)
        steepest = float(gradient.abs().max())
        inside = min(1.0, self.l1 / steepest) if steepest > 0 else 1.0
        shares = {inside, (1 + inside) / 2, 1.0} if self.l2 > 0 else {inside}
        target, entropy = self.problem.loss.target, self.problem.loss.entropy
        return max(entropy(torch.lerp(target, p, t)) - self._conjugate(t * gradient) for t in shares)

    def _feasible(
        self, p: Float[Tensor, "c n"], gradient: Float[Tensor, "c k"]
    ) -> tuple[Float[Tensor, "c n"], Float[Tensor, "c k"]]:
        """Probabilities whose means equal the class frequencies, as free biases ask of a dual point.

        Mixes in as much of a constant distribution as cancels the excess; on centred scores the constant's gradient is
        that of the empty head.
        """
        loss = self.problem.loss
        frequency = loss.target.mean(1, dtype=torch.float64)
        excess = p.mean(1, dtype=torch.float64) - frequency
        odds = loss.odds(excess)
        constant = frequency - torch.where(odds > 0, excess / odds, 0.0)
        share = (odds / (1 + odds)).to(p.dtype)[:, None]
        mixed = torch.lerp(p, constant.clamp(0, 1).to(p.dtype)[:, None].expand_as(p), share)
        return mixed, torch.lerp(gradient, self.problem.null_gradient(), share)

    def _conjugate(self, gradient: Float[Tensor, "c k"]) -> float:
        """Convex conjugate of the penalty; finite without l2 only inside the l1 box, where it is used then."""
        if self.l2 == 0:
            return 0.0
        beyond = (gradient.abs() - self.l1).clamp_min(0).double()
        return float((beyond * beyond).sum()) / (2 * self.l2)

    # Steps of one class

    def _working_sets(self, gradient: Float[Tensor, "c k"]) -> list[Int[Tensor, "m"]]:
        """Columns that may move: those in use and the worst violators, at most as many again."""
        used = self.weight != 0
        excess = torch.where(used, 0.0, gradient.abs() - self.l1)
        room = max(10, int(used.sum(1).double().mean())) if self.l1 > 0 else gradient.shape[1]
        sets = []
        for c in range(len(gradient)):
            entering = torch.nonzero(excess[c] > 0).flatten()
            if len(entering) > room:
                entering = entering[excess[c, entering].topk(room).indices]
            sets.append(torch.cat([torch.nonzero(used[c]).flatten(), entering]))
        return sets

    def _improve_class(self, c: int, block: _Block) -> float:
        """One proximal Newton step for one class; how much the objective fell."""
        loss = self.problem.loss
        p = loss.row(c)
        columns = self._columns(block)
        slope = (columns @ (p - loss.target[c]) / len(p)).double().numpy()
        if block.curvature is None:
            block.curvature = _curvature(columns, p)
        start = torch.cat([self.weight[c, block.columns], self.bias[c : c + 1]]).double().numpy()
        move = self._proposal(block.curvature, slope, start) - start
        shift = torch.from_numpy(move).to(p.dtype) @ columns
        share, fall = self._search(c, slope, start, move, shift)
        if share < 1:
            block.curvature = None  # it was too old, or the objective is far from its quadratic model
        if share > 0:
            self._take(c, block, start + share * move, share * shift)
        return fall

    def _columns(self, block: _Block) -> Float[Tensor, "m n"]:
        """Centred scores of the block's concepts, and ones for the bias."""
        n = self.problem.columns.shape[1]
        columns = self.problem.columns.new_ones(len(block.columns) + 1, n)
        torch.index_select(self.problem.columns, 0, block.columns, out=columns[:-1])
        return columns

    def _proposal(self, curvature: Array, slope: Array, start: Array) -> Array:
        """Minimiser of the quadratic model plus the penalty."""
        l1, l2 = np.full(len(start), self.l1), np.full(len(start), self.l2)
        l1[-1] = l2[-1] = 0.0
        rounding = 10 * torch.finfo(self.weight.dtype).eps * curvature.diagonal().max()
        damped = curvature + rounding * np.eye(len(start))  # towards `start`: optima stay where they are
        return minimise_lasso(damped + np.diag(l2), damped @ start - slope, l1, start, tolerance=1e-3 * rounding)

    def _search(
        self, c: int, slope: Array, start: Array, move: Array, shift: Float[Tensor, "n"]
    ) -> tuple[float, float]:
        """Largest share of the step, halving, at which the objective falls enough; and how much it falls."""
        before = self._class_penalty(start)
        promised = float(slope @ move) + self._class_penalty(start + move) - before
        share = min(1.0, LARGEST_SHIFT / max(float(shift.abs().max()), 1e-30))
        while share > 1e-4 and promised < 0:
            change = self.problem.loss.change(c, share * shift) + self._class_penalty(start + share * move) - before
            if change <= 1e-3 * share * promised:
                return share, -change
            share /= 2
        return 0.0, 0.0

    def _class_penalty(self, block: Array) -> float:
        w = block[:-1]
        return self.l1 * float(np.abs(w).sum()) + self.l2 / 2 * float(w @ w)

    def _take(self, c: int, block: _Block, values: Array, shift: Float[Tensor, "n"]) -> None:
        """Move one class, and keep only the columns that are in use for its next steps."""
        moved = torch.from_numpy(values).to(self.weight.dtype)
        self.weight[c, block.columns], self.bias[c] = moved[:-1], moved[-1]
        self._logits[c] += shift
        self.problem.loss.commit(c, shift)
        block.shrink(values[:-1] != 0)

    # Steps of all classes

    def _improve_jointly(self, blocks: list[_Block]) -> None:
        """One Newton step for all classes on the weights in use; under l1, what would change sign becomes zero."""
        problem, loss, used = self.problem, self.problem.loss, self.weight != 0
        p = loss.probabilities(self._logits)
        residual = p - loss.target
        slope = problem.gradient(residual) + self.l1 * self.weight.sign() + self.l2 * self.weight
        downhill = -torch.cat([torch.where(used, slope, 0.0), residual.mean(1)[:, None]], 1)

        def curve(step: Float[Tensor, "c m"]) -> Float[Tensor, "c m"]:
            bent = loss.curvature(p, problem.logits(step[:, :-1]) + step[:, -1:])
            weights = problem.gradient(bent) + self.l2 * step[:, :-1]
            return torch.cat([torch.where(used, weights, 0.0), bent.mean(1)[:, None]], 1)

        curvatures = [(block.columns, self._known_curvature(block, p[c])) for c, block in enumerate(blocks)]
        inverse = BlockInverse(curvatures, self.l2)
        self._search_jointly(conjugate_gradients(curve, inverse, downhill, tolerance=0.1, most=30))

    def _known_curvature(self, block: _Block, p: Float[Tensor, "n"]) -> Array:
        return _curvature(self._columns(block), p) if block.curvature is None else block.curvature

    def _search_jointly(self, step: Float[Tensor, "c m"]) -> None:
        before = self.problem.loss.value(self._logits) + self._penalty(self.weight)
        for share in (1.0, 0.25, 0.0625):
            weight = self.weight + share * step[:, :-1]
            if self.l1 > 0:
                weight[weight * self.weight < 0] = 0.0
            moved = self._logits + self.problem.logits(weight - self.weight) + share * step[:, -1:]
            if self.problem.loss.value(moved) + self._penalty(weight) < before:
                self.weight, self.bias, self._logits = weight, self.bias + share * step[:, -1], moved
                return


def _curvature(columns: Float[Tensor, "m n"], p: Float[Tensor, "n"]) -> Array:
    weights = (p * (1 - p)).clamp_min(SMALLEST_CURVATURE)
    hessian: Array = ((columns * weights) @ columns.T / len(p)).double().numpy()
    return hessian


def descend(descent: Descent, *, tolerance: float, on_progress: OnProgress = silent) -> bool:
    """Lower the objective until the gap is at most ``tolerance`` of it; whether that was reached.

    Ends early when several rounds in a row gain nothing that floating point can see.
    """
    idle, first, objective, gap = 0, 0.0, np.inf, np.inf
    for _ in range(ROUNDS):
        gradient = descent.certify()
        gained = objective - descent.objective > 1e-3 * tolerance * descent.objective
        narrowed = descent.gap < 0.9 * gap
        objective, gap = descent.objective, descent.gap
        first = first or gap
        if gap <= tolerance * objective:
            on_progress(1.0, "solved")
            return True
        on_progress(_done(gap / first, tolerance * objective / first), f"gap {gap / objective:.1e}")
        idle = 0 if gained or narrowed else idle + 1
        if idle == 3:
            break
        descent.improve(gradient, enough=0.02 * min(gap, 5 * tolerance * objective))
    return False


def _done(gap: float, goal: float) -> float:
    """Share of the way to the goal, on a logarithmic scale that starts at 1."""
    return float(np.clip(np.log(gap) / np.log(goal), 0, 1)) if goal < 1 else 0.0
