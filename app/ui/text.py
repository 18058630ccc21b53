"""Words and numbers as the screens show them: names from data escaped, at most three digits, intervals with counts."""

import re
from typing import Protocol

from app.charts import signed


class Measured(Protocol):
    """A number with its interval and what it rests on, as `probes.intervals.Estimate`."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def n(self) -> int: ...


__all__ = ["badge", "escape", "estimate", "percent", "plural", "signed", "title"]

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~:$&^=])")
LONGEST = 60


def escape(name: str, longest: int = LONGEST) -> str:
    """A name from data as Markdown that shows just that name: on one line, cut when too long, nothing interpreted.

    Examples
    --------
    >>> print(escape("*a* [b](c)"))
    \\*a\\* \\[b\\]\\(c\\)
    """
    line = " ".join(str(name).split())
    cut = line if len(line) <= longest else line[: longest - 1].rstrip() + "…"
    return _MARKDOWN.sub(r"\\\1", cut)


def badge(name: str) -> str:
    """A name for `st.badge`, which escapes square brackets itself.

    Examples
    --------
    >>> print(badge("*a* [b]"))
    \\*a\\* [b]
    """
    return escape(name).replace("\\[", "[").replace("\\]", "]")


def percent(value: float) -> str:
    """A share as per cent with three digits at most; what is not quite none or all is not rounded to it.

    Examples
    --------
    >>> percent(0.8312), percent(0.0042), percent(1.0), percent(0.99999), percent(1e-6)
    ('83.1 %', '0.42 %', '100 %', 'over 99.9 %', 'under 0.1 %')
    """
    scaled = 100 * value
    if scaled in (0, 100):
        return f"{scaled:.0f} %"
    if not 0.1 <= scaled <= 99.9:
        return "under 0.1 %" if scaled < 50 else "over 99.9 %"
    return f"{scaled:.1f} %" if scaled >= 1 else f"{scaled:.2g} %"


def estimate(measured: Measured) -> str:
    """A share with its interval and the number of images that it rests on.

    Examples
    --------
    >>> from probes.intervals import Estimate
    >>> estimate(Estimate(0.81, 0.78, 0.84, 600))
    '81.0 % (78.0 to 84.0, n = 600)'
    """
    return f"{percent(measured.value)} ({100 * measured.low:.1f} to {100 * measured.high:.1f}, n = {measured.n:,})"


def plural(count: int, noun: str, nouns: str = "") -> str:
    """A count with its noun.

    Examples
    --------
    >>> plural(1, "image"), plural(4600, "image"), plural(2, "class", "classes")
    ('1 image', '4,600 images', '2 classes')
    """
    return f"{count:,} {noun if count == 1 else nouns or noun + 's'}"


def title(name: str) -> str:
    """A name with its first letter in capitals, the rest as it is."""
    return name[:1].upper() + name[1:]
