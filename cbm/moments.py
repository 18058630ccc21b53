"""Mean and covariance of embeddings that need not fit into memory."""

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.process_group import ALONE, Group

ROWS = 4096


def moments(x: Float[Tensor, "n d"], group: Group = ALONE) -> tuple[Float[Tensor, "d"], Float[Tensor, "d d"]]:
    """Mean and covariance, in double precision, from one pass.

    Parameters
    ----------
    x
        Embeddings; read a few thousand at a time, so they may be a memory map.
    group
        Processes that all have the same embeddings; each reads its share.

    Examples
    --------
    >>> mean, covariance = moments(torch.tensor([[1.0, 0.0], [3.0, 4.0]]))
    >>> mean.tolist(), covariance.tolist()
    ([2.0, 2.0], [[1.0, 2.0], [2.0, 4.0]])
    """
    origin = x[0].double()  # near the mean, compared with zero: squares lose no digits to it
    total, squares = torch.zeros_like(origin), origin.new_zeros(len(origin), len(origin))
    for rows in torch.split(x[group.rank :: group.size], ROWS):
        block = rows.double() - origin
        total += block.sum(0)
        squares += block.T @ block
    group.sum_(total, squares)
    mean = total / len(x)
    return origin + mean, squares / len(x) - torch.outer(mean, mean)
