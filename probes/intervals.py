"""Numbers with an interval: Wilson's for a share of images, the bootstrap over images for everything else."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.errors import DataError

Z = 1.959964  # 95 % of a normal distribution lie within this many standard deviations
RESAMPLES = 1000
COUNTS_AT_ONCE = 1 << 23  # resampled counts held in memory, 64 MB of doubles

Statistic = Callable[[Float[Tensor, "b n"]], Float[Tensor, "b"]]


@dataclass(frozen=True)
class Estimate:
    """A number, its 95 % interval, and how many images (or classes, for counts of a model) it rests on."""

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f}, n = {self.n})"


def exact(value: float, n: int) -> Estimate:
    """A number that is counted, not sampled: its interval is itself."""
    return Estimate(value, value, value, n)


def wilson(hits: int, n: int) -> Estimate:
    """A share of `n` images with Wilson's score interval, which holds near 0 and 1 and for few images.

    Raises
    ------
    DataError
        If there are no images.

    References
    ----------
    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.

    Examples
    --------
    >>> wilson(1, 1)
    Estimate(value=1.0, low=0.2065..., high=1.0, n=1)
    """
    if n == 0:
        raise DataError("a share needs at least one image")
    share = hits / n
    centre = (share + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * (share * (1 - share) / n + Z**2 / (4 * n**2)) ** 0.5
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), n)


def bootstrap(
    statistic: Statistic, n: int, *, seed: int = 0, resamples: int = RESAMPLES, low: float = 0.0, high: float = 1.0
) -> Estimate:
    """A statistic of `n` images with an interval from resampling them.

    Parameters
    ----------
    statistic
        Takes counts `[b n]`, how often each image is in each resample, and returns one number a row. A row that has
        no value (a class without an image in it) is NaN and is left out.
    low, high
        The smallest and the largest value that the statistic can take.

    Raises
    ------
    DataError
        If there are no images.

    Notes
    -----
    Resampling makes some statistics larger on average (calibration error) or smaller. The interval is the spread of the
    resampled values around *their* mean, moved to the measured value, so that it always holds that value.
    """
    if n == 0:
        raise DataError("a statistic needs at least one image")
    value = float(statistic(torch.ones(1, n, dtype=torch.float64))[0])
    draws = torch.cat([statistic(counts) for counts in resampled_counts(n, seed=seed, resamples=resamples)])
    draws = draws[~draws.isnan()]
    if len(draws) == 0 or value != value:
        return Estimate(value, value, value, n)
    spread = draws - draws.mean()
    lower, upper = (float(spread.quantile(q)) for q in (0.025, 0.975))
    return Estimate(value, max(low, value + min(0.0, lower)), min(high, value + max(0.0, upper)), n)


def resampled_counts(n: int, *, seed: int, resamples: int) -> Iterator[Float[Tensor, "b n"]]:
    """How often each of `n` images is drawn when `n` are drawn with replacement; in chunks of rows."""
    generator = torch.Generator().manual_seed(seed)
    rows = max(1, COUNTS_AT_ONCE // n)
    for start in range(0, resamples, rows):
        b = min(rows, resamples - start)
        drawn = torch.randint(n, (b, n), generator=generator)
        yield torch.zeros(b, n, dtype=torch.float64).scatter_add_(1, drawn, torch.ones(b, n, dtype=torch.float64))
