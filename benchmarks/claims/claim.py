"""One claim of a paper and what was measured of it, and the table of many."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from statistics import mean, stdev

BETWEEN = re.compile(r"(?<=<!-- claims -->\n).*?(?=<!-- end of claims -->)", re.DOTALL)


@dataclass(frozen=True)
class Claim:
    """A row of the table.

    Attributes
    ----------
    paper
        Short name and year: "LaBo, CVPR 2023".
    claim
        What should be so, as a sentence with its threshold.
    measured, low, high
        The number that the claim is about and its 95 % interval, both in `unit`.
    n
        How many repetitions (seeds) the interval is over.
    control
        What the number is read against, with its value: "linear probe 0.412".
    holds
        Whether the whole interval lies where the claim says.
    why
        What explains it when it does not hold; otherwise what should be known, or nothing.
    unit
        "points" for hundredths of a share, "" for a plain number.
    """

    paper: str
    claim: str
    measured: float
    low: float
    high: float
    n: int
    control: str
    holds: bool
    why: str = ""
    unit: str = "points"


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean of a number over seeds, with Student's 95 % interval; the interval of a single one is all numbers.

    Examples
    --------
    >>> [round(x, 3) for x in interval([1.0, 2.0, 3.0])]
    [2.0, -0.484, 4.484]
    """
    from scipy.stats import t

    if len(values) < 2:
        return values[0], -inf, inf
    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5
    return mean(values), mean(values) - half, mean(values) + half


def judged(
    paper: str,
    claim: str,
    values: Sequence[float],
    *,
    least: float = -inf,
    most: float = inf,
    control: str,
    why: str,
    unit: str = "points",
) -> Claim:
    """The claim that a number lies between `least` and `most`, from its values over seeds.

    Parameters
    ----------
    why
        What explains it if the mean does not lie there; where only the interval does not, that is said.
    """
    value, low, high = interval(values)
    holds = least < low and high < most
    close = least < value < most
    reason = "" if holds else "the mean does, but the seeds differ too much to be sure" if close else why
    return Claim(paper, claim, value, low, high, len(values), control, holds, reason, unit)


def table(claims: Iterable[Claim]) -> str:
    """The claims as a Markdown table."""
    head = "| paper | claim | measured | 95 % interval | seeds | control | holds | why |\n" + "| --- " * 8 + "|\n"
    return head + "".join(_row(claim) for claim in claims)


def filled(page: str, claims: Iterable[Claim]) -> str:
    """The page with the table between its two marks."""
    return BETWEEN.sub(lambda _: table(claims), page)


def _row(claim: Claim) -> str:
    value, low, high = (_shown(number, claim.unit) for number in (claim.measured, claim.low, claim.high))
    unit = f" {claim.unit}" if claim.unit else ""
    cells = (claim.paper, claim.claim, value + unit, f"{low} to {high}", str(claim.n), claim.control,
             "yes" if claim.holds else "**no**", claim.why)  # fmt: skip
    return "| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |\n"


def _shown(number: float, unit: str) -> str:
    return f"{number:+.1f}" if unit == "points" else f"{number:.3f}"
