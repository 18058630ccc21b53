"""P-values of several tests at once."""

import torch
from jaxtyping import Float
from torch import Tensor


def holm(p_values: Float[Tensor, "k"]) -> Float[Tensor, "k"]:
    """P-values corrected for their number: below 0.05 are only those that hold together with 95 % confidence.

    NaN stays and does not count.

    References
    ----------
    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 1979.

    Examples
    --------
    >>> [round(p, 2) for p in holm(torch.tensor([0.01, 0.04, 0.03])).tolist()]
    [0.03, 0.06, 0.06]
    """
    order = p_values.nan_to_num(nan=2.0).argsort()
    m = int((~p_values.isnan()).sum())
    factors = torch.arange(m, m - len(p_values), -1).clamp(min=0)
    corrected = torch.empty_like(p_values)
    corrected[order] = (p_values[order].nan_to_num() * factors).cummax(0).values.clamp(max=1)
    return torch.where(p_values.isnan(), torch.nan, corrected)
