"""The other ways to fit a sparse head: published solvers, and two that one would write in an afternoon.

Each is run until it is within a thousandth of the optimum or its CPU budget is spent. Looking at the objective is not
counted in its time, and it is told when to stop by an oracle that knows the optimum: a help that ours does without.
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.measure import Clock, Row
from cbm.solvers import elastic_net_objective
from cbm.sparsity import effective_concepts

GOOD = 1e-3


@dataclass(frozen=True)
class Task:
    """An elastic net and the best objective that is known for it."""

    s: Float[Tensor, "n k"]
    y: Int[Tensor, "n"]
    classes: int
    lam: float
    alpha: float
    optimum: float
    budget: float


class Enough(Exception):
    """The peer is good enough, or out of time."""


@dataclass
class Watch:
    """Looks at a peer's weights from time to time."""

    task: Task
    clock: Clock = field(default_factory=Clock)
    row: Row = field(default_factory=dict)

    def look(self, weight: Float[Tensor, "c k"], bias: Float[Tensor, "c"]) -> None:
        """Note how good the weights are; raise `Enough` if that ends the run."""
        task = self.task
        excess = self.clock.uncounted(
            lambda: (
                elastic_net_objective(task.s, task.y, weight, bias, lam=task.lam, alpha=task.alpha) / task.optimum - 1
            )
        )
        cpu, wall = self.clock.read()
        self.row = {
            "cpu_s": cpu,
            "wall_s": wall,
            "above_optimum": excess,
            "reached": excess <= GOOD,
            "nec": effective_concepts(weight),
        }
        if excess <= GOOD or cpu > task.budget:
            raise Enough


def watched(run: Callable[[Task, Watch], None]) -> Callable[[Task], Row]:
    """The row of a peer that runs for ever until it is stopped."""

    def row(task: Task) -> Row:
        watch = Watch(task)
        with contextlib.suppress(Enough), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run(task, watch)
        return watch.row

    return row


def fista(task: Task, watch: Watch) -> None:
    """Accelerated proximal gradient with adaptive restart (Beck and Teboulle 2009; O'Donoghue and Candès 2015)."""
    s, n = task.s, len(task.s)
    step = 2.0 / (1.02 * float(torch.linalg.matrix_norm(s.T @ s / n, 2)))
    target = torch.nn.functional.one_hot(task.y, task.classes).to(s.dtype)
    weight, bias = torch.zeros(task.classes, s.shape[1]), torch.zeros(task.classes)
    ahead, bias_ahead, momentum = weight, bias, 1.0
    while True:
        residual = torch.softmax(s @ ahead.T + bias_ahead, 1) - target
        moved = soft_threshold(ahead - step * residual.T @ s / n, step * task.lam * task.alpha)
        moved = moved / (1 + step * task.lam * (1 - task.alpha))
        bias_moved = bias_ahead - 2 * residual.mean(0)
        if float(((ahead - moved) * (moved - weight)).sum()) > 0:
            momentum = 1.0
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = moved + (momentum - 1) / following * (moved - weight)
        bias_ahead = bias_moved + (momentum - 1) / following * (bias_moved - bias)
        weight, bias, momentum = moved, bias_moved, following
        watch.look(weight, bias)


def soft_threshold(weight: Float[Tensor, "c k"], threshold: float) -> Float[Tensor, "c k"]:
    """Towards zero by the threshold, and not beyond."""
    return weight.sign() * (weight.abs() - threshold).clamp_min(0)


def glm_saga(task: Task, watch: Watch) -> None:
    """The solver of label-free CBM and VLG-CBM, with their batch and learning rate."""
    from glm_saga.elasticnet import IndexedTensorDataset, train_saga
    from torch.utils.data import DataLoader

    head = torch.nn.Linear(task.s.shape[1], task.classes)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    generator = torch.Generator().manual_seed(0)
    batches = DataLoader(IndexedTensorDataset(task.s, task.y), batch_size=256, shuffle=True, generator=generator)

    class Watched:
        dataset = batches.dataset

        def __iter__(self) -> Iterator[list[Tensor]]:
            yield from batches
            watch.look(head.weight.detach(), head.bias.detach())

    train_saga(
        head, Watched(), 0.1, 10**6, task.lam, task.alpha, group=False, n_ex=len(task.s), n_classes=task.classes, tol=0
    )


def sklearn_saga(task: Task, watch: Watch) -> None:
    """scikit-learn's LogisticRegression, five epochs at a time."""
    from sklearn.linear_model import LogisticRegression

    inverse = 1 / (len(task.s) * task.lam)
    model = LogisticRegression(solver="saga", l1_ratio=task.alpha, C=inverse, warm_start=True, max_iter=5, tol=0)
    s, y = task.s.double().numpy(), task.y.numpy()
    while True:
        model.fit(s, y)
        watch.look(torch.from_numpy(model.coef_).float(), torch.from_numpy(model.intercept_).float())


MULTINOMIAL = {"FISTA with restart": fista, "scikit-learn saga": sklearn_saga} | (
    {"glm_saga": glm_saga} if find_spec("glm_saga") else {}
)

Planes = tuple[Float[Tensor, "c k"], Float[Tensor, "c"]]


def liblinear(task: Task) -> Planes:
    """scikit-learn's liblinear, l1, one class after another; its intercept is lightly penalised."""
    from sklearn.linear_model import LogisticRegression

    inverse = 1 / (len(task.s) * task.lam)
    model = LogisticRegression(solver="liblinear", l1_ratio=1.0, C=inverse, tol=1e-4, intercept_scaling=100.0)
    return _each_class(task, lambda s, sign: (lambda m: (m.coef_[0], m.intercept_[0]))(model.fit(s, sign)))


def skglm(task: Task) -> Planes:
    """skglm's proximal Newton with working sets, one class after another."""
    from skglm import GeneralizedLinearEstimator
    from skglm.datafits import Logistic
    from skglm.penalties import L1
    from skglm.solvers import ProxNewton

    def fit(s: np.ndarray, sign: np.ndarray) -> tuple[np.ndarray, float]:
        solver = ProxNewton(fit_intercept=True, tol=1e-4)
        model = GeneralizedLinearEstimator(Logistic(), L1(task.lam), solver).fit(s, sign)
        return model.coef_.ravel(), float(np.ravel(model.intercept_)[0])

    return _each_class(task, fit)


def sgd(task: Task) -> Planes:
    """scikit-learn's SGDClassifier, as the post-hoc CBM uses it."""
    from sklearn.linear_model import SGDClassifier

    model = SGDClassifier(
        random_state=42, loss="log_loss", alpha=task.lam, l1_ratio=0.999999, penalty="elasticnet", max_iter=10000
    ).fit(task.s.double().numpy(), task.y.numpy())
    return torch.from_numpy(model.coef_).float(), torch.from_numpy(model.intercept_).float()


def _each_class(task: Task, fit: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, float]]) -> Planes:
    s = np.asfortranarray(task.s.double().numpy())
    rows = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for c in range(task.classes):
            rows.append(fit(s, np.where(task.y.numpy() == c, 1.0, -1.0)))
    weight = torch.from_numpy(np.stack([row for row, _ in rows])).float()
    return weight, torch.tensor([float(bias) for _, bias in rows])


ONE_VS_REST = {"scikit-learn liblinear": liblinear, "scikit-learn SGDClassifier": sgd} | (
    {"skglm ProxNewton": skglm} if find_spec("skglm") and find_spec("numba") else {}
)
ABSENT = [name for name in ("glm_saga", "skglm") if not find_spec(name)]
