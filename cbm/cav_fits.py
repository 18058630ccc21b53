"""Six ways to a direction between images with and images without a concept, each for many concepts at once.

All of them see the same thing: a pool of embeddings, centred and scaled to unit mean square, and for each concept an
equal number of places in it with and without the concept. The first half of the places show it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.svm import Planes, planes, solve_duals

NEWTON_STEPS = 30
SHRINKAGE = 0.1  # of the covariance towards a sphere


@dataclass(frozen=True)
class Pool:
    """Embeddings, mean zero and mean square one."""

    x: Float[Tensor, "n d"]

    def gram(self, index: Int[Tensor, "k m"]) -> Float[Tensor, "k m m"]:
        """Inner products of each concept's images; from one matrix of the whole pool where that is less work."""
        if len(self.x) ** 2 <= index.numel() * index.shape[1]:
            whole = self.x @ self.x.T
            return whole[index[:, :, None], index[:, None, :]]
        chosen = self.x[index]
        return torch.bmm(chosen, chosen.transpose(1, 2))


Fit = Callable[[Pool, Int[Tensor, "k m"], Float[Tensor, "k m"], float], Planes]


def svm(pool: Pool, index: Int[Tensor, "k m"], labels: Float[Tensor, "k m"], c: float) -> Planes:
    """Widest margin, hinge loss."""
    return planes(pool.x[index], *solve_duals(pool.gram(index), labels[0] >= 0.5, c))


def ridge(pool: Pool, index: Int[Tensor, "k m"], labels: Float[Tensor, "k m"], c: float) -> Planes:
    """Least squares on targets 1 and -1, in closed form."""
    gram, signs = pool.gram(index), _signs(index)
    centred = gram - gram.mean(1, keepdim=True)
    centred = centred - centred.mean(2, keepdim=True)
    dual = torch.linalg.solve(centred + torch.eye(index.shape[1]) / c, signs.expand(len(gram), -1))
    dual = dual - dual.mean(1, keepdim=True)
    intercepts = -torch.einsum("kij,kj->k", gram, dual) / index.shape[1]
    return planes(pool.x[index], dual, intercepts)


def logistic(pool: Pool, index: Int[Tensor, "k m"], labels: Float[Tensor, "k m"], c: float) -> Planes:
    """Logistic regression with ridge, by Newton's method on the dual coefficients and the intercept."""
    gram, signs = pool.gram(index), _signs(index)
    k, m = index.shape
    dual, intercepts = torch.zeros(k, m), torch.zeros(k)
    for _ in range(NEWTON_STEPS):
        margins = torch.einsum("kij,kj->ki", gram, dual) + intercepts[:, None]
        p = margins.sigmoid()
        curvature = (p * (1 - p)).clamp_min(1e-6)
        working = margins + ((signs + 1) / 2 - p) / curvature
        system = torch.zeros(k, m + 1, m + 1)
        system[:, :m, :m] = gram + torch.diag_embed(1 / (c * curvature))
        system[:, :m, m] = system[:, m, :m] = 1.0
        right = torch.cat([working, torch.zeros(k, 1)], 1)
        solution = torch.linalg.solve(system, right)
        change = (solution[:, :m] - dual).abs().max()
        dual, intercepts = solution[:, :m], solution[:, m]
        if float(change) <= 1e-5 * (1 + float(dual.abs().max())):
            break
    return planes(pool.x[index], dual, intercepts)


def mean_difference(pool: Pool, index: Int[Tensor, "k m"], labels: Float[Tensor, "k m"], c: float) -> Planes:
    """From the mean without to the mean with; the hyperplane lies half way."""
    w = _mean(pool, index, slice(None, index.shape[1] // 2)) - _mean(pool, index, slice(index.shape[1] // 2, None))
    return _half_way(pool, index, w)


def lda(pool: Pool, index: Int[Tensor, "k m"], labels: Float[Tensor, "k m"], c: float) -> Planes:
    """Difference of means divided by the covariance that all images share."""
    covariance = pool.x.T @ pool.x / len(pool.x)
    d = len(covariance)
    shrunk = covariance + torch.eye(d) * (SHRINKAGE * covariance.trace() / d)
    difference, _ = mean_difference(pool, index, labels, c)
    return _half_way(pool, index, torch.linalg.solve(shrunk, difference.T).T)


def pattern(pool: Pool, index: Int[Tensor, "k m"], labels: Float[Tensor, "k m"], c: float) -> Planes:
    """Covariance of embedding and label over the label's variance: what changes where the concept does."""
    grades = labels - labels.mean(1, keepdim=True)
    weights = grades / (grades * grades).sum(1, keepdim=True)
    return _half_way(pool, index, torch.bmm(weights[:, None], pool.x[index])[:, 0])


def _signs(index: Int[Tensor, "k m"]) -> Float[Tensor, "m"]:
    half = torch.ones(index.shape[1] // 2)
    return torch.cat([half, -half])


def _mean(pool: Pool, index: Int[Tensor, "k m"], side: slice) -> Float[Tensor, "k d"]:
    return pool.x[index[:, side]].mean(1)


def _half_way(pool: Pool, index: Int[Tensor, "k m"], w: Float[Tensor, "k d"]) -> Planes:
    middle = pool.x[index].mean(1)  # sides are equally large: the mean of their means
    return w, -(w * middle).sum(1)


FITS: dict[str, Fit] = {
    "svm": svm,
    "ridge": ridge,
    "lda": lda,
    "mean-difference": mean_difference,
    "logistic": logistic,
    "pattern": pattern,
}
