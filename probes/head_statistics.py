"""What each attention head looks at, in numbers: how widely, how far, and at which kind of token.

Each number is measured on every image and averaged over its queries; over images it gets an interval. Beside it stands
what a head has that looks everywhere alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cbm.encoders import Encoder
from cbm.errors import DataError
from cbm.progress import OnProgress, silent
from probes.attention import BlockAttention, attention_tap
from probes.gated import tower_of
from probes.intervals import Estimate, resampled_counts
from probes.layer_tokens import tokens_kept
from probes.towers import vision_tower

SINK = 6  # median absolute deviations above the median length at which a patch counts as a sink
AT_ONCE = 16  # images

MEANINGS = {
    "entropy": "How evenly a token looks at all tokens: 0 at one, 1 at all alike.",
    "distance": "Mean distance from a patch to the patches it looks at, in patches.",
    "locality": "That distance as a share of what looking everywhere alike gives; below 1 is local.",
    "special": "Share that goes to the class token and registers.",
    "itself": "Share that a token keeps for itself.",
    "neighbours": "Share that goes to the patches around a patch, at most eight.",
    "class_to_patches": "Share of the class token's attention that goes to patches.",
    "sinks": f"Share that goes to patches whose vector is longer than the median by {SINK} median absolute deviations.",
    "variability": "How much the attention of the class token differs between images: 0 means it depends on position only.",
}


@dataclass(frozen=True)
class HeadStatistics:
    """Statistics of every head.

    Attributes
    ----------
    values
        By statistic: for each block, for each head, the mean over images with its interval.
    uniform
        By statistic: that of a head that looks everywhere alike.
    """

    values: Mapping[str, tuple[tuple[Estimate, ...], ...]]
    uniform: Mapping[str, float]


def statistics_of_heads(
    encoder: Encoder, pixels: Float[Tensor, "n 3 y x"], *, seed: int = 0, on_progress: OnProgress = silent
) -> HeadStatistics:
    """Statistics of all heads over images, with intervals from resampling them.

    Raises
    ------
    EncoderError
        If the encoder has no attention that can be looked into.
    DataError
        If there are fewer than two images.

    References
    ----------
    Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021, figure 7 (distance); Darcet et al., "Vision transformers
    need registers", ICLR 2024 (sinks); Dutta et al., "VTrans", 2024, section 5 (special and current tokens).
    """
    if len(pixels) < 2:
        raise DataError("statistics of heads need at least two images")
    visual = tower_of(encoder)
    tower, like = vision_tower(visual), next(visual.parameters())
    found: list[list[Mapping[str, Tensor]]] = []  # by batch, by block
    rows: list[Tensor] = []
    with torch.no_grad(), attention_tap(visual) as tap, tokens_kept(visual) as tokens:
        for start, batch in zip(range(0, len(pixels), AT_ONCE), torch.split(pixels, AT_ONCE), strict=True):
            visual(batch.to(like.device, like.dtype))
            seen = [
                (block, sink_tokens(after, tower.prefix)) for block, after in zip(tap.blocks, tokens[1:], strict=True)
            ]
            found.append([of_block(block, tower.prefix, tower.grid(batch), sinks) for block, sinks in seen])
            rows.append(torch.stack([class_rows(block.weights.float(), tower.prefix) for block in tap.blocks], 1).cpu())
            on_progress(min(start + AT_ONCE, len(pixels)) / len(pixels), f"looked at {start + len(batch):,} images")
    names = list(found[0][0])
    values = {name: torch.cat([torch.stack([b[name] for b in batch], 1) for batch in found]).cpu() for name in names}
    values["variability"] = variability(torch.cat(rows))
    grid = tower.grid(pixels)
    return HeadStatistics(
        {name: _estimates(v, seed) for name, v in values.items()}, uniform_statistics(tower.prefix, grid)
    )


def of_block(
    block: BlockAttention, prefix: int, grid: tuple[int, int], sinks: Bool[Tensor, "n t"]
) -> dict[str, Float[Tensor, "n heads"]]:
    """The statistics of one block's heads on each image."""
    return attention_statistics(block.weights.float(), prefix, grid, sinks)


