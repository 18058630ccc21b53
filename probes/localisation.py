"""Whether the map of a concept lies on the part that the concept is about, each number beside what chance would give.

A *case* is one concept on one image: a map `[h w]`, a mask `[H W]` of the part or the point of its middle. Maps are
brought to the size of the masks bilinearly. Several cases may be of one image; intervals are over images.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from cbm.errors import DataError
from probes.intervals import Estimate, bootstrap

PARTS_OF_CUB = 12  # a region of CLM is this part of the image, times alpha
ALPHAS = (1, 3, 6)


@dataclass(frozen=True)
class Localisation:
    """How well maps find a part: the measured number, and what a map that knows nothing would get."""

    found: Estimate
    chance: float

    @property
    def above_chance(self) -> float:
        """The number on a scale where chance is 0 and perfect is 1."""
        return (self.found.value - self.chance) / (1 - self.chance) if self.chance < 1 else 0.0


def pointing_game(
    maps: Float[Tensor, "m h w"],
    masks: Bool[Tensor, "q H W"],
    *,
    images: Int[Tensor, "m"] | None = None,
    tolerance: float = 0.0,
    seed: int = 0,
) -> Localisation:
    """Share of maps whose highest place lies on the part.

    Parameters
    ----------
    maps, masks
        One of each a case.
    images
        Which image each case is of, from 0; each its own when not given.
    tolerance
        How many pixels of the mask beside the part still count; chance grows with it.
    seed
        Of the interval.

    Raises
    ------
    DataError
        If there is no case, or a mask is empty.

    Notes
    -----
    Where several places are equally high, the share of them on the part counts. Chance is the mean share of the image
    that counts as the part. The paper allows 15 pixels.

    References
    ----------
    Zhang et al., "Top-down neural attention by excitation backprop", IJCV 2018, section 4.2.
    """
    _check(maps, masks)
    near = _widened(masks, tolerance)
    grown = enlarged(maps, masks.shape[1:])
    highest = grown == grown.amax((1, 2), keepdim=True)
    hits = (highest & near).sum((1, 2)).double() / highest.sum((1, 2))
    return Localisation(mean_over_images(hits, images, seed=seed), float(near.double().mean((1, 2)).mean()))


def relevance_mass(
    maps: Float[Tensor, "m h w"],
    masks: Bool[Tensor, "q H W"],
    *,
    images: Int[Tensor, "m"] | None = None,
    seed: int = 0,
) -> Localisation:
    """Share of the maps' positive values that lies on the part; chance is the part's share of the area.

    A map without any positive value puts nothing on the part and counts as 0. Arguments and errors as in
    `pointing_game`.

    References
    ----------
    Arras et al., "CLEVR-XAI: a benchmark dataset for the ground truth evaluation of neural network explanations",
    Information Fusion 2022 (relevance mass accuracy).
    """
    _check(maps, masks)
    positive = enlarged(maps, masks.shape[1:]).clamp(min=0).double()
    total = positive.sum((1, 2))
    inside = (positive * masks).sum((1, 2)) / torch.where(total > 0, total, 1.0)
    return Localisation(mean_over_images(inside, images, seed=seed), float(masks.double().mean((1, 2)).mean()))


def clm_rank(
    maps: Float[Tensor, "m h w"],
    points: Int[Tensor, "m 2"],
    size: tuple[int, int],
    *,
    images: Int[Tensor, "m"] | None = None,
    seed: int = 0,
) -> Localisation:
    """Concept location metric without a free size: share of the image that the map puts below the part's middle.

    Parameters
    ----------
    points
        Row and column of the middle of each case's part, in an image of `size` (see `middle`).

    Notes
    -----
    Equal values count half, so a constant map gets 0.5, which is chance. The mean over all sizes of region of the
    published form, `clm_published`.
    """
    ranks, _ = _ranks(maps, points, size)
    return Localisation(mean_over_images(ranks, images, seed=seed), 0.5)


def clm_published(
    maps: Float[Tensor, "m h w"],
    points: Int[Tensor, "m 2"],
    size: tuple[int, int],
    *,
    alpha: float,
    images: Int[Tensor, "m"] | None = None,
    seed: int = 0,
) -> Localisation:
    """Concept location metric as published: share of cases with the part's middle among the highest `alpha / 12` pixels.

    Where pixels are equally high at the edge of the region, the chance that the middle is drawn among them counts.

    References
    ----------
    Aysel, Cai and Prügel-Bennett, "Concept-based explainable artificial intelligence: metrics and benchmarks",
    arXiv 2501.19271, 2025. Twelve is the number of parts of CUB with left and right merged.
    """
    share = min(1.0, alpha / PARTS_OF_CUB)
    ranks, tied = _ranks(maps, points, size)
    above = 1 - ranks - tied / 2  # share of pixels that are higher for sure
    hits = ((share - above) / tied).clamp(0, 1)
    return Localisation(mean_over_images(hits, images, seed=seed), share)


def middle(mask: Bool[np.ndarray, "H W"]) -> tuple[int, int]:
    """Row and column of the pixel of a part that is nearest to the mean of its pixels, so that it lies on the part.

    Raises
    ------
    DataError
        If the mask is empty.
    """
    pixels = np.argwhere(mask)
    if not len(pixels):
        raise DataError("this mask is empty: the part is not in the image")
    row, column = pixels[np.square(pixels - pixels.mean(0)).sum(1).argmin()]
    return int(row), int(column)


def enlarged(maps: Float[Tensor, "m h w"], size: tuple[int, int] | torch.Size) -> Float[Tensor, "m H W"]:
    """Maps at another size, bilinearly."""
    return interpolate(maps[:, None].float(), size=tuple(size), mode="bilinear", align_corners=False)[:, 0]


def mean_over_images(
    values: Float[Tensor, "m"], images: Int[Tensor, "m"] | None = None, *, seed: int = 0, high: float = 1.0
) -> Estimate:
    """The mean of the cases' values, with an interval from resampling images, whole with all their cases.

    `n` is the number of images.

    Raises
    ------
    DataError
        If there are no cases.
    """
    if not len(values):
        raise DataError("there is nothing to average", hint="choose images on which the part is visible")
    own = torch.arange(len(values)) if images is None else torch.unique(images, return_inverse=True)[1]
    n = int(own.max()) + 1
    sums = torch.zeros(n, dtype=torch.float64).index_add_(0, own, values.double())
    cases = torch.zeros(n, dtype=torch.float64).index_add_(0, own, torch.ones(len(own), dtype=torch.float64))
    return bootstrap(lambda counts: counts @ sums / (counts @ cases), n, seed=seed, high=high)


def _ranks(
    maps: Float[Tensor, "m h w"], points: Int[Tensor, "m 2"], size: tuple[int, int]
) -> tuple[Float[Tensor, "m"], Float[Tensor, "m"]]:
    """Share of pixels below the point, equal ones half; and the share that equals it, itself included."""
    if len(maps) != len(points):
        raise DataError(f"there are {len(maps)} maps, but {len(points)} points")
    values = enlarged(maps, size)
    here = values[torch.arange(len(maps)), points[:, 0], points[:, 1]][:, None, None]
    equal = (values == here).double().mean((1, 2))
    return (values < here).double().mean((1, 2)) + equal / 2, equal


def _widened(masks: Bool[Tensor, "m H W"], pixels: float) -> Bool[Tensor, "m H W"]:
    """The parts with everything that is at most so far away."""
    if pixels <= 0:
        return masks
    from scipy.ndimage import distance_transform_edt

    return torch.stack([torch.from_numpy(distance_transform_edt(~mask.numpy()) <= pixels) for mask in masks])


def _check(maps: Float[Tensor, "m h w"], masks: Bool[Tensor, "q H W"]) -> None:
    if len(maps) != len(masks):
        raise DataError(f"there are {len(maps)} maps, but {len(masks)} masks")
    if len(masks) and not bool(masks.flatten(1).any(1).all()):
        raise DataError("a mask is empty: the part is not in the image", hint="leave out cases whose part is hidden")
