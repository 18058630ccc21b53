"""Concept banks of words and of candidate sentences: what they are, and where each concept came from."""

from collections.abc import Sequence
from dataclasses import replace

from cbm.bank import ConceptBank, Origin
from cbm.encoders import TextEncoder
from cbm.errors import DataError
from cbm.progress import OnProgress, silent
from cbm.sources import bank_from_texts
from cbm.vocabulary import Cleaned
from cbm.words import Sifted, Word


def known_to(encoder: TextEncoder, words: Sequence[Word]) -> Sifted:
    """The words that an encoder can read; those that spell words out of pieces read everything.

    Raises
    ------
    DataError
        If it can read none.
    """
    knows = getattr(encoder, "knows", lambda text: True)
    kept = tuple(word for word in words if knows(word.text))
    if words and not kept:
        raise DataError(f"{encoder.id} knows none of {len(words):,} words", hint="give words that it was trained on")
    return Sifted(kept, (("unknown to the encoder", len(words) - len(kept)),) if len(kept) < len(words) else ())


def bank_from_words(encoder: TextEncoder, words: Sequence[Word], *, on_progress: OnProgress = silent) -> ConceptBank:
    """A concept for each word that the encoder knows, in the word's group.

    Raises
    ------
    DataError
        If no word is left.
    """
    known = known_to(encoder, words).words
    groups = {word.text: word.group for word in known if word.group}
    bank = bank_from_texts(encoder, [word.text for word in known], groups=groups, on_progress=on_progress)
    details = [
        f"{word.part or 'phrase'}, prompts {origin.detail}" for word, origin in zip(known, bank.origin, strict=True)
    ]
    return replace(bank, origin=tuple(Origin("vocabulary", detail) for detail in details))


def bank_from_sentences(
    encoder: TextEncoder, cleaned: Cleaned, classes: Sequence[str], *, on_progress: OnProgress = silent
) -> ConceptBank:
    """A concept for each sentence that may stay, read as it is, with the classes that list it.

    Raises
    ------
    DataError
        If no sentence is left.
    """
    bank = bank_from_texts(encoder, cleaned.sentences, templates=("{}",), on_progress=on_progress)
    listed = ["listed for " + ", ".join(classes[label] for label in owners) for owners in cleaned.owners]
    return replace(bank, origin=tuple(Origin("sentence", detail) for detail in listed))
