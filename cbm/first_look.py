"""Which codes can be among the largest, by a first look in bfloat16: several times faster where processors multiply in it.

What the first look takes for small may be wrong by what rounding has done, and that is bounded, by Cauchy and Schwarz,
by the lengths of what was rounded away. All that may belong to the largest is kept, and read again in single precision:
the look changes the time, not which codes are found.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int16
from numpy.typing import NDArray
from torch import Tensor

from cbm.process_group import ALONE, Group
from cbm.sparse_codes import BLOCK, Sparse, at_positions

UNIT = 2.0**-8  # how far, as a share of it, a number is moved by rounding to bfloat16
PAD = 32  # columns beside the dimensions, as many as a processor takes at a time
LEAST = 2**20  # products below which looking twice takes longer
Among = Literal["rows", "all"]


def worth_a_look(rows: int, columns: int, k: int) -> bool:
    """Whether the first look saves time, here and for so many codes."""
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return rows * columns >= LEAST and columns % BLOCK == 0 and columns >= 4 * BLOCK * k and fast()


def halved(room: Float[Tensor, "n h"]) -> Float[Tensor, "n h"]:
    """The same memory as a matrix in bfloat16; half of it."""
    return room.view(torch.bfloat16).view(-1)[: room.numel()].view(room.shape)


def promising(
    x: Float[Tensor, "n d"],
    encoder: Float[Tensor, "h d"],
    bias: Float[Tensor, "h"],
    among: Among,
    count: int,
    *,
    group: Group = ALONE,
    room: Float[Tensor, "n h"] | None = None,
) -> Sparse:
    """What is read, `x @ encoder.T + bias`, where it may be positive and one of the largest.

    Parameters
    ----------
    among, count
        The largest `count` of each of the "rows", or of "all".
    group
        Processes that each look at some of the rows; of "all" are then those of all processes, as many as their counts
        together.
    room
        Memory to use.

    Notes
    -----
    Where `count` blocks of columns have maxima that surely are above some number, so are the `count` largest. Where each
    process has as many as it counts above a number of its own, all have above the least of these numbers. Positive
    numbers in bfloat16 are ordered as their bits are, so that integers are compared; that all which matters is positive
    at first look, twice the error is added to it.
    """
    n, h = x.shape[0], len(encoder)
    left, right, error = _factors(x, encoder, bias)
    low = torch.empty(n, h, dtype=torch.bfloat16) if room is None else halved(room)
    bits = torch.mm(left, right.T, out=low).view(torch.int16)
    at = np.flatnonzero(bits.numpy() >= _least(bits, among, count, error, group))
    maybe = at_positions(torch.from_numpy(at), torch.zeros(len(at)), (n, h))
    return maybe.products(x, encoder).plus(bias[maybe.columns])


def _factors(
    x: Float[Tensor, "n d"], encoder: Float[Tensor, "h d"], bias: Float[Tensor, "h"]
) -> tuple[Float[Tensor, "n e"], Float[Tensor, "h e"], Float[Tensor, "n"]]:
    """Two matrices in bfloat16 whose product is what is read, plus twice the error; and how far off it is, for each row.

    Of the result's own rounding the error knows nothing. The bias, and what is added, go in as three columns each.
    """
    d = x.shape[1]
    left, right = (torch.zeros(len(given), d + PAD, dtype=torch.bfloat16) for given in (x, encoder))
    left[:, :d], right[:, :d] = x, encoder
    off, lower = ((given - half[:, :d]).norm(dim=1) for given, half in ((x, left), (encoder, right)))
    length, height, most = x.norm(dim=1) + off, float(encoder.norm(dim=1).max()), float(lower.max())
    summing = (d + PAD) * 2.0**-24 * (length * (height + most) + float(bias.abs().max()))
    error = 1.01 * (off * height + length * most + summing) + 1e-30
    left[:, d : d + 3] = 1
    rest = bias + 2 * float(error.max())
    for column in range(d, d + 3):
        right[:, column] = rest
        rest = rest - right[:, column]
    return left, right, error


def _least(
    bits: Int16[Tensor, "n h"], among: Among, count: int, error: Float[Tensor, "n"], group: Group
) -> NDArray[np.int16]:
    """The bits of what all that is among the largest reaches at first look, in each row."""
    n, zero = len(bits), 2 * error.max()  # how zero looks
    least = zero
    maxima = bits.view(n, BLOCK, -1).amax(1).view(torch.bfloat16).float()
    surely = maxima.mul_(1 - UNIT).sub_(error[:, None]).view(n if among == "rows" else 1, -1).numpy()
    if count <= surely.shape[1]:
        place = surely.shape[1] - count
        least = least.maximum(torch.from_numpy(np.partition(surely, place, axis=1)[:, place]))
    if among == "all":
        least = zero + min(group.gather(float(least - zero)))
    lowest = (least - error) * (1 - UNIT)
    return (lowest[:, None].numpy().view(np.int32) >> 16).astype(np.int16)  # cut off, so not above it
