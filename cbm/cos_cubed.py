"""Cos-cubed: how alike two sets of activations are on the images where they are strong.

Both are centred and cubed before their cosine is taken, so that the few images with strong activations decide. A scale
does not matter and is taken off before cubing, so small activations lose nothing to rounding or to a fixed floor.
"""

import torch
from jaxtyping import Float
from torch import Tensor

FLAT = 1e-6  # spread of an activation, as a share of its size, below which it is the same on every image


def cos_cubed(a: Float[Tensor, "n k"], b: Float[Tensor, "n k"]) -> Float[Tensor, "k"]:
    """Cos-cubed of each column of `a` with the same column of `b`; between -1 and 1, zero for a constant column.

    References
    ----------
    Oikarinen, Das, Nguyen, Weng, "Label-free concept bottleneck models", ICLR 2023, equation 2.

    Notes
    -----
    The published code gives NaN for a column that is constant.
    """
    return (cubed(a) * cubed(b)).sum(0)


def cos_cubed_table(a: Float[Tensor, "n m"], b: Float[Tensor, "n k"]) -> Float[Tensor, "m k"]:
    """Cos-cubed of each column of `a` with each column of `b`.

    Notes
    -----
    The published code (CLIP-Dissect) divides by at least 1e-3. Cubes of CLIP's cosines have smaller norms than that on
    a few hundred images, so its values are no cosines there; here they are.
    """
    return cubed(a).T @ cubed(b)


def cubed(a: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Columns centred, cubed and scaled to unit length; a constant column becomes zero."""
    centred = a - a.mean(0)
    largest = centred.abs().amax(0)
    flat = largest <= FLAT * a.abs().amax(0)
    cubes = (centred / torch.where(flat, 1.0, largest)) ** 3
    return torch.where(flat, 0.0, cubes / torch.where(flat, 1.0, cubes.norm(dim=0)))
