"""The same encoder with one thing changed: a contract of its own, made from the one it had."""

import hashlib
from dataclasses import replace
from typing import Any

from cbm.encoders import Encoder
from cbm.errors import EncoderError


def with_fast_decode(encoder: Encoder) -> Encoder:
    """The encoder for images that are decoded faster and less finely; see `cbm.preprocessing.Preprocessing`."""
    return changed(encoder, "fast decode", preprocessing=replace(encoder.preprocessing, fast_decode=True))


def with_id(encoder: Encoder, id: str) -> Encoder:
    """The encoder under another id."""
    return encoder if encoder.id == id else _replaced(encoder, {"id": id})


def changed(encoder: Encoder, what: str, **parts: Any) -> Encoder:
    """The encoder with these parts replaced, and a contract that follows from its own and from `what`.

    Raises
    ------
    EncoderError
        If it is not one of ours.
    """
    contract = hashlib.sha256(f"{encoder.contract} {what}".encode()).hexdigest()
    return _replaced(encoder, {**parts, "contract": contract})


def _replaced(encoder: Encoder, parts: dict[str, Any]) -> Encoder:
    try:
        made: Encoder = replace(encoder, **parts)  # type: ignore[type-var]
    except TypeError as error:  # an extension's encoder need not be a dataclass, nor have an engine
        raise EncoderError(f"{encoder.id} has no variants", hint="load it as it is") from error
    return made
