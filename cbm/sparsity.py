"""How many concepts a head really uses, and heads cut down to a chosen number of them.

NEC, the number of effective concepts, is the mean count of non-zero weights a class. Accuracies of concept models are
comparable only at equal NEC: with enough concepts, even random ones reproduce a linear probe.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

SMALLEST_WEIGHT = 1e-5
Truncation = Literal["global", "per-class"]


def effective_concepts(weight: Float[Tensor, "c k"]) -> float:
    """Mean number of weights above 1e-5 a class (NEC).

    References
    ----------
    Srivastava et al., "VLG-CBM", NeurIPS 2024, section 4.

    Examples
    --------
    >>> effective_concepts(torch.tensor([[0.5, 0.0, -1.0], [0.0, 0.0, 2.0]]))
    1.5
    """
    return float((weight.abs() > SMALLEST_WEIGHT).sum()) / len(weight)


def strongest(weight: Float[Tensor, "c k"], nec: float, truncation: Truncation = "global") -> Bool[Tensor, "c k"]:
    """Where the largest weights are: `nec` a class, on average over classes or in each class.

    Parameters
    ----------
    truncation
        "global" keeps the largest of all weights, as VLG-CBM's protocol does, so classes may differ widely.
        "per-class" keeps the same number in each class, `nec` rounded.

    Returns
    -------
    True at most where the weight is not zero. Weights that tie with the smallest one kept are kept.
    """
    size = weight.abs()
    if truncation == "per-class":
        keep = min(round(nec), weight.shape[1])
        threshold = size.topk(keep, dim=1).values[:, -1:] if keep else torch.full_like(size[:, :1], torch.inf)
    else:
        keep = min(round(nec * len(weight)), weight.numel())
        threshold = size.flatten().topk(keep).values[-1] if keep else torch.tensor(torch.inf)
    return (size >= threshold) & (size > 0)


def truncate(weight: Float[Tensor, "c k"], nec: float, truncation: Truncation = "global") -> Float[Tensor, "c k"]:
    """The same weights with all but the strongest set to zero."""
    return torch.where(strongest(weight, nec, truncation), weight, 0.0)
