"""How many labelled images a test-time fix would need, before anybody labels one: a simulation from the source alone.

plan_support(source_of(model, data))        # {1: 0.31 (...), 2: ..., 16: ...}
"""

from collections.abc import Sequence

import numpy as np
import torch

from cbm.adapt import FixConfig, Verdict, judge_shift
from cbm.errors import DataError
from cbm.shift import SMALLEST, SourceStatistics, measure_shift
from probes.intervals import Estimate, wilson

SIZES = (1, 2, 4, 8, 16)


def plan_support(
    source: SourceStatistics,
    *,
    sizes: Sequence[int] = SIZES,
    rise: float = 0.5,
    draws: int = 100,
    seed: int = 0,
    config: FixConfig | None = None,
) -> dict[int, Estimate]:
    """Chance that a misactivated concept is recognised as such, by images a class.

    Each draw plants one concept, chosen at random, that rises by the share `rise` of the way to its presence in every
    class that should lack it, among others that have not moved; scores are drawn around the class means.

    Raises
    ------
    DataError
        If no concept tells classes apart.

    Notes
    -----
    Scores of a concept are drawn from a normal distribution, and independently of the others'; real ones have heavier
    tails and move together. Several moved concepts at once are found more easily than one.
    """
    high = source.means > source.neutral
    lacking = np.where(high, np.nan, source.means)
    apart = np.where(high.any(0), (source.means * high).sum(0) / np.maximum(high.sum(0), 1) - np.nanmean(lacking, 0), 0)
    known = np.flatnonzero((apart > SMALLEST) & (source.spread > SMALLEST))
    if not len(known):
        raise DataError("no concept tells classes apart", hint="choose a model whose concepts differ between classes")
    config, rng = config or FixConfig(), np.random.default_rng(seed)

    def recognised(each: int) -> bool:
        k = int(rng.choice(known))
        labels = np.repeat(np.arange(len(source.counts)), each)
        scores = source.means[labels] + source.spread * rng.normal(size=(len(labels), len(source.spread)))
        scores[:, k] += rise * apart[k] * ~high[labels, k]
        shift = measure_shift(torch.as_tensor(scores, dtype=torch.float32), torch.as_tensor(labels), source)
        return judge_shift(shift, config)[k] is Verdict.MISACTIVATED

    return {each: wilson(sum(recognised(each) for _ in range(draws)), draws) for each in sizes}
