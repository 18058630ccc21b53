"""Changing a stored concept bank: a concept under another name is another bank under the same name."""

import shutil

from sqlalchemy import func, select, update

from app.db import reading, writing
from app.models import bank, bank_row
from app.tables import Bank
from app.workspace import Workspace
from cbm.errors import StoreError


def rename_concept(ws: Workspace, name: str, concept: str, to: str) -> None:
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
    from cbm.io import fingerprint, save_bank

    before = bank_row(ws, name).fingerprint
    renamed = bank(ws, name).rename(concept, to.strip())
    after = fingerprint(renamed)
    if after == before:
        return
    if not (ws.folder("banks") / after).exists():
        save_bank(renamed, ws.folder("banks") / after)
    changed = update(Bank).where(Bank.name == name, Bank.fingerprint == before).values(fingerprint=after)
    with writing(ws.engine) as session:
        done = session.scalar(changed.returning(Bank.id))
    if done is None:
        raise StoreError(f"the bank {name!r} was changed meanwhile", hint="look at it again, and repeat the change")
    _remove_unused(ws, before)


def _remove_unused(ws: Workspace, fingerprint: str) -> None:
    with reading(ws.engine) as session:
        used = session.scalar(select(func.count()).where(Bank.fingerprint == fingerprint))
    if not used and (ws.folder("banks") / fingerprint).exists():
        shutil.rmtree(ws.folder("banks") / fingerprint)
