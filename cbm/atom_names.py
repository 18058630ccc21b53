"""Names for the atoms of a dictionary, from any list of words: by an atom's direction, or by the images that use it.

A name is a guess. It says how close it is and what else the atom might be called, with a remark when another word is
about as close.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from cbm.bank import ConceptBank, Origin, Quality
from cbm.errors import DataError
from cbm.sae import Dictionary
from cbm.streams import Rows, blocks, shape_of

CLOSE = 0.02  # difference below which two words name an atom about equally well
GUESSES = 5
Measure = Literal["cosine", "correlation"]


@dataclass(frozen=True)
class AtomName:
    """What an atom is called: the closest words and how close they are, by cosine or correlation; the closest first."""

    guesses: tuple[tuple[str, float], ...]
    measure: Measure = "cosine"

    @property
    def word(self) -> str:
        return self.guesses[0][0]

    @property
    def closeness(self) -> float:
        return self.guesses[0][1]

    @property
    def margin(self) -> float:
        """How much closer the word is than the next one; infinite when there is no other."""
        return self.closeness - self.guesses[1][1] if len(self.guesses) > 1 else float("inf")

    @property
    def note(self) -> str:
        """What there is to say against the name, in one sentence; empty when nothing is."""
        if self.margin >= CLOSE:
            return ""
        (word, close), (other, next_close) = self.guesses[:2]
        return f"hardly closer to “{word}” than to “{other}”: {self.measure} {close:.2f} and {next_close:.2f}"


def name_by_direction(
    atoms: Float[Tensor, "h d"], words: Sequence[str], vectors: Float[Tensor, "v d"]
) -> tuple[AtomName, ...]:
    """The words whose text embeddings have the largest cosines with each atom.

    Parameters
    ----------
    atoms
        Rows of the decoder, as `Dictionary.decoder` has them.
    words, vectors
        The vocabulary and its text embeddings.

    Raises
    ------
    DataError
        If there is no word.

    References
    ----------
    Rao et al., "Discover-then-name", ECCV 2024, section 3.2.
    """
    return _closest(normalize(atoms, dim=1) @ normalize(vectors, dim=1).T, words, "cosine")


def name_by_images(
    codes: Callable[[Tensor], Tensor], x: Rows, words: Sequence[str], vectors: Float[Tensor, "v d"]
) -> tuple[AtomName, ...]:
    """The words whose similarities to the images correlate most with the atoms' codes on them.

    Some words are close to every image, or differ a lot between images; a correlation takes both off, a cosine between
    an atom and a text does not.

    Parameters
    ----------
    codes
        Reads the codes of some embeddings, `[m d]` to `[m h]`.
    x
        Embeddings of all images, which are looked at in blocks.
    words, vectors
        The vocabulary and its text embeddings.

    Raises
    ------
    DataError
        If there is no word.

    Notes
    -----
    A similarity is linear in the embedding, so the correlations follow from the covariance of the codes with the
    embeddings; similarities of all images with all words are never held.
    """
    texts, centre = normalize(vectors, dim=1).double(), shape_of(x).centre
    first = codes(next(blocks(x)))[:1]  # differences from it are exact where all are the same
    width, d = first.shape[1], len(centre)
    between, around, total, square = (torch.zeros(*size).double() for size in ((width, d), (d, d), (width,), (width,)))
    for block in blocks(x):
        shape, inside = codes(block) - first, block - centre
        between += shape.T @ inside
        around += inside.T @ inside
        total += shape.double().sum(0)
        square += shape.double().square().sum(0)
    length = (square - total.square() / len(x)).clamp(min=0).sqrt()
    spread = ((texts @ around) * texts).sum(1).sqrt()
    return _closest((between @ texts.T / torch.outer(length, spread).clamp(min=1e-12)).float(), words, "correlation")


def bank_of_atoms(
    dictionary: Dictionary, names: Sequence[AtomName], *, encoder_id: str = "", contract: str = ""
) -> ConceptBank:
    """The atoms as a concept bank, whose vectors read what the encoder of the dictionary reads."""
    return ConceptBank(
        names=_numbered(names),
        vectors=dictionary.encoder,
        intercepts=dictionary.bias - dictionary.encoder @ dictionary.centre,
        origin=tuple(
            Origin("atom", f"{dictionary.kind} dictionary, named “{name.word}”", name.guesses, dictionary.threshold)
            for name in names
        ),
        quality=tuple(Quality(note=name.note) for name in names),
        encoder_id=encoder_id,
        contract=contract,
    )


def _closest(closeness: Float[Tensor, "h v"], words: Sequence[str], measure: Measure) -> tuple[AtomName, ...]:
    if not len(words):
        raise DataError("there is no word to name atoms with", hint="give a list of words")
    best = closeness.topk(min(GUESSES, len(words)), dim=1)
    return tuple(
        AtomName(tuple((words[i], value) for i, value in zip(row, values, strict=True)), measure)
        for row, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )


def _numbered(names: Sequence[AtomName]) -> tuple[str, ...]:
    """Distinct names: of atoms with one word the closest has the word alone, the others a number behind it."""
    words = {name.word for name in names}
    count: Counter[str] = Counter()
    given = [""] * len(names)
    for i in sorted(range(len(names)), key=lambda i: (-names[i].closeness, i)):
        word = names[i].word
        count[word] += 1
        while count[word] > 1 and f"{word} #{count[word]}" in words:
            count[word] += 1
        given[i] = word if count[word] == 1 else f"{word} #{count[word]}"
    return tuple(given)
