"""How long work tells what it is doing: one callback with a fraction from 0 to 1 and a short sentence.

The library knows nothing else about jobs, bars or screens. A callback may raise `Cancelled` to stop the work. Work that
trains tells numbers as well, in a sentence that carries them (`Reading`); whoever reads sentences only sees a sentence.
"""

import math
from collections.abc import Callable, Mapping

OnProgress = Callable[[float, str], None]


class Reading(str):
    """A sentence with the numbers of that moment, for curves: `on_progress(0.2, Reading("epoch 12", loss=0.31))`.

    Parameters
    ----------
    numbers
        By name; those that are not finite are left out. What belongs into one picture shares the part of its name
        before a slash, as "accuracy/train" and "accuracy/val".

    Examples
    --------
    >>> told = Reading("epoch 12", loss=0.31, **{"accuracy/val": 0.9})
    >>> told, told.numbers
    ('epoch 12', {'loss': 0.31, 'accuracy/val': 0.9})
    """

    numbers: Mapping[str, float]

    def __new__(cls, sentence: str, **numbers: float) -> "Reading":
        told = super().__new__(cls, sentence)
        told.numbers = {name: float(value) for name, value in numbers.items() if math.isfinite(value)}
        return told


def silent(fraction: float, message: str) -> None:
    """Ignore progress; the default everywhere."""


def wordy(on_progress: OnProgress) -> OnProgress:
    """The callback without the numbers, for trainings on the side (of controls) that are not the one to be drawn.

    Examples
    --------
    >>> seen = []
    >>> wordy(lambda fraction, message: seen.append(message))(0.5, Reading("epoch 3", loss=0.2))
    >>> hasattr(seen[0], "numbers")
    False
    """
    return lambda fraction, message: on_progress(fraction, str(message))


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
