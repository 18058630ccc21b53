"""Elastic-net heads: sparse linear classifiers on concept scores, solved to a certified gap.

    minimise  loss(s @ W.T + b, y) + lam * (alpha * |W|_1 + (1 - alpha) / 2 * |W|_2^2)

The bias is free. What a reader wants is rarely a `lam` but a number of concepts a class, so a path of solutions from
the empty head downwards, and heads cut to an exact number of effective concepts (NEC), are here too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cbm.errors import DataError, UsageError
from cbm.linear_scores import ROWS, LinearScores, head_logits
from cbm.newton.descent import descend
from cbm.newton.images import Images
from cbm.newton.losses import LOSSES
from cbm.newton.losses import LossName as LossName
from cbm.newton.problem import Penalty, Problem, centred_problem
from cbm.process_group import ALONE, Group
from cbm.progress import OnProgress, Reading, silent
from cbm.sparsity import SMALLEST_WEIGHT, Truncation, effective_concepts, strongest

Scores = Float[Tensor, "n k"] | LinearScores
NEC_LEVELS = (5, 10, 15, 20, 25, 30)
REFIT_RIDGE = 1e-4
PATH_RATIO = 0.8  # of one lam to the one before
PATH_END = 2.0**-15  # of the largest lam, as in VLG-CBM's protocol
ABSENT_BIAS = 30.0  # nats below the smallest bias, for classes without an image


@dataclass(frozen=True)
class Solution:
    """An elastic-net head and how close to the optimum it is known to be.

    Attributes
    ----------
    weight, bias
        Shapes `[c k]` and `[c]`, for scores as they were given (not standardised).
    lam, alpha, loss
        The problem that it solves.
    objective
        Mean loss plus penalty; for one-vs-rest, summed over classes.
    gap
        The objective is at most this much above the optimum (a duality gap).
    converged
        Whether the gap is within the tolerance that was asked for.
    """

    weight: Float[Tensor, "c k"]
    bias: Float[Tensor, "c"]
    lam: float
    alpha: float
    loss: LossName
    objective: float
    gap: float
    converged: bool

    @property
    def nec(self) -> float:
        """Number of effective concepts: mean count of non-zero weights a class."""
        return effective_concepts(self.weight)

    def predict(self, s: Scores) -> Int[Tensor, "n"]:
        """Class with the largest logit."""
        return head_logits(s, self.weight, self.bias).argmax(1)

    def accuracy(self, s: Scores, y: Int[Tensor, "n"], group: Group = ALONE) -> float:
        """Share of images whose class is predicted; of all images where processes hold some each."""
        right = (self.predict(s) == y).double().sum()
        return float(_images(y, group).mean(right))


def fit_elastic_net(
    s: Scores,
    y: Int[Tensor, "n"],
    classes: int,
    *,
    lam: float,
    alpha: float = 0.99,
    loss: LossName = "multinomial",
    tolerance: float = 1e-4,
    warm: Solution | None = None,
    allowed: Bool[Tensor, "c k"] | None = None,
    group: Group = ALONE,
    on_progress: OnProgress = silent,
) -> Solution:
    """The sparse linear head with the smallest penalised loss.

    Parameters
    ----------
    s
        Concept scores. Standardise them if one `lam` is to mean the same for every concept. A large table of scores that
        are linear in the embeddings need not exist: `LinearScores` are its factors.
    y
        Class of each image, `0 .. classes - 1`. A class without images gets no weights and is never predicted.
    lam, alpha
        Strength of the penalty, and the share of it that is l1: 1 is the lasso, 0 is ridge.
    loss
        "multinomial" for softmax cross-entropy, "one-vs-rest" for independent logistic regressions.
    tolerance
        Largest duality gap, as a share of the objective.
    warm
        A solution of a nearby problem to start from.
    allowed
        Weights that may differ from zero; by default all.
    group
        Processes that fit the head together. Each has some of the images in `s` and `y`, and all have the result.

    Raises
    ------
    DataError
        If scores are not finite, or labels do not fit the scores or the classes.
    UsageError
        If `lam` is not positive or `alpha` is not between 0 and 1.

    Notes
    -----
    Arithmetic is in the precision of `s`. It certifies gaps down to about 1e-5 of the objective in float32 and 1e-8 in
    float64; below, and on separable data at a tiny `lam`, the head may come back with `converged` false.

    Examples
    --------
    >>> s = torch.tensor([[-1.0, 0.0], [-2.0, 0.1], [1.0, 0.1], [2.0, 0.0]])
    >>> head = fit_elastic_net(s, torch.tensor([0, 0, 1, 1]), 2, lam=0.1)
    >>> head.nec, head.predict(s).tolist()
    (1.0, [0, 0, 1, 1])
    """
    _check(s, y, classes, lam, alpha)
    problem, present = _problem(s, y, classes, loss, group, allowed)
    return _solve(problem, present, classes, lam, alpha, loss, tolerance, warm, on_progress)


def elastic_net_path(
    s: Scores,
    y: Int[Tensor, "n"],
    classes: int,
    *,
    alpha: float = 0.99,
    nec: Sequence[float] = NEC_LEVELS,
    lams: Sequence[float] | None = None,
    loss: LossName = "multinomial",
    tolerance: float = 1e-3,
    group: Group = ALONE,
    on_progress: OnProgress = silent,
) -> list[Solution]:
    """Solutions from the strongest penalty to the weakest, each started from the one before.

    Parameters
    ----------
    nec
        Go down from the largest useful `lam` until the head has the largest of these numbers of effective concepts.
    lams
        Solve for exactly these instead, from the largest down.
    group
        As in `fit_elastic_net`.

    Returns
    -------
    Every solution on the way. A path towards `nec` ends early at `2 ** -15` of the largest `lam`.

    Raises
    ------
    DataError, UsageError
        As `fit_elastic_net`.
    """
    _check(s, y, classes, 1.0, alpha)
    problem, present = _problem(s, y, classes, loss, group)
    top = _largest_lam(problem, alpha)
    path: list[Solution] = []
    for i, lam in enumerate(_descending(top) if lams is None else sorted(lams, reverse=True)):
        warm = path[-1] if path else None
        path.append(_solve(problem, present, classes, lam, alpha, loss, tolerance, warm, silent))
        reached = path[-1].nec / max(nec) if lams is None else (i + 1) / len(lams)
        on_progress(min(1.0, reached), Reading(f"{path[-1].nec:.1f} concepts a class", nec=path[-1].nec))
        if lams is None and reached >= 1:
            break
    return path


def lam_max(
    s: Scores, y: Int[Tensor, "n"], classes: int, *, alpha: float = 0.99, loss: LossName = "multinomial"
) -> float:
    """The smallest `lam` at which every weight is zero; infinite for ridge (`alpha = 0`)."""
    _check(s, y, classes, 1.0, alpha)
    problem, _ = _problem(s, y, classes, loss, ALONE)
    return _largest_lam(problem, alpha) if alpha > 0 else float("inf")


def at_nec(
    path: Sequence[Solution],
    target: float,
    s: Scores,
    y: Int[Tensor, "n"],
    *,
    truncation: Truncation = "global",
    refit: bool = True,
    group: Group = ALONE,
    validation: tuple[Float[Tensor, "m k"] | LinearScores, Int[Tensor, "m"]] | None = None,
) -> Solution:
    """The head with `target` effective concepts a class.

    The first solution of the path that has as many is cut to its largest weights (VLG-CBM's protocol). With `refit`,
    the weights that stay are fitted again without the l1 penalty, which had shrunk them.

    Parameters
    ----------
    truncation
        Which weights stay: the largest of all ("global"), or as many in each class ("per-class").
    validation
        Scores and labels to choose by: among the solutions with enough concepts and at most twice as many,
        the one that is most accurate there after the cut.
    group
        As in `fit_elastic_net`; each process has some of the validation images too.

    Returns
    -------
    A head with exactly `target * c` weights (rounded), unless weights tie or no solution of the path has that many;
    then the densest one is returned as it is. Its `nec` says what it has.
    """
    dense = [solution for solution in path if solution.nec >= target] or [max(path, key=lambda solution: solution.nec)]
    dense = [dense[0], *(solution for solution in dense[1:] if solution.nec <= 2 * target)]
    if validation is None:
        return _cut(dense[0], target, s, y, truncation, refit, group)
    cut = [_cut(solution, target, s, y, truncation, refit, group) for solution in dense]
    return max(cut, key=lambda solution: solution.accuracy(*validation, group))


def _problem(
    s: Scores,
    y: Int[Tensor, "n"],
    classes: int,
    loss: LossName,
    group: Group,
    allowed: Bool[Tensor, "c k"] | None = None,
) -> tuple[Problem, Int[Tensor, "p"]]:
    """The problem on the classes that have images, and which these are."""
    count = torch.bincount(y, minlength=classes)
    group.sum_(count)
    present = torch.nonzero(count).flatten()
    labels = torch.searchsorted(present, y)
    kept = None if allowed is None else allowed[present]
    return centred_problem(s, labels, len(present), _images(y, group), loss=loss, allowed=kept), present


def _images(y: Int[Tensor, "n"], group: Group) -> Images:
    count = torch.tensor(len(y))
    group.sum_(count)
    return Images(int(count), group)


def _solve(
    problem: Problem,
    present: Int[Tensor, "p"],
    classes: int,
    lam: float,
    alpha: float,
    loss: LossName,
    tolerance: float,
    warm: Solution | None,
    on_progress: OnProgress,
) -> Solution:
    means = problem.scores.means
    weight, bias = means.new_zeros(len(present), len(means)), problem.loss.null_bias()
    if warm is not None:
        weight = warm.weight[present].to(means.dtype)
        bias = warm.bias[present].to(means.dtype) + weight @ means
    penalty = Penalty(lam * alpha, lam * (1 - alpha))
    end = descend(problem, penalty, weight, bias, tolerance=tolerance, on_progress=on_progress)
    uncentred = end.bias - end.weight @ means
    all_weight = means.new_zeros(classes, len(means))
    all_bias = (uncentred.min() - ABSENT_BIAS).expand(classes).clone()
    all_weight[present], all_bias[present] = end.weight, uncentred
    return Solution(all_weight, all_bias, lam, alpha, loss, end.objective, end.gap, end.converged)


def _cut(
    solution: Solution,
    target: float,
    s: Scores,
    y: Int[Tensor, "n"],
    truncation: Truncation,
    refit: bool,
    group: Group,
) -> Solution:
    """The solution on its strongest weights, fitted again or as it was."""
    kept = strongest(solution.weight, target, truncation)
    cut = replace(solution, weight=torch.where(kept, solution.weight, 0.0))
    classes = len(cut.bias)
    if refit:
        fitted = fit_elastic_net(
            s,
            y,
            classes,
            lam=REFIT_RIDGE,
            alpha=0.0,
            loss=cut.loss,
            tolerance=1e-3,
            warm=cut,
            allowed=kept,
            group=group,
        )
        vanished = kept & (fitted.weight.abs() <= SMALLEST_WEIGHT)  # a concept that was kept is one that counts
        return replace(fitted, weight=torch.where(vanished, 2 * SMALLEST_WEIGHT, fitted.weight))
    objective = elastic_net_objective(
        s, y, cut.weight, cut.bias, lam=cut.lam, alpha=cut.alpha, loss=cut.loss, group=group
    )
    bound = solution.objective - solution.gap
    return replace(cut, objective=objective, gap=objective - bound, converged=False)


def elastic_net_objective(
    s: Scores,
    y: Int[Tensor, "n"],
    weight: Float[Tensor, "c k"],
    bias: Float[Tensor, "c"],
    *,
    lam: float,
    alpha: float = 0.99,
    loss: LossName = "multinomial",
    group: Group = ALONE,
) -> float:
    """Penalised loss of any linear head, comparable with `Solution.objective`."""
    logits = head_logits(s, weight, bias).T
    penalty = Penalty(lam * alpha, lam * (1 - alpha))
    return LOSSES[loss](y, len(bias), logits.dtype, _images(y, group)).value(logits) + penalty(weight)


def _largest_lam(problem: Problem, alpha: float) -> float:
    """At the empty head the steepest weight is just held by the l1 penalty (a floor stands in for pure ridge)."""
    return float(problem.null_gradient().abs().max()) / max(alpha, 1e-3)


def _descending(top: float) -> Iterator[float]:
    lam = top
    while lam > top * PATH_END:
        yield lam
        lam *= PATH_RATIO


def _check(s: Scores, y: Int[Tensor, "m"], classes: int, lam: float, alpha: float) -> None:
    if len(s) != len(y) or len(s) == 0:
        raise DataError(f"{len(s)} rows of scores and {len(y)} labels", hint="give one label for each image")
    table = s.x if isinstance(s, LinearScores) else s
    bad = sum(int((~torch.isfinite(some)).any(1).count_nonzero()) for some in torch.split(table, ROWS))
    if bad:
        raise DataError(f"{bad} of {len(s)} images have scores that are not finite", hint="check the embeddings")
    if int(y.min()) < 0 or int(y.max()) >= classes:
        raise DataError(f"labels run from {int(y.min())} to {int(y.max())}, but there are {classes} classes")
    if lam <= 0 or not 0 <= alpha <= 1:
        raise UsageError(f"lam is {lam:g} and alpha {alpha:g}", hint="lam must be positive, alpha between 0 and 1")
