"""Whether a model is right as often as it says: its confidence against its accuracy, in bins."""

from dataclasses import dataclass

from probes.intervals import Estimate, wilson
from probes.tables import Decisions

WIDTHS = 10  # bins in a diagram; the calibration error has more


@dataclass(frozen=True)
class Bin:
    """Images of similar confidence: their mean confidence, and the share of them that is right with its interval."""

    confidence: float
    accuracy: Estimate


def reliability(decisions: Decisions, *, bins: int = WIDTHS) -> tuple[Bin, ...]:
    """Confidence against accuracy over equally wide bins of confidence; bins without an image are left out.

    References
    ----------
    Guo et al., "On calibration of modern neural networks", ICML 2017.
    """
    confidence = decisions.probabilities.max(1).values
    right = decisions.predicted == decisions.truth
    place = (confidence * bins).long().clamp(max=bins - 1)
    found = [(place == i) for i in range(bins)]
    return tuple(
        Bin(float(confidence[inside].mean()), wilson(int(right[inside].sum()), int(inside.sum())))
        for inside in found
        if bool(inside.any())
    )
