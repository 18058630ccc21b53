"""What is left of an encoder when heads go: curves by the order in which they go, and how far orders agree."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cbm.encoders import Encoder
from cbm.model import ConceptModel
from cbm.progress import OnProgress, silent
from probes.gated import Instead, embedded
from probes.intervals import Estimate, wilson

DRAWS = 20  # of the random order
RANDOM = "random"


@dataclass(frozen=True)
class Departure:
    """What becomes of a model when some heads are closed together.

    Attributes
    ----------
    before, after
        Share of images with the right class.
    same
        Share of images whose class stays what it was.
    cosine
        Mean cosine of the embeddings with those of the whole encoder.
    concepts
        Change of each concept's score, root mean square over images, in its standard deviations.
    """

    before: Estimate
    after: Estimate
    same: Estimate
    cosine: float
    concepts: Mapping[str, float]


def departure(
    model: ConceptModel, full: Float[Tensor, "n d"], pruned: Float[Tensor, "n d"], labels: Tensor
) -> Departure:
    """Compare a model's answers on two embeddings of the same images."""
    n, said, now = len(full), model.predict(full), model.predict(pruned)
    change: dict[str, float] = {}
    if model.concepts:
        before = model.scores(full)
        moved = (model.scores(pruned) - before).square().mean(0).sqrt() / before.std(0, unbiased=False).clamp(min=1e-8)
        change = dict(zip(model.concepts, moved.tolist(), strict=True))
    return Departure(
        wilson(int((said == labels).sum()), n),
        wilson(int((now == labels).sum()), n),
        wilson(int((said == now).sum()), n),
        float((full * pruned).sum(1).mean()),
        change,
    )


@dataclass(frozen=True)
class PruningCurve:
    """Mean over images of the cosine with the whole encoder's embedding, and accuracy, as heads go one after the other.

    Attributes
    ----------
    removed
        How many heads are closed, from 0 to one less than all.
    cosine, accuracy
        By order; that of the random order is the mean over its draws.
    band
        Lowest and highest cosine of the middle 90 % of the random draws, at each number.
    """

    removed: tuple[int, ...]
    cosine: Mapping[str, tuple[float, ...]]
    accuracy: Mapping[str, tuple[float, ...]]
    band: tuple[tuple[float, float], ...]

    def area(self, order: str) -> float:
        """Mean height of an order's cosine, by trapezoids over the share of heads removed: higher is better."""
        at, height = (
            torch.tensor(self.removed, dtype=torch.float64),
            torch.tensor(self.cosine[order], dtype=torch.float64),
        )
        return float(torch.trapezoid(height, at) / (at[-1] - at[0]))


def pruning_curve(
    encoder: Encoder,
    pixels: Float[Tensor, "n 3 y x"],
    model: ConceptModel,
    labels: Tensor,
    orders: Mapping[str, Float[Tensor, "b h"]],
    *,
    points: int = 8,
    draws: int = DRAWS,
    instead: Instead | None = None,
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> PruningCurve:
    """Close the least important heads first, by each importance, and in random order.

    Parameters
    ----------
    orders
        Importance of every head by name; the lowest goes first.
    points
        At how many numbers of closed heads to measure.
    """
    shape = next(iter(orders.values())).shape
    total = shape.numel()
    removed = tuple(sorted({round(i * (total - 1) / (points - 1)) for i in range(points)}))
    full, chance = embedded(encoder, pixels), torch.Generator().manual_seed(seed)
    queues = [(name, importance.flatten().argsort(stable=True)) for name, importance in orders.items()]
    queues += [(RANDOM, torch.randperm(total, generator=chance)) for _ in range(draws)]
    found: dict[str, list[list[tuple[float, float]]]] = {}
    for i, (name, queue) in enumerate(queues):
        line = []
        for count in removed:
            gates = torch.ones(total)
            gates[queue[:count]] = 0
            x = embedded(encoder, pixels, gates.view(shape), instead=instead) if count else full
            line.append((float((full * x).sum(1).mean()), float((model.predict(x) == labels).double().mean())))
        found.setdefault(name, []).append(line)
        on_progress((i + 1) / len(queues), f"closing heads in the order of {name}")
    means = {name: torch.tensor(lines, dtype=torch.float64).mean(0) for name, lines in found.items()}  # [points 2]
    ends = torch.tensor([0.05, 0.95], dtype=torch.float64)
    drawn = torch.tensor(found.get(RANDOM, [[(1.0, 1.0)] * len(removed)]), dtype=torch.float64)[..., 0]
    return PruningCurve(
        removed,
        {name: tuple(mean[:, 0].tolist()) for name, mean in means.items()},
        {name: tuple(mean[:, 1].tolist()) for name, mean in means.items()},
        tuple((float(low), float(high)) for low, high in drawn.quantile(ends, dim=0).T),
    )


@dataclass(frozen=True)
class Agreement:
    """How far importances agree on the order of heads: Spearman's rank correlation of each pair, and Kendall's W of all,
    which is 1 when all orders are the same and about one over their number when they have nothing in common."""

    spearman: Mapping[tuple[str, str], float]
    kendall_w: float
    heads: int


def agreement(orders: Mapping[str, Float[Tensor, "b h"]]) -> Agreement:
    """Compare importances of the same heads, by name."""
    from scipy.stats import rankdata, spearmanr

    names = list(orders)
    flat = {name: orders[name].flatten().double().numpy() for name in names}
    pairs = {(a, b): float(spearmanr(flat[a], flat[b]).statistic) for i, a in enumerate(names) for b in names[i + 1 :]}
    ranks = torch.stack([torch.from_numpy(rankdata(flat[name])) for name in names])  # [m heads]
    m, n = ranks.shape
    spread = (ranks.sum(0) - ranks.sum(0).mean()).square().sum()
    return Agreement(pairs, float(12 * spread / (m**2 * (n**3 - n))), n)


def overlap(kept: Bool[Tensor, "b h"], importance: Float[Tensor, "b h"]) -> float:
    """Share of the kept heads that are among as many most important ones; by chance, the share of heads kept.

    Examples
    --------
    >>> overlap(torch.tensor([[True, False], [True, False]]), torch.tensor([[3.0, 2.0], [1.0, 0.0]]))
    0.5
    """
    count = int(kept.sum())
    top = torch.zeros(kept.numel(), dtype=torch.bool)
    top[importance.flatten().argsort(descending=True, stable=True)[:count]] = True
    return float((top & kept.flatten()).sum()) / count if count else 0.0


def named_heads(mask: Bool[Tensor, "b h"]) -> Sequence[tuple[int, int]]:
    """Block and head, from 0, where a mask is true."""
    return [(int(b), int(h)) for b, h in mask.nonzero().tolist()]
