"""Changing a stored concept bank: one of its concepts renamed, or more concepts in it."""

from typing import TYPE_CHECKING

from app.models import BankRow, bank, bank_row, replace_bank
from app.workspace import Workspace
from cbm.errors import UsageError

if TYPE_CHECKING:
    from cbm.bank import ConceptBank


def rename_concept(ws: Workspace, name: str, concept: str, to: str) -> BankRow:
    """Give a concept of a bank another name; models that were made from the bank keep their own.

    Raises
    ------
    UnknownName
        If there is no such bank or concept.
    DataError
        If the new name is empty or taken.
    StoreError
        If somebody else changed the bank meanwhile.
    """
    before = bank_row(ws, name).fingerprint
    return replace_bank(ws, name, bank(ws, name).rename(concept, to.strip()), instead_of=before)


def add_concepts(ws: Workspace, name: str, fresh: "ConceptBank") -> BankRow:
    """Put more concepts into a bank.

    Raises
    ------
    UsageError
        If a concept is in the bank already.
    DataError
        If they belong to another encoder.
    StoreError
        If somebody else changed the bank meanwhile.
    """
    from cbm.bank import merge

    before, there = bank_row(ws, name).fingerprint, bank(ws, name)
    twice = [concept for concept in fresh.names if concept in there.names]
    if twice:
        raise UsageError(f"{name!r} has a concept {twice[0]!r} already", hint="choose another name for the new one")
    return replace_bank(ws, name, merge(there, fresh), instead_of=before)
