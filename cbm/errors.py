"""What can go wrong, in words that a person can act on.

Every error that Pellucid raises on purpose is a `PellucidError`: a message that says what was given and what is
needed, and a hint that says what to do. The screens and the command line print both and never a traceback.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class PellucidError(Exception):
    """A failure that is explained: `message` says what happened, `hint` what to do about it."""

    kind = "error"

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type, tuple[str, str]]:
        return type(self), (self.message, self.hint)


class DataError(PellucidError):
    """The images, labels or files that were given cannot be used."""

    kind = "data"


class EncoderError(PellucidError):
    """An encoder cannot be loaded, or does not fit the embeddings that it is used with."""

    kind = "encoder"


class ModelError(PellucidError):
    """A concept model, an edit or a method cannot be used as asked."""

    kind = "model"


class BundleError(ModelError):
    """A saved model is damaged, unsafe or made by a newer version."""

    kind = "bundle"


class StoreError(PellucidError):
    """The workspace, its database or its files refuse what was asked."""

    kind = "store"


class JobError(PellucidError):
    """A job cannot be started, or stopped for a reason of its own."""

    kind = "job"


class UsageError(PellucidError):
    """The request itself is wrong: an option out of range, a missing argument."""

    kind = "usage"


class UnknownName(PellucidError):
    """A name that is not among the choices."""

    kind = "unknown"


class Cancelled(Exception):
    """Somebody asked for the work to stop; raised by progress callbacks, never an error."""


def unknown(what: str, name: str, choices: Iterable[str]) -> UnknownName:
    """The error for a name that does not exist, with the closest ones that do.

    Examples
    --------
    >>> unknown("method", "posthok", ["posthoc", "labo"]).hint
    'did you mean posthoc? choices: posthoc, labo'
    """
    known = list(choices)
    close = get_close_matches(name, known, n=3, cutoff=0.6)
    shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    guess = f"did you mean {' or '.join(close)}? " if close else ""
    hint = f"{guess}choices: {shown}" if known else f"there is no {what} yet"
    return UnknownName(f"there is no {what} named {name!r}", hint=hint)
