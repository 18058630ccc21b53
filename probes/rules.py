"""What all verdicts share: the answer to one question about one concept, the thresholds, and Holm's correction."""

from dataclasses import dataclass
from typing import Literal

from probes.intervals import Estimate

Answer = Literal["yes", "no", "unknown"]


@dataclass(frozen=True)
class Rules:
    """Thresholds of the verdicts.

    Attributes
    ----------
    auroc
        A score must rank images with the concept above others this often (exists, with annotations).
    rival
        No other annotated concept may be ranked better by more than this, and beyond the interval.
    agreement, rank
        Without annotations, the score must go with the similarity of the images to the name as text: a correlation at
        least this high, and a place among all names within this share of them, or the first.
    odds
        Odds of relevance on the part, as a multiple of those of the area (located).
    area
        A part that covers more of the image than this is hardly missed by any map, so nothing is said (located).
    moved
        Mean change of the decision's probability without the concept (used).
    beyond
        Share of the classes' entropy that the score tells beyond its concept (leaked).
    level
        Of the corrected p-values.
    """

    auroc: float = 0.75
    rival: float = 0.05
    agreement: float = 0.3
    rank: float = 0.05
    odds: float = 2.0
    area: float = 0.5
    moved: float = 0.001
    beyond: float = 0.1
    level: float = 0.05


RULES = Rules()


@dataclass(frozen=True)
class Finding:
    """The answer to one question about one concept: yes, no or unknown, the number behind it, and why in words.

    `lift` is the number as a multiple of chance, where that is how it is read.
    """

    answer: Answer
    value: Estimate | None
    why: str
    lift: float | None = None
