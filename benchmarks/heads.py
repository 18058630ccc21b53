"""Sparse heads: how long until the objective is within a thousandth of the optimum?

    python -m benchmarks.heads multinomial --size S
    python -m benchmarks.heads one-vs-rest --size S
    python -m benchmarks.heads path --size M
    python -m benchmarks.heads path --size L --repetitions 1   # 5,000 concepts, as factors of rank 512

Ours stops by its own certificate, a duality gap of a thousandth; the peers are stopped by an oracle.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from jaxtyping import Float
from torch import Tensor

from benchmarks.data import factored_scores, scores
from benchmarks.measure import Row, interleaved, peak_mb, report
from benchmarks.peers import ABSENT, GOOD, MULTINOMIAL, ONE_VS_REST, Planes, Task, watched
from cbm.solvers import (
    NEC_LEVELS,
    LossName,
    Solution,
    at_nec,
    elastic_net_objective,
    elastic_net_path,
    fit_elastic_net,
)
from cbm.sparsity import effective_concepts

SIZES = {"XS": (2_000, 200, 5), "S": (10_000, 500, 10), "M": (10_000, 1_000, 100), "L": (50_000, 5_000, 200)}
FACTORED = ("L",)


def multinomial(task: Task, repetitions: int) -> list[Row]:
    """Softmax heads at one penalty."""
    cases: dict[str, Callable[[], Row | Solution]] = {"ours": partial(_ours, task, "multinomial")}
    cases |= {name: partial(watched(run), task) for name, run in MULTINOMIAL.items()}
    return interleaved(
        cases,
        lambda answer: _row(task, answer) if isinstance(answer, Solution) else answer,
        repetitions=repetitions,
        baseline="ours",
    )


def one_vs_rest(task: Task, repetitions: int) -> list[Row]:
    """Independent l1 logistic regressions, one a class."""
    small = replace(task, s=task.s[:300, :20], y=task.y[:300])
    for run in ONE_VS_REST.values():
        run(small)  # libraries load and compile on first use
    cases: dict[str, Callable[[], Planes | Solution]] = {"ours": partial(_ours, task, "one-vs-rest")}
    cases |= {name: partial(run, task) for name, run in ONE_VS_REST.items()}
    return interleaved(
        cases,
        lambda answer: _row(task, answer) if isinstance(answer, Solution) else _compared(task, *answer),
        repetitions=repetitions,
        baseline="ours",
    )


def path(task: Task, repetitions: int) -> list[Row]:
    """Six heads with 5, 10, ... 30 effective concepts: the certified path, and the cuts with their refits."""
    paths: list[list[Solution]] = []

    def whole_path() -> list[Solution]:
        paths.append(elastic_net_path(task.s, task.y, task.classes))
        return paths[-1]

    cases = {
        "path to 30 concepts a class": whole_path,
        "six cuts, refitted": lambda: [at_nec(paths[-1], nec, task.s, task.y) for nec in NEC_LEVELS],
    }
    return interleaved(
        cases,
        lambda heads: {
            "heads": len(heads),
            "largest_gap": max(head.gap / head.objective for head in heads),
            "nec": heads[-1].nec,
            "peak_mb": peak_mb(),
        },
        repetitions=repetitions,
        baseline="path to 30 concepts a class",
    )


def _ours(task: Task, loss: LossName) -> Solution:
    return fit_elastic_net(task.s, task.y, task.classes, lam=task.lam, alpha=task.alpha, loss=loss, tolerance=GOOD)


def _row(task: Task, solution: Solution) -> Row:
    return {
        "above_optimum": solution.objective / task.optimum - 1,
        "reached": solution.converged,
        "nec": solution.nec,
        "gap": solution.gap / solution.objective,
    }


def _compared(task: Task, weight: Float[Tensor, "c k"], bias: Float[Tensor, "c"]) -> Row:
    objective = elastic_net_objective(task.s, task.y, weight, bias, lam=task.lam, alpha=task.alpha, loss="one-vs-rest")
    excess = objective / task.optimum - 1
    return {"above_optimum": excess, "reached": excess <= GOOD, "nec": effective_concepts(weight)}


def main() -> None:
    """Parse the command line, measure, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=("multinomial", "one-vs-rest", "path"))
    parser.add_argument("--size", choices=SIZES, default="S", help="images, concepts and classes")
    parser.add_argument("--budget", type=float, default=60.0, help="CPU seconds that a peer may take")
    parser.add_argument("--repetitions", type=int, default=3)
    arguments = parser.parse_args()
    n, k, c = SIZES[arguments.size]
    s, y = (factored_scores if arguments.size in FACTORED else scores)(n, k, c)
    loss: LossName = "one-vs-rest" if arguments.task == "one-vs-rest" else "multinomial"
    lam, alpha = (1e-3, 1.0) if loss == "one-vs-rest" else (7e-4, 0.99)
    small, sides = scores(200, 20, 5)
    fit_elastic_net(small, sides, 5, lam=0.1, loss=loss)  # libraries load on first use
    task = Task(s, y, c, lam, alpha, float("nan"), arguments.budget)
    title = f"{arguments.task} heads, {n:,} images x {k:,} concepts x {c} classes"
    if arguments.task != "path":
        best = fit_elastic_net(s, y, c, lam=lam, alpha=alpha, loss=loss, tolerance=2e-5)
        task = replace(task, optimum=best.objective)
        title += f"; best objective known to {best.gap / best.objective:.0e}"
    rows = {"multinomial": multinomial, "one-vs-rest": one_vs_rest, "path": path}[arguments.task](
        task, arguments.repetitions
    )
    report(f"heads-{arguments.task}-{arguments.size}", title, rows, () if arguments.task == "path" else ABSENT)


if __name__ == "__main__":
    main()
