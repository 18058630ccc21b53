"""A concept bank: named directions in an encoder's embedding space, each with where it came from and how good it is.

A bank is data. It knows nothing of classes or heads; a method turns it into a bottleneck.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.errors import DataError, unknown

BY_HAND = "; named by hand "
Source = Literal["annotation", "text", "sentence", "vocabulary", "atom", "random"]


@dataclass(frozen=True)
class Origin:
    """Where a concept came from.

    Attributes
    ----------
    source, detail
        The kind of source, and its own words (prompts, a file, a data set, a name given by hand).
    words
        For what was found without words: those that it may stand for, each with how close it is, the closest first.
    threshold
        For an atom: what `x @ vector + intercept` has to exceed for an image to have it at all.
    """

    source: Source
    detail: str = ""
    words: tuple[tuple[str, float], ...] = ()
    threshold: float | None = None

    @property
    def margin(self) -> float | None:
        """How much closer the first word is than the next; `None` when there are no two."""
        return self.words[0][1] - self.words[1][1] if len(self.words) > 1 else None


@dataclass(frozen=True)
class Quality:
    """What is known about how well a vector stands for its name; `None` is "not measured".

    Attributes
    ----------
    auroc
        Area under the ROC curve of the score on images that were not used to learn the vector; 0.5 is chance.
    accuracy, train_accuracy
        Share of right signs on held-out and on training images, both sides equally many.
    p_value
        Permutation p-value of the held-out AUROC.
    positives, negatives
        Held-out images of each side that `auroc` rests on.
    note
        One sentence when something is weak ("only 7 positive images"); empty otherwise.
    """

    auroc: float | None = None
    accuracy: float | None = None
    train_accuracy: float | None = None
    p_value: float | None = None
    positives: int = 0
    negatives: int = 0
    note: str = ""


@dataclass(frozen=True)
class ConceptBank:
    """Named concept vectors.

    Attributes
    ----------
    names
        Distinct, `k` of them.
    vectors
        Shape `[k d]`. The score of an embedding is its signed distance to the hyperplane of the concept,
        `(x @ vector + intercept) / |vector|`.
    intercepts
        Shape `[k]`; zero for text concepts.
    origin, quality
        One for each concept.
    encoder_id, contract
        The encoder whose embeddings these vectors live in, and its preprocessing contract.
    groups
        Concept to the name of its group ("bill colour"), for those that have one.

    Raises
    ------
    DataError
        If lengths differ, names repeat or are empty, or a vector is zero or not finite.
    """

    names: tuple[str, ...]
    vectors: Float[Tensor, "k d"]
    intercepts: Float[Tensor, "k"]
    origin: tuple[Origin, ...]
    quality: tuple[Quality, ...]
    encoder_id: str = ""
    contract: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = {len(self.names), len(self.vectors), len(self.intercepts), len(self.origin), len(self.quality)}
        if len(counts) != 1:
            raise DataError(f"a concept bank needs one vector, intercept, origin and quality a name; got {counts}")
        check_names(self.names)
        finite = torch.isfinite(self.vectors).all(1) & (self.vectors.norm(dim=1) > 0)
        bad = [name for name, fine in zip(self.names, finite.tolist(), strict=True) if not fine]
        if bad:
            raise DataError(
                f"the vector of concept {bad[0]!r} is zero or not finite ({len(bad)} such concepts)",
                hint="check the embeddings for NaN, or leave these concepts out",
            )

    def __len__(self) -> int:
        return len(self.names)

    def index(self, name: str) -> int:
        """Position of a concept; `UnknownName` with close matches if there is none."""
        if name not in self.names:
            raise unknown("concept", name, self.names)
        return self.names.index(name)

    def select(self, names: Iterable[str]) -> "ConceptBank":
        """The bank of these concepts, in the order given."""
        return self._take([self.index(name) for name in names])

    def rename(self, old: str, new: str) -> "ConceptBank":
        """The same bank with one concept under another name; its group follows, and where it came from says so."""
        position = self.index(old)
        groups = {new if name == old else name: group for name, group in self.groups.items()}
        names = (*self.names[:position], new, *self.names[position + 1 :])
        origin = list(self.origin)
        if origin[position].words:  # what was found without words had a guess for a name
            before = origin[position].detail.partition(BY_HAND)[0]
            origin[position] = replace(origin[position], detail=f"{before}{BY_HAND}“{new}”")
        return replace(self, names=names, groups=groups, origin=tuple(origin))

    def _take(self, positions: Sequence[int]) -> "ConceptBank":
        names = tuple(self.names[i] for i in positions)
        return replace(
            self,
            names=names,
            vectors=self.vectors[list(positions)],
            intercepts=self.intercepts[list(positions)],
            origin=tuple(self.origin[i] for i in positions),
            quality=tuple(self.quality[i] for i in positions),
            groups={name: self.groups[name] for name in names if name in self.groups},
        )


def merge(first: ConceptBank, second: ConceptBank) -> ConceptBank:
    """Both banks as one; a concept that is in both is kept from the first.

    Raises
    ------
    DataError
        If the banks belong to different encoders.
    """
    if first.contract != second.contract or first.vectors.shape[1] != second.vectors.shape[1]:
        raise DataError(
            f"cannot merge a bank for {first.encoder_id or 'one encoder'} with one for {second.encoder_id or 'another'}",
            hint="build both banks with the same encoder",
        )
    fresh = second.select(name for name in second.names if name not in first.names)
    return replace(
        first,
        names=first.names + fresh.names,
        vectors=torch.cat([first.vectors, fresh.vectors]),
        intercepts=torch.cat([first.intercepts, fresh.intercepts]),
        origin=first.origin + fresh.origin,
        quality=first.quality + fresh.quality,
        groups={**fresh.groups, **first.groups},
    )


def near_duplicates(bank: ConceptBank, *, threshold: float = 0.95) -> list[tuple[str, str, float]]:
    """Pairs of concepts whose vectors point the same way: names and cosine, the closest pair first."""
    unit = torch.nn.functional.normalize(bank.vectors, dim=1)
    cosine = torch.triu(unit @ unit.T, diagonal=1)  # [k k]
    rows, columns = torch.nonzero(cosine >= threshold, as_tuple=True)
    pairs = [(bank.names[i], bank.names[j], float(cosine[i, j])) for i, j in zip(rows, columns, strict=True)]
    return sorted(pairs, key=lambda pair: -pair[2])


def check_names(names: Sequence[str]) -> None:
    """Raise `DataError` unless all names are distinct and not blank."""
    if any(not name.strip() for name in names):
        raise DataError("a concept has an empty name", hint="give every concept a name of its own")
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"the concept {twice!r} is there twice", hint="rename or leave out one of them")
