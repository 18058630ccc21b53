"""Concepts that nobody named: the atoms of a dictionary that enough images use, with words for names, as a concept bank.

The bank is what is kept: it serves any head and any data set of the same encoder, and its names can be changed by hand.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cbm.atom_names import AtomName, bank_of_atoms, name_by_direction, name_by_images
from cbm.bank import ConceptBank, Origin
from cbm.encoders import TextEncoder
from cbm.errors import DataError
from cbm.sae import Dictionary, gate
from cbm.sources import bank_from_texts
from cbm.streams import Rows, blocks

FEWEST = 5  # images that have to use an atom before it is a concept
IMAGES_AN_ATOM = 20  # training images for each atom, unless a width is given: from fewer none can be learned
WIDEST = 8  # atoms for each dimension, at most, then; as published
Way = Literal["images", "direction"]


def usual_width(n: int, d: int) -> int:
    """Atoms that so many images can teach.

    Examples
    --------
    >>> usual_width(2400, 64), usual_width(100_000, 512)
    (120, 4096)
    """
    return max(4, min(n // IMAGES_AN_ATOM, WIDEST * d))


def codes_of(dictionary: Dictionary, x: Float[Tensor, "n d"]) -> Float[Tensor, "n h"]:
    """What the images have of each atom, read through the threshold: no image's codes depend on other images."""
    return gate(dictionary.read(x), dictionary.threshold)


@dataclass(frozen=True)
class Use:
    """How many images have each atom, and the standard deviation of how much they have, `[h]` each."""

    images: Int[Tensor, "h"]
    spread: Float[Tensor, "h"]

    def enough(self, n: int) -> Int[Tensor, "k"]:
        """Positions of the atoms that enough of `n` images use, and not all alike.

        Raises
        ------
        DataError
            If there is none.
        """
        kept = torch.nonzero((self.images >= min(FEWEST, n)) & (self.spread > 0)).flatten()
        if not len(kept):
            raise DataError(
                f"no atom is used by {FEWEST} of {n} training images",
                hint="raise k or lower l1, learn fewer atoms, or use another bank",
            )
        return kept


def use_of(codes: Callable[[Tensor], Tensor], x: Rows) -> Use:
    """The use of atoms whose codes this function reads in some embeddings; all are looked at in blocks."""
    first = codes(next(blocks(x, 1)))[0].double()  # differences from it are exact where all are the same
    images, total, squared = (
        torch.zeros(len(first), dtype=torch.int64),
        torch.zeros_like(first),
        torch.zeros_like(first),
    )
    for block in blocks(x):
        found = codes(block)
        images += (found > 0).sum(0)
        away = found.double().sub_(first)
        total += away.sum(0)
        squared += away.square_().sum(0)
    return Use(images, (squared / len(x) - (total / len(x)).square()).clamp(min=0).sqrt().float())


def live_atoms(dictionary: Dictionary, x: Rows) -> Dictionary:
    """The atoms that enough of these images use, and not all alike.

    Raises
    ------
    DataError
        If there is none.
    """
    kept = use_of(partial(codes_of, dictionary), x).enough(len(x))
    rows = {name: getattr(dictionary, name)[kept] for name in ("encoder", "bias", "decoder")}
    return replace(dictionary, **rows)


def named_atoms(
    live: Dictionary, x: Rows, encoder: TextEncoder, words: Sequence[str], way: Way, *, contract: str
) -> ConceptBank:
    """The atoms as a bank, each named by the closest of the words.

    Parameters
    ----------
    x
        Images that use the atoms.
    way
        "images": the word whose similarity to the images correlates most with the atom's codes; "direction": the word
        whose text embedding has the largest cosine with the atom.
    """
    texts = bank_from_texts(encoder, words)
    return bank_of_atoms(
        live, guessed(live, x, texts.names, texts.vectors, way), encoder_id=encoder.id, contract=contract
    )


def unnamed_atoms(live: Dictionary, *, encoder_id: str = "", contract: str = "") -> ConceptBank:
    """The atoms as a bank, numbered and not named: for an encoder that reads no text, until a person names them."""
    numbered = [AtomName(((f"atom {place}", 0.0),)) for place in range(1, len(live) + 1)]
    bank = bank_of_atoms(live, numbered, encoder_id=encoder_id, contract=contract)
    origin = Origin("atom", f"{live.kind} dictionary, not named", (), live.threshold)
    return replace(bank, origin=(origin,) * len(bank))


def guessed(
    live: Dictionary, x: Rows, words: Sequence[str], vectors: Float[Tensor, "v d"], way: Way
) -> tuple[AtomName, ...]:
    """The closest words of each atom, by its images or by its direction."""
    if way == "images":
        return name_by_images(partial(codes_of, live), x, words, vectors)
    return name_by_direction(live.decoder, words, vectors)


def are_atoms(bank: ConceptBank) -> bool:
    """Whether all concepts of a bank are atoms, with what each has to exceed."""
    return all(origin.source == "atom" and origin.threshold is not None for origin in bank.origin)


def thresholds_of(bank: ConceptBank) -> Float[Tensor, "k"]:
    """What each atom of a bank has to exceed for an image to have it."""
    return torch.tensor([origin.threshold or 0.0 for origin in bank.origin])


def codes_of_bank(bank: ConceptBank, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
    """What the images have of each atom of a bank."""
    return gate(torch.addmm(bank.intercepts, x, bank.vectors.T), thresholds_of(bank))


def used_by(bank: ConceptBank, x: Rows) -> ConceptBank:
    """The atoms of a bank that enough of these images use.

    Raises
    ------
    DataError
        If there is none.
    """
    kept = use_of(partial(codes_of_bank, bank), x).enough(len(x))
    return bank.select([bank.names[i] for i in kept.tolist()])
