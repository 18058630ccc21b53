"""Dividing images into train, val and test when nobody has: 70, 15 and 15 percent, the same on every machine.

The order comes from a hash of the seed and each unit's name, not from a random stream, so the answer does not depend
on the order of the rows. Units are whole groups when there are groups, and whole sets of identical files otherwise.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

SHARES = (("train", 0.70), ("val", 0.15), ("test", 0.15))


def assign_splits(labels: Sequence[str], units: Sequence[str], *, seed: int = 0) -> list[str]:
    """A split for each image, stratified by class, that never divides a unit.

    Large units are placed first; each goes where its classes are furthest below their share.

    Parameters
    ----------
    labels
        The class of each image.
    units
        What must stay together: the patient, the site, or the file's content.
    seed
        Another seed gives another division.

    Examples
    --------
    >>> Counter(assign_splits(["owl"] * 20, [str(i) for i in range(20)])) == {"train": 14, "val": 3, "test": 3}
    True
    """
    members: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for label, unit in zip(labels, units, strict=True):
        members[unit][label] += 1
    totals = Counter(labels)
    missing = {name: {label: share * totals[label] for label in totals} for name, share in SHARES}
    overall = {name: share * len(labels) for name, share in SHARES}
    chosen = {}
    for unit in sorted(members, key=lambda unit: (-members[unit].total(), _key(seed, unit))):
        counts = members[unit]
        need = {name: sum(n * missing[name][label] / totals[label] for label, n in counts.items()) for name in missing}
        best = max(missing, key=lambda name: (round(need[name], 9), overall[name]))
        chosen[unit] = best
        overall[best] -= counts.total()
        for label, n in counts.items():
            missing[best][label] -= n
    return [chosen[unit] for unit in units]


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of splits as they are shown: train, val, test, and then the others by name.

    Examples
    --------
    >>> in_order({"test", "shifted", "train"})
    ('train', 'test', 'shifted')
    """
    rank = {name: number for number, (name, _) in enumerate(SHARES)}
    return tuple(sorted(names, key=lambda name: (rank.get(name, len(rank)), name)))


def _key(seed: int, unit: str) -> bytes:
    return hashlib.sha256(f"{seed}:{unit}".encode("utf-8", "surrogatepass")).digest()
