"""Two models on the same images: which of them is right where, whether the difference could be chance, and what drives it.

Tests are paired, since both models see the same images: what counts is only the images that one gets right and the other
does not. Several tests at once are corrected by Holm's method.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cbm.errors import DataError
from cbm.heads import LinearHead
from cbm.model import ConceptModel
from probes.intervals import Estimate, bootstrap
from probes.tables import Decisions


@dataclass(frozen=True)
class Pairing:
    """How two models decide the same images.

    Attributes
    ----------
    n
        Images that both decided.
    both, neither
        How many both get right, and both wrong.
    only_first, only_second
        Ids of the images that only one of them gets right.
    apart
        Ids of the images that they take for different classes, whoever is right.
    difference
        Accuracy of the second minus that of the first, with the interval of the paired bootstrap.
    p_value
        Chance that the images decided differently split so unevenly, were both models equally good; McNemar's test, exact.
    """

    n: int
    both: int
    neither: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    apart: tuple[str, ...]
    difference: Estimate
    p_value: float

    def to_json(self) -> dict[str, object]:
        """A JSON object."""
        return asdict(self)


def pairing(
    first: Decisions, second: Decisions, classes: tuple[Sequence[str], Sequence[str]], seed: int = 0
) -> Pairing:
    """Compare two models image by image.

    Parameters
    ----------
    first, second
        Their decisions; images that only one of them has are left out.
    classes
        Names of the classes that each one's decisions count in.
    seed
        Of the resampling.

    Raises
    ------
    DataError
        If they share no image.

    References
    ----------
    McNemar, "Note on the sampling error of the difference between correlated proportions", Psychometrika 1947.
    """
    place = {id: row for row, id in enumerate(second.data.ids)}
    shared = [(row, place[id], id) for row, id in enumerate(first.data.ids) if id in place]
    if not shared:
        raise DataError("the two models share no image", hint="compare them on the same data set and split")
    ours, theirs = [a for a, _, _ in shared], [b for _, b, _ in shared]
    ids = np.array([id for _, _, id in shared], dtype=object)
    hits = [(d.predicted == d.truth)[rows] for d, rows in ((first, ours), (second, theirs))]
    said = [
        np.array([names[i] for i in d.predicted[rows].tolist()], dtype=object)
        for d, rows, names in zip((first, second), (ours, theirs), classes, strict=True)
    ]
    wins, losses = hits[0] & ~hits[1], hits[1] & ~hits[0]
    gain = hits[1].double() - hits[0].double()

    def mean(counts: Float[Tensor, "b n"]) -> Float[Tensor, "b"]:
        return counts @ gain / counts.sum(1)

    return Pairing(
        n=len(shared),
        both=int((hits[0] & hits[1]).sum()),
        neither=int((~hits[0] & ~hits[1]).sum()),
        only_first=tuple(ids[wins.numpy()]),
        only_second=tuple(ids[losses.numpy()]),
        apart=tuple(ids[said[0] != said[1]]),
        difference=bootstrap(mean, len(shared), seed=seed, low=-1.0),
        p_value=mcnemar(int(wins.sum()), int(losses.sum())),
    )


def mcnemar(wins: int, losses: int) -> float:
    """Exact two-sided p-value of so uneven a split of the images that only one of two models gets right.

    Examples
    --------
    >>> mcnemar(10, 0), mcnemar(5, 5), mcnemar(0, 0)
    (0.001953125, 1.0, 1.0)
    """
    from scipy.stats import binomtest

    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def pushes(
    model: ConceptModel, x: Float[Tensor, "n d"], own: Sequence[str], other: Sequence[str]
) -> Float[Tensor, "n k"]:
    """What each concept adds to a model's margin of its own decision over another's, image by image.

    Parameters
    ----------
    own, other
        Names of the class that the model decides for, and of the one that the other model decides for.

    Returns
    -------
    Positive where a concept speaks for this model's decision. No columns where the head is not linear; a class that the
    model does not have counts as a logit of zero.
    """
    if not isinstance(model.head, LinearHead) or not model.concepts:
        return torch.zeros(len(x), 0)
    known = {name: i for i, name in enumerate(model.classes)}
    rows = torch.cat([model.head.weight, torch.zeros(1, len(model.concepts))])
    ours, theirs = (torch.tensor([known.get(name, -1) for name in names], dtype=torch.long) for names in (own, other))
    return model.scores(x) * (rows[ours] - rows[theirs])
