"""Inputs that look like CLIP's: unit embeddings in a narrow cone with classes in it, and texts in a cone of their own."""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from cbm.linear_scores import LinearScores
from cbm.moments import moments


def embeddings(
    n: int, classes: int, *, d: int = 512, seed: int = 0, draw: int = 0
) -> tuple[Float[Tensor, "n d"], Int[Tensor, "n"]]:
    """Image embeddings and their classes. Two images have a cosine of about 0.5, of one class about 0.75.

    Another `draw` has other images of the same classes.
    """
    g = torch.Generator().manual_seed(seed)
    basis, spread = _space(d, seed)
    centres = 0.25 * (torch.randn(classes, d, generator=g) * spread) @ basis.T
    if draw:
        g.manual_seed(10_000 + draw)
    y = torch.randint(classes, (n,), generator=g)
    x = 0.7 * (torch.randn(n, d, generator=g) * spread) @ basis.T + centres[y] + 1.1 * basis[:, 0]
    return normalize(x, dim=1), y


def texts(k: int, *, d: int = 512, seed: int = 0) -> Float[Tensor, "k d"]:
    """Text embeddings in the same space, a modality gap away."""
    g = torch.Generator().manual_seed(seed + 1)
    basis, spread = _space(d, seed)
    return normalize(
        (torch.randn(k, d, generator=g) * spread) @ basis.T + 0.35 * basis[:, 0] + 0.8 * basis[:, 1], dim=1
    )


def scores(n: int, k: int, classes: int, *, seed: int = 0) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n"]]:
    """Standardised concept scores, strongly correlated because their rank is at most 512, and classes."""
    x, y = embeddings(n, classes, seed=seed)
    s = x @ texts(k, seed=seed).T
    return (s - s.mean(0)) / s.std(0), y


def factored_scores(n: int, k: int, classes: int, *, seed: int = 0) -> tuple[LinearScores, Int[Tensor, "n"]]:
    """The same as factors of the table, for sizes at which it is better not made."""
    x, y = embeddings(n, classes, seed=seed)
    t = texts(k, seed=seed)
    mean, covariance = (moment.float() for moment in moments(x))
    gain = 1 / ((t @ covariance) * t).sum(1).sqrt()
    return LinearScores(x, t * gain[:, None], -gain * (t @ mean)), y


def _space(d: int, seed: int) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d"]]:
    """A random basis and a spectrum that decays as embeddings' spectra do."""
    g = torch.Generator().manual_seed(1000 + seed)
    spread = torch.arange(1, d + 1).float().pow(-0.45)
    return torch.linalg.qr(torch.randn(d, d, generator=g))[0], spread / spread.norm()
