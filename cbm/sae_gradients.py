"""The gradient of a sparse autoencoder, written out: where few codes are left, no others are touched.

What the atoms read is a product of whole matrices, or a first look at it in bfloat16. Decoding, the gradients of the codes and
those of both weights follow from the few codes alone, and from whole matrices where "relu" has left many.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from cbm.first_look import halved, promising, worth_a_look
from cbm.process_group import ALONE, Group
from cbm.sae import Dictionary, Kind, Precision, activate
from cbm.sparse_codes import Sparse, largest_of_all, largest_of_rows, positive

FEW = 0.06  # share of codes that are not zero below which their products are worth taking one by one
WIDE = 256  # atoms below which whole matrices are faster all the same
threshold_backward = torch.ops.aten.threshold_backward  # what is positive goes through, elsewhere zero


@dataclass(frozen=True)
class Step:
    """What a batch says: the loss of each embedding, the squared length of what it misses, the gradient of their mean
    loss, and how often each atom was used."""

    losses: Float[Tensor, "n"]
    missed: Float[Tensor, "n"]
    encoder: Float[Tensor, "h d"]
    bias: Float[Tensor, "h"]
    decoder: Float[Tensor, "h d"]
    centre: Float[Tensor, "d"]
    used: Int[Tensor, "h"]


def losses(dictionary: Dictionary, x: Float[Tensor, "n d"], *, l1: float) -> Float[Tensor, "n"]:
    """Squared length of what is not reconstructed, plus `l1` times the sum of the codes."""
    codes = activate(dictionary.read(x), dictionary.kind, dictionary.k)
    return (dictionary.decode(codes) - x).square().sum(1) + l1 * codes.sum(1)


def gradients(
    dictionary: Dictionary,
    x: Float[Tensor, "n d"],
    *,
    l1: float,
    of: int | None = None,
    group: Group = ALONE,
    precision: Precision = "float32",
    room: Float[Tensor, "n h"] | None = None,
) -> Step:
    """The gradient of the mean of `losses`, without its part along each atom, which has to keep its length.

    Parameters
    ----------
    of, group
        For a part of a batch: the embeddings of the whole batch, and the processes that have the other parts. Then the
        gradients of all parts add up to that of the batch.
    precision
        Of the products of whole matrices when "relu" leaves many codes: "bfloat16" is several times faster where
        processors multiply in it, and its gradients have two or three digits.
    room
        Where what the atoms read is written: memory that is used again costs less than new memory.

    Notes
    -----
    The published code takes the mean over the `d` features of the squared error, and the sum of the codes: its penalty
    is `d` times ours, and means something else for each encoder. Only what the atoms read is a product of whole
    matrices. Where few codes are left, decoding, their gradients and both weight gradients touch no others; the largest
    are found by a first look in bfloat16, which changes none of them.
    """
    inside = x - dictionary.centre
    of = of or len(x)
    if precision == "bfloat16" and dictionary.kind == "relu":
        codes = _read_in_halves(dictionary, inside, room)
        if np.count_nonzero(_positive(codes)) > FEW * codes.numel():
            return _dense(dictionary, x, inside, codes, l1, of)
    few = _looked_up(dictionary, inside, of, group, room)
    if few is None:
        read = torch.addmm(dictionary.bias, inside, dictionary.encoder.T, out=room)
        few = few_codes(read, dictionary.kind, dictionary.k, of, group) if _spares(dictionary, group) else None
    if few is None:
        codes = read.relu_() if dictionary.kind == "relu" else activate(read, dictionary.kind, dictionary.k)
        return _dense(dictionary, x, inside, codes, l1, of)
    missed = few.times(dictionary.decoder) + dictionary.centre - x
    down = missed * (2 / of)
    through = few.products(down, dictionary.decoder).plus(l1 / of)
    turn = few.by_columns()
    total = through.column_sums()
    squared = missed.square().sum(1)
    return Step(
        losses=squared + l1 * few.row_sums(),
        missed=squared,
        encoder=through.transposed_times(inside, turn),
        bias=total,
        decoder=_across(few.transposed_times(down, turn), dictionary.decoder),
        centre=down.sum(0) - total @ dictionary.encoder,  # added after decoding, taken off before encoding
        used=few.column_counts(),
    )


def few_codes(
    read: Float[Tensor, "n h"], kind: Kind, k: int, of: int | None = None, group: Group = ALONE
) -> Sparse | None:
    """The codes that `activate` leaves, if they are few; `None` for "relu" when they are not.

    `of` and `group` as in `gradients`: the largest of a batch are those of all its parts.
    """
    if kind == "topk":
        return largest_of_rows(read, k)
    if kind == "batchtopk":
        return largest_of_all(read, k * (of or len(read)), group)
    return positive(read, at_most=FEW)


def _looked_up(
    dictionary: Dictionary,
    inside: Float[Tensor, "n d"],
    of: int,
    group: Group,
    room: Float[Tensor, "n h"] | None,
) -> Sparse | None:
    """The same as `few_codes`, by a first look in bfloat16; `None` where that is no help."""
    kind, k = dictionary.kind, dictionary.k
    if kind == "relu" or not worth_a_look(of // group.size, len(dictionary), k):  # the same in all processes
        return None
    look = partial(promising, inside, dictionary.encoder, dictionary.bias, group=group, room=room)
    if kind == "topk":
        return look("rows", k).largest_of_rows(k)
    return look("all", k * len(inside)).largest_of_all(k * of, group)


def _spares(dictionary: Dictionary, group: Group) -> bool:
    """Whether to look for few codes; of a batch in parts, "batchtopk" has to."""
    return len(dictionary) >= WIDE or (dictionary.kind == "batchtopk" and group.size > 1)


def _dense(
    dictionary: Dictionary,
    x: Float[Tensor, "n d"],
    inside: Float[Tensor, "n d"],
    codes: Float[Tensor, "n h"],
    l1: float,
    of: int,
) -> Step:
    """The same for codes that are many; each product is of whole matrices, in the precision of the codes."""
    dtype, n = codes.dtype, len(x)
    decoder, inner = dictionary.decoder.to(dtype), inside.to(dtype)
    missed = (codes @ decoder).float() + dictionary.centre - x
    down = missed * (2 / of)
    low = down.to(dtype)
    back = threshold_backward((low @ decoder.T).add_(l1 / of), codes, 0)
    total, squared = (torch.ones(1, n, dtype=dtype) @ back)[0].float(), missed.square().sum(1)
    return Step(
        losses=squared + l1 * (codes @ torch.ones(codes.shape[1], dtype=dtype)).float(),
        missed=squared,
        encoder=(back.T @ inner).float(),
        bias=total,
        decoder=_across((codes.T @ low).float(), dictionary.decoder),
        centre=down.sum(0) - total @ dictionary.encoder,
        used=torch.from_numpy(np.count_nonzero(_positive(codes), axis=0)),
    )


def _read_in_halves(
    dictionary: Dictionary, inside: Float[Tensor, "n d"], room: Float[Tensor, "n h"] | None
) -> Float[Tensor, "n h"]:
    """Codes of "relu" in bfloat16."""
    out = None if room is None else halved(room)
    bias, encoder = dictionary.bias.bfloat16(), dictionary.encoder.bfloat16()
    return torch.addmm(bias, inside.bfloat16(), encoder.T, out=out).relu_()


def _positive(codes: Float[Tensor, "n h"]) -> NDArray[np.bool_]:
    """Which are; numbers in bfloat16 are as their bits, which numpy knows."""
    found: NDArray[np.bool_] = (codes.view(torch.int16) if codes.dtype == torch.bfloat16 else codes).numpy() > 0
    return found


def _across(gradient: Float[Tensor, "h d"], atoms: Float[Tensor, "h d"]) -> Float[Tensor, "h d"]:
    """The gradient without its part along each atom; changes it in place."""
    along = torch.linalg.vecdot(gradient, atoms)
    return gradient.addcmul_(atoms, along[:, None], value=-1)
