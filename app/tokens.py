"""Tokens for the REST interface: a random text that is shown once; the database keeps only its digest."""

import hashlib
import secrets
from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError

from app.db import reading, writing
from app.tables import Token
from app.workspace import Workspace, check_name
from cbm.errors import StoreError, unknown

PREFIX = "pellucid_"


@dataclass(frozen=True)
class TokenRow:
    """A token as lists show it: whose it is, and whether it may change anything."""

    name: str
    writes: bool
    created: float


def create_token(ws: Workspace, name: str, *, writes: bool = False) -> str:
    """Make a token and return it; it cannot be shown again.

    Raises
    ------
    UsageError
        If the name cannot be one.
    StoreError
        If another token has it.
    """
    check_name(name)
    secret = PREFIX + secrets.token_urlsafe(32)
    try:
        with writing(ws.engine) as session:
            session.add(Token(name=name, digest=_digest(secret), writes=writes))
    except IntegrityError as error:
        raise StoreError(
            f"there already is a token {name!r}", hint="revoke it first, or choose another name"
        ) from error
    return secret


def token_of(ws: Workspace, secret: str) -> TokenRow | None:
    """The token that this text is, if it is one."""
    with reading(ws.engine) as session:
        row = session.scalars(select(Token).where(Token.digest == _digest(secret))).one_or_none()
        return None if row is None else TokenRow(row.name, row.writes, row.created)


def tokens(ws: Workspace) -> list[TokenRow]:
    """All tokens by name."""
    with reading(ws.engine) as session:
        rows = session.scalars(select(Token).order_by(Token.name))
        return [TokenRow(row.name, row.writes, row.created) for row in rows]


def revoke_token(ws: Workspace, name: str) -> None:
    """Make a token useless; `UnknownName` if there is none of that name."""
    with writing(ws.engine) as session:
        gone = session.scalar(delete(Token).where(Token.name == name).returning(Token.id))
    if gone is None:
        raise unknown("token", name, [row.name for row in tokens(ws)])


def _digest(secret: str) -> str:
    """A fast digest will do: a secret of 256 random bits cannot be guessed."""
    return hashlib.sha256(secret.encode()).hexdigest()