def attention_statistics(
    weights: Float[Tensor, "n heads t t"], prefix: int, grid: tuple[int, int], sinks: Bool[Tensor, "n t"] | None = None
) -> dict[str, Float[Tensor, "n heads"]]:
    """Statistics of attention weights on each image, by name; `MEANINGS` says what they are.

    Parameters
    ----------
    weights
        Rows sum to one.
    prefix
        Tokens before the patches; the first is the class token.
    grid
        Patches from top to bottom and from left to right.
    sinks
        Tokens that count as sinks; none when not given.
    """
    t, away = weights.shape[-1], distances(grid).to(weights.device)
    entropy = -torch.xlogy(weights, weights).sum(-1).mean(-1) / torch.log(torch.tensor(float(max(t, 2))))
    among = weights[..., prefix:, prefix:]  # from patches to patches
    alone = among / among.sum(-1, keepdim=True).clamp(min=1e-12)
    distance = (alone * away).sum(-1).mean(-1)
    near = (among * (_steps(grid).to(weights.device) == 1)).sum(-1).mean(-1)
    found = {
        "entropy": entropy,
        "distance": distance,
        "locality": distance / away.mean().clamp(min=1e-12),
        "special": weights[..., :prefix].sum(-1).mean(-1),
        "itself": weights.diagonal(dim1=-2, dim2=-1).mean(-1),
        "neighbours": near,
    }
    if prefix:
        found["class_to_patches"] = weights[..., 0, prefix:].sum(-1)
    at_sinks = torch.zeros_like(entropy) if sinks is None else (weights * sinks[:, None, None].float()).sum(-1).mean(-1)
    return {**found, "sinks": at_sinks}


def uniform_statistics(prefix: int, grid: tuple[int, int]) -> dict[str, float]:
    """The statistics of a head that looks at all tokens alike."""
    t = prefix + grid[0] * grid[1]
    even = attention_statistics(torch.full((1, 1, t, t), 1 / t), prefix, grid)
    return {**{name: float(value) for name, value in even.items()}, "variability": 0.0}


def distances(grid: tuple[int, int]) -> Float[Tensor, "p p"]:
    """Distance between the centres of patches, in patches."""
    places = _places(grid)
    return torch.cdist(places, places)


def _steps(grid: tuple[int, int]) -> Float[Tensor, "p p"]:
    """How many steps a king needs from patch to patch."""
    places = _places(grid)
    return torch.cdist(places, places, p=torch.inf)


def _places(grid: tuple[int, int]) -> Float[Tensor, "p 2"]:
    return torch.cartesian_prod(torch.arange(grid[0]), torch.arange(grid[1])).float()


def sink_tokens(tokens: Float[Tensor, "n t d"], prefix: int) -> Bool[Tensor, "n t"]:
    """Patches whose vector is far longer than those of the image's other patches."""
    lengths = tokens.float().norm(dim=-1)
    patches = lengths[:, prefix:]
    middle = patches.median(1, keepdim=True).values
    spread = (patches - middle).abs().median(1, keepdim=True).values
    long: Tensor = lengths > middle + SINK * spread + 1e-6 * middle
    long[:, :prefix] = False
    return long


def class_rows(weights: Float[Tensor, "n heads t t"], prefix: int) -> Float[Tensor, "n heads t"]:
    """What the class token looks at; without one, what all tokens look at on average."""
    return weights[:, :, 0] if prefix else weights.mean(2)


def variability(rows: Float[Tensor, "n b h t"]) -> Float[Tensor, "n b h"]:
    """Jensen and Shannon's divergence between each image's row and the next image's, in bits: 0 to 1."""
    other = rows.roll(1, 0)
    middle = (rows + other) / 2
    apart = (torch.xlogy(rows, rows) + torch.xlogy(other, other)) / 2 - torch.xlogy(middle, middle)
    return apart.sum(-1).clamp(min=0) / torch.log(torch.tensor(2.0))


def _estimates(values: Float[Tensor, "n b h"], seed: int) -> tuple[tuple[Estimate, ...], ...]:
    """Means over images with intervals."""
    low, high = mean_intervals(values.flatten(1), seed=seed)
    table = [Estimate(*v, len(values)) for v in zip(values.double().mean(0).flatten().tolist(), low, high, strict=True)]
    h = values.shape[2]
    return tuple(tuple(table[i : i + h]) for i in range(0, len(table), h))


def mean_intervals(values: Float[Tensor, "n m"], *, seed: int = 0) -> tuple[list[float], list[float]]:
    """Lower and upper ends of 95 % intervals of the means over `n` images, from resampling them 1,000 times."""
    counts = torch.cat(list(resampled_counts(len(values), seed=seed, resamples=1000)))
    draws = counts @ values.double() / len(values)  # [r n] @ [n m] -> [r m]
    ends = draws.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64), dim=0)
    return ends[0].tolist(), ends[1].tolist()
