"""Sparse autoencoders on embeddings: a dictionary of atoms, few of which add up to each embedding.

Three ways to keep the codes few are one function, `activate`; the gradient is written out once and serves all three.
A dictionary is a value in the units of the embeddings, whatever scale it was trained in.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.process_group import ALONE, Group
from cbm.sparse_codes import Sparse, largest_of_all, largest_of_rows, positive
from cbm.streams import Rows, blocks

Kind = Literal["relu", "topk", "batchtopk"]
KINDS: tuple[Kind, ...] = ("relu", "topk", "batchtopk")
FEW = 0.06  # share of codes that are not zero below which their products are worth taking one by one
WIDE = 256  # atoms below which whole matrices are faster all the same


@dataclass(frozen=True)
class Dictionary:
    """Atoms, and how much of each an embedding has.

    Attributes
    ----------
    encoder, bias
        `[h d]` and `[h]`; what is read before the codes are made few is `(x - centre) @ encoder.T + bias`.
    decoder
        `[h d]`, one atom a row, of unit length; the reconstruction is `codes @ decoder + centre`.
    centre
        `[d]`, taken off before and added after.
    kind
        "relu" keeps what is positive; "topk" the `k` largest of each image; "batchtopk" the largest of many images
        together, `k` an image on average.
    k
        Codes an image, for the last two.
    threshold
        What a code has to exceed so that `k` an image are left on average; zero for "relu".
    """

    encoder: Float[Tensor, "h d"]
    bias: Float[Tensor, "h"]
    decoder: Float[Tensor, "h d"]
    centre: Float[Tensor, "d"]
    kind: Kind = "relu"
    k: int = 0
    threshold: float = 0.0

    def __len__(self) -> int:
        return len(self.bias)

    def encode(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n h"]:
        """Codes, none negative. Those of an image do not depend on the other images.

        Notes
        -----
        "batchtopk" is trained on batches, but read through its threshold (Bussmann, Leask, Nanda, "BatchTopK sparse
        autoencoders", 2024).
        """
        read = self.read(x)
        return activate(read, "topk", self.k) if self.kind == "topk" else gate(read, self.threshold)

    def decode(self, codes: Float[Tensor, "n h"]) -> Float[Tensor, "n d"]:
        """What the codes stand for, in the space of the embeddings."""
        return torch.addmm(self.centre, codes, self.decoder)

    def read(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n h"]:
        """What every atom reads in the embedding, before the codes are made few."""
        return torch.addmm(self.bias, x - self.centre, self.encoder.T)


def gate(read: Float[Tensor, "n h"], threshold: Float[Tensor, "h"] | float) -> Float[Tensor, "n h"]:
    """What exceeds the threshold, unchanged, and zero in place of the rest."""
    return torch.where(read > threshold, read, 0.0)


def activate(read: Float[Tensor, "n h"], kind: Kind, k: int) -> Float[Tensor, "n h"]:
    """Codes of a batch, of which few are not zero; none is negative.

    References
    ----------
    "relu": Bricken et al., "Towards monosemanticity", 2023. "topk": Gao et al., "Scaling and evaluating sparse
    autoencoders", ICLR 2025. "batchtopk": Bussmann, Leask, Nanda, "BatchTopK sparse autoencoders", 2024.
    """
    if kind == "relu":
        return read.clamp(min=0)
    rows = read if kind == "topk" else read.reshape(1, -1)
    largest = rows.topk(min(k * (1 if kind == "topk" else len(read)), rows.shape[1]), dim=1, sorted=False)
    return torch.zeros_like(rows).scatter_(1, largest.indices, largest.values.clamp(min=0)).view_as(read)


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
    room: Float[Tensor, "n h"] | None = None,
) -> Step:
    """The gradient of the mean of `losses`, without its part along each atom, which has to keep its length.

    Parameters
    ----------
    of, group
        For a part of a batch: the embeddings of the whole batch, and the processes that have the other parts. Then the
        gradients of all parts add up to that of the batch.
    room
        Where what the atoms read is written: memory that is used again costs less than new memory.

    Notes
    -----
    The published code takes the mean over the `d` features of the squared error, and the sum of the codes: its penalty
    is `d` times ours, and means something else for each encoder. Only what the atoms read is a product of whole
    matrices. Where few codes are left, decoding, their gradients and both weight gradients touch no others.
    """
    inside = x - dictionary.centre
    read = torch.addmm(dictionary.bias, inside, dictionary.encoder.T, out=room)
    of = of or len(x)
    few = few_codes(read, dictionary.kind, dictionary.k, of, group) if _spares(dictionary, group) else None
    if few is None:
        return _dense(dictionary, x, inside, activate(read, dictionary.kind, dictionary.k), l1, of)
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
    """The same for codes that are many; each product is of whole matrices."""
    missed = torch.addmm(dictionary.centre, codes, dictionary.decoder) - x
    down = missed * (2 / of)
    back = (down @ dictionary.decoder.T).add_(l1 / of).mul_(codes > 0)
    total, squared = back.sum(0), missed.square().sum(1)
    return Step(
        losses=squared + l1 * codes.sum(1),
        missed=squared,
        encoder=back.T @ inside,
        bias=total,
        decoder=_across(codes.T @ down, dictionary.decoder),
        centre=down.sum(0) - total @ dictionary.encoder,
        used=(codes > 0).sum(0),
    )


def _across(gradient: Float[Tensor, "h d"], atoms: Float[Tensor, "h d"]) -> Float[Tensor, "h d"]:
    """The gradient without its part along each atom; changes it in place."""
    along = torch.linalg.vecdot(gradient, atoms)
    return gradient.addcmul_(atoms, along[:, None], value=-1)


def calibrated(dictionary: Dictionary, x: Float[Tensor, "n d"]) -> float:
    """The threshold that leaves `k` codes an image on average; zero for "relu", or when fewer are positive."""
    if dictionary.kind == "relu":
        return 0.0
    read = dictionary.read(x).flatten()
    wanted = dictionary.k * len(x)
    return max(float(read.topk(wanted + 1).values[-1]), 0.0) if wanted < len(read) else 0.0


@dataclass(frozen=True)
class Fit:
    """How good a dictionary is on some embeddings.

    Attributes
    ----------
    explained
        Share of the variance that the reconstruction has; 1 is all, and it can be negative.
    l0
        Codes that are not zero, on average an image.
    dead
        Share of the atoms that no image uses.
    uses
        Images that use each atom, `[h]`.
    """

    explained: float
    l0: float
    dead: float
    uses: Int[Tensor, "h"]


def measure(dictionary: Dictionary, x: Rows) -> Fit:
    """How much of these embeddings the dictionary explains, with how many atoms."""
    missed, uses = 0.0, torch.zeros(len(dictionary), dtype=torch.int64)
    total, squared = torch.zeros(len(dictionary.centre), dtype=torch.float64), 0.0
    for batch in blocks(x):
        codes = dictionary.encode(batch)
        missed += float((dictionary.decode(codes) - batch).double().square().sum())
        uses += (codes > 0).sum(0)
        away = (batch - dictionary.centre).double()
        total, squared = total + away.sum(0), squared + float(away.square().sum())
    return Fit(
        explained=1 - missed / (squared - float(total.square().sum()) / len(x)),
        l0=float(uses.sum()) / len(x),
        dead=float((uses == 0).double().mean()),
        uses=uses,
    )
