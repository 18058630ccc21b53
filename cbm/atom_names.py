"""Names for the atoms of a dictionary, from any list of words: each atom is called what its direction means in text.

A name is a guess. It comes with its cosine, with what else the atom might be called, and with a remark when another
word is about as close.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from cbm.bank import ConceptBank, Origin, Quality
from cbm.errors import DataError
from cbm.sae import Dictionary

CLOSE = 0.02  # difference of cosines below which two words name an atom about equally well
GUESSES = 5


@dataclass(frozen=True)
class AtomName:
    """What an atom is called: the closest words with their cosines, the closest first."""

    guesses: tuple[tuple[str, float], ...]

    @property
    def word(self) -> str:
        return self.guesses[0][0]

    @property
    def cosine(self) -> float:
        return self.guesses[0][1]

    @property
    def margin(self) -> float:
        """How much closer the word is than the next one; infinite when there is no other."""
        return self.cosine - self.guesses[1][1] if len(self.guesses) > 1 else float("inf")

    @property
    def note(self) -> str:
        """The name's cosine and its rivals, in one sentence."""
        others = ", ".join(f"“{word}” {cosine:.2f}" for word, cosine in self.guesses[1:3])
        weak = "hardly closer than the next word: " if self.margin < CLOSE else ""
        return f"{weak}cosine {self.cosine:.2f} with its word" + (f"; next {others}" if others else "")


def name_atoms(
    atoms: Float[Tensor, "h d"], words: Sequence[str], vectors: Float[Tensor, "v d"], *, centred: bool = True
) -> tuple[AtomName, ...]:
    """The words whose text embeddings are closest to each atom.

    Parameters
    ----------
    atoms
        Rows of the decoder, as `Dictionary.decoder` has them.
    words, vectors
        The vocabulary and its text embeddings.
    centred
        Take the mean of the vocabulary off first. All texts lie in one direction, away from all images; what tells
        words apart is the rest, and atoms are differences between images.

    Raises
    ------
    DataError
        If there is no word.

    References
    ----------
    Rao et al., "Discover-then-name", ECCV 2024, section 3.2; the published code does not centre.
    """
    if not len(words):
        raise DataError("there is no word to name atoms with", hint="give a list of words")
    texts = normalize(vectors, dim=1)
    texts = normalize(texts - texts.mean(0), dim=1) if centred and len(words) > 1 else texts
    cosine = normalize(atoms, dim=1) @ texts.T
    best = cosine.topk(min(GUESSES, len(words)), dim=1)
    return tuple(
        AtomName(tuple((words[i], value) for i, value in zip(row, values, strict=True)))
        for row, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )


def bank_of_atoms(
    dictionary: Dictionary, names: Sequence[AtomName], *, encoder_id: str = "", contract: str = ""
) -> ConceptBank:
    """The atoms as a concept bank, whose vectors read what the encoder of the dictionary reads."""
    return ConceptBank(
        names=_numbered(names),
        vectors=dictionary.encoder,
        intercepts=dictionary.bias - dictionary.encoder @ dictionary.centre,
        origin=tuple(Origin("atom", f"{dictionary.kind} dictionary, named “{name.word}”") for name in names),
        quality=tuple(Quality(note=name.note) for name in names),
        encoder_id=encoder_id,
        contract=contract,
    )


def _numbered(names: Sequence[AtomName]) -> tuple[str, ...]:
    """Distinct names: of atoms with one word the closest has the word alone, the others a number behind it."""
    words = {name.word for name in names}
    count: Counter[str] = Counter()
    given = [""] * len(names)
    for i in sorted(range(len(names)), key=lambda i: (-names[i].cosine, i)):
        word = names[i].word
        count[word] += 1
        while count[word] > 1 and f"{word} #{count[word]}" in words:
            count[word] += 1
        given[i] = word if count[word] == 1 else f"{word} #{count[word]}"
    return tuple(given)
