"""How long work tells what it is doing: one callback with a fraction from 0 to 1 and a short sentence.

The library knows nothing else about jobs, bars or screens. A callback may raise `Cancelled` to stop the work.
"""

from collections.abc import Callable

OnProgress = Callable[[float, str], None]


def silent(fraction: float, message: str) -> None:
    """Ignore progress; the default everywhere."""


def part(on_progress: OnProgress, start: float, end: float) -> OnProgress:
    """A callback for one stage of a longer work, whose 0 and 1 are `start` and `end` of the whole.

    Examples
    --------
    >>> seen = []
    >>> part(lambda fraction, message: seen.append(fraction), 0.5, 1.0)(0.5, "half of the second half")
    >>> seen
    [0.75]
    """
    return lambda fraction, message: on_progress(start + (end - start) * fraction, message)
