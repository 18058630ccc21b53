"""Area under the ROC curve, with the structural components that its interval is made of.

The AUROC is the share of (positive, negative) pairs of images that are in the right order. Each image's own share of
right pairs is its component; the spread of the components over images gives an interval without resampling.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cbm.errors import DataError


def auroc(scores: Float[Tensor, "n"], positive: Bool[Tensor, "n"]) -> float:
    """Share of (positive, negative) pairs in which the positive image scores higher; ties count half.

    Raises
    ------
    DataError
        If one side has no image.

    Examples
    --------
    >>> auroc(torch.tensor([0.9, 0.4, 0.4, 0.1]), torch.tensor([True, True, False, False]))
    0.875
    """
    parts = auroc_components(scores, positive)
    return float(parts[positive].mean())


def auroc_components(scores: Float[Tensor, "n"], positive: Bool[Tensor, "n"]) -> Float[Tensor, "n"]:
    """For each image, the share of images of the other side that it is ordered rightly against, `[n]` double.

    The mean over the positives is the AUROC, and so is the mean over the negatives.

    Raises
    ------
    DataError
        If one side has no image.

    References
    ----------
    DeLong et al., "Comparing the areas under two or more correlated ROC curves", Biometrics 1988.
    """
    up, down = scores[positive].contiguous(), scores[~positive].contiguous()
    if len(up) == 0 or len(down) == 0:
        raise DataError("an AUROC needs images of both sides", hint="annotate images with and without the concept")
    parts = torch.empty(len(scores), dtype=torch.float64)
    parts[positive] = _share_below(up, down)
    parts[~positive] = 1 - _share_below(down, up)
    return parts


def chance_of_auroc(scores: Float[Tensor, "n"], positive: Bool[Tensor, "n"]) -> float:
    """Probability that randomly placed labels reach this AUROC (Mann and Whitney's test, one-sided).

    Raises
    ------
    DataError
        If one side has no image.
    """
    from scipy.stats import mannwhitneyu

    if bool(positive.all()) or not bool(positive.any()):
        raise DataError("an AUROC needs images of both sides", hint="annotate images with and without the concept")
    test = mannwhitneyu(scores[positive].numpy(), scores[~positive].numpy(), alternative="greater")
    return float(test.pvalue)


def _share_below(values: Float[Tensor, "m"], others: Float[Tensor, "o"]) -> Float[Tensor, "m"]:
    """Share of `others` below each value, equal ones counted half."""
    order = others.sort().values
    below = torch.searchsorted(order, values) + torch.searchsorted(order, values, right=True)
    return below.double() / (2 * len(others))
