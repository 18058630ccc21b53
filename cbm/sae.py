"""Sparse autoencoders on embeddings: a dictionary of atoms, few of which add up to each embedding.

Three ways to keep the codes few are one function, `activate`.
A dictionary is a value in the units of the embeddings, whatever scale it was trained in.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.streams import Rows, blocks

Kind = Literal["relu", "topk", "batchtopk"]
Precision = Literal["float32", "bfloat16"]
KINDS: tuple[Kind, ...] = ("relu", "topk", "batchtopk")


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
