"""What an expert is asked at once and what asking costs: single concepts or groups of them, each question with a price.

A question about a group ("what colour is the wing?") is answered for all of its concepts together.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cbm.errors import DataError, unknown


@dataclass(frozen=True)
class Questions:
    """The questions that can be asked about an image.

    Attributes
    ----------
    names
        Of the groups or concepts asked about; `q` of them.
    members
        Places of each question's concepts, `[q s]`; the first is repeated where a group is smaller than the largest.
    belongs
        Which concepts a question is about, `[q m]`.
    price
        What asking costs, `[q]`.
    """

    names: tuple[str, ...]
    members: Int[Tensor, "q s"]
    belongs: Bool[Tensor, "q m"]
    price: Float[Tensor, "q"]

    def mean(self, priority: Float[Tensor, "n m"], done: Bool[Tensor, "n m"]) -> Float[Tensor, "n q"]:
        """Priority of each question: the mean over its concepts that can still be corrected; -inf if there is none."""
        if len(self.names) == priority.shape[1]:  # single concepts
            return priority.masked_fill(done, -torch.inf)
        open_ = (~done).to(priority.dtype)
        share = self.belongs.to(priority.dtype).T
        count = open_ @ share
        total = torch.where(done, 0.0, priority) @ share
        return torch.where(count > 0, total / count.clamp(min=1), -torch.inf)


def questions(
    concepts: Sequence[str],
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    costs: Mapping[str, float] | None = None,
) -> Questions:
    """The questions about these concepts.

    Parameters
    ----------
    concepts
        Those that can be corrected.
    groups
        Name to concepts asked about together; a concept in no group is a question of its own, and concepts of the
        groups that cannot be corrected are passed over.
    costs
        What it costs to ask for a concept; 1 where it is not said. A group costs what its concepts do together; without
        costs every question costs 1.

    Raises
    ------
    UnknownName
        If a cost is of no concept that can be corrected.
    DataError
        If a concept is in two groups, or a cost is not above zero.
    """
    places = {name: j for j, name in enumerate(concepts)}
    for name, cost in (costs or {}).items():
        if name not in places:
            raise unknown("concept", name, list(concepts))
        if not 0 < cost < float("inf"):
            raise DataError(f"the cost of {name!r} is {cost}", hint="give each concept a cost above zero")
    named = _grouped(places, groups or {})
    size = max(len(members) for members in named.values())
    belongs = torch.zeros(len(named), len(concepts), dtype=torch.bool)
    for q, members in enumerate(named.values()):
        belongs[q, members] = True
    each = torch.tensor([1.0 if costs is None else float(costs.get(name, 1.0)) for name in concepts])
    return Questions(
        names=tuple(named),
        members=torch.tensor([[*members, *[members[0]] * (size - len(members))] for members in named.values()]),
        belongs=belongs,
        price=torch.ones(len(named)) if costs is None else belongs.float() @ each,
    )


def groups_by_name(concepts: Sequence[str]) -> dict[str, list[str]]:
    """Concepts by what they are about, as far as their names say: what is before "::", or else the last word.

    Examples
    --------
    >>> groups_by_name(["red wing", "striped wing", "bill shape::hooked", "small"])
    {'wing': ['red wing', 'striped wing'], 'bill shape': ['bill shape::hooked'], 'small': ['small']}
    """
    found: dict[str, list[str]] = {}
    for name in concepts:
        about = name.split("::")[0] if "::" in name else name.split()[-1]
        found.setdefault(about, []).append(name)
    return found


def _grouped(places: Mapping[str, int], groups: Mapping[str, Sequence[str]]) -> dict[str, list[int]]:
    """Places of each question's concepts, by name."""
    home: dict[str, str] = {}
    for group, names in groups.items():
        for name in names:
            if name in home:
                raise DataError(f"{name!r} is in the groups {home[name]!r} and {group!r}", hint="leave it in one")
            home[name] = group
    named: dict[str, list[int]] = {}
    for name, place in places.items():
        named.setdefault(home.get(name, name), []).append(place)
    return named
