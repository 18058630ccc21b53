"""Concept vectors: many linear SVMs, each on a hundred images with the concept and a hundred without.

    python -m benchmarks.cavs

The peers are loops over scikit-learn, bare and with the margins that the post-hoc CBM's `get_cavs` computes for each
concept (written out here: that repository is no package). Equality is judged by the SVM's own primal objective.
"""

import argparse

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.data import embeddings, texts
from benchmarks.measure import Row, interleaved, report
from cbm.svm import fit_svm_grid, fit_svms

PER_SIDE = 100
GRID = (0.001, 0.01, 0.1, 1.0, 10.0)
Planes = tuple[Float[Tensor, "k d"], Float[Tensor, "k"]]


def images(concepts: int) -> Float[Tensor, "k n d"]:
    """For each concept images that score high on it, then images that do not; norms of about 10, as raw CLIP has."""
    x, _ = embeddings(16_000, 40, seed=3)
    order = (x @ texts(concepts, seed=3).T).argsort(0, descending=True)  # [images concepts]
    g = torch.Generator().manual_seed(0)
    high = torch.randperm(4 * PER_SIDE, generator=g)[:PER_SIDE]
    low = len(x) // 4 + torch.randperm(3 * len(x) // 4, generator=g)[:PER_SIDE]
    return 10 * x[order[torch.cat([high, low])].T]


def svc_loop(x: Float[Tensor, "k n d"], sides: np.ndarray, c: float) -> Planes:
    """scikit-learn's SVC, one concept after another."""
    from sklearn.svm import SVC

    machines = [SVC(C=c, kernel="linear").fit(concept.numpy(), sides) for concept in x]
    return _stacked([(machine.coef_[0], machine.intercept_[0]) for machine in machines])


def get_cavs_loop(x: Float[Tensor, "k n d"], sides: np.ndarray, c: float) -> Planes:
    """The same with training and held-out accuracy and margins, as the post-hoc CBM does."""
    from sklearn.svm import SVC

    planes = []
    for concept in x.numpy():
        machine = SVC(C=c, kernel="linear").fit(concept, sides)
        machine.score(concept, sides)
        machine.score(concept, sides)
        margin = (concept @ machine.coef_.T + machine.intercept_) / np.linalg.norm(machine.coef_)
        np.quantile(margin, 0.9), np.quantile(margin, 0.1)
        planes.append((machine.coef_[0], machine.intercept_[0]))
    return _stacked(planes)


def linear_svc_loop(x: Float[Tensor, "k n d"], sides: np.ndarray, c: float) -> Planes:
    """liblinear, which penalises the intercept and often stops before the optimum."""
    import warnings

    from sklearn.svm import LinearSVC

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        machines = [LinearSVC(C=c, loss="hinge", max_iter=10_000).fit(concept.numpy(), sides) for concept in x]
    return _stacked([(machine.coef_[0], machine.intercept_[0]) for machine in machines])


def _stacked(planes: list[tuple[np.ndarray, float]]) -> Planes:
    vectors = torch.from_numpy(np.stack([vector for vector, _ in planes]))
    return vectors, torch.tensor([float(intercept) for _, intercept in planes])


def primal(x: Float[Tensor, "k n d"], sides: np.ndarray, planes: Planes, c: float) -> Float[Tensor, "k"]:
    """Objective of each concept's hyperplane."""
    vectors, intercepts = (part.double() for part in planes)
    margins = torch.einsum("knd,kd->kn", x.double(), vectors) + intercepts[:, None]
    hinge = (1 - torch.from_numpy(2.0 * sides - 1) * margins).clamp_min(0).sum(1)
    return vectors.square().sum(1) / 2 + c * hinge


def measured(concepts: int, c: float, repetitions: int) -> list[Row]:
    """One row for each way, and one for a whole grid of penalties."""
    x = images(concepts)
    positive = torch.arange(2 * PER_SIDE) < PER_SIDE
    sides = positive.numpy()
    reference = primal(x, sides, svc_loop(x, sides, c), c)

    def compared(planes: Planes) -> Row:
        excess = primal(x, sides, planes, c) / reference - 1
        return {"above_svc_at_most": float(excess.max()), "above_svc_mean": float(excess.mean())}

    cases = {
        "ours": lambda: fit_svms(x, positive, c),
        "ours, five penalties": lambda: fit_svm_grid(x, positive, GRID)[GRID.index(c)],
        "SVC loop": lambda: svc_loop(x, sides, c),
        "SVC loop with margins (get_cavs)": lambda: get_cavs_loop(x, sides, c),
        "LinearSVC loop": lambda: linear_svc_loop(x, sides, c),
    }
    return interleaved(cases, compared, repetitions=repetitions, baseline="ours")


def main() -> None:
    """Parse the command line, measure, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concepts", type=int, default=170, help="as many as the BRODEN bank of the post-hoc CBM")
    parser.add_argument("--c", type=float, default=0.01, choices=GRID)
    parser.add_argument("--repetitions", type=int, default=7)
    arguments = parser.parse_args()
    rows = measured(arguments.concepts, arguments.c, arguments.repetitions)
    title = f"{arguments.concepts} concept vectors from {2 * PER_SIDE} images each, C = {arguments.c:g}"
    grams = 2.0 * arguments.concepts * (2 * PER_SIDE) ** 2 * 512
    report(f"cavs-{arguments.c:g}", title, rows, multiplications=grams)


if __name__ == "__main__":
    main()
