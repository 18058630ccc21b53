"""Scripts of edits where they were not written: on a retrained model, and on another branch.

replay(retrained, script)          what applied, what changed nothing, what no longer applies and why
conflicts(left, right)             where two branches want different things of one concept
brought_over(left, right)          the right branch's edits, as they read after the left's, without the conflicts
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import torch

from cbm.edits import (
    DropConcept,
    Edit,
    MergeConcepts,
    PruneWeight,
    RenameConcept,
    ScaleScore,
    SetScore,
    SetWeight,
    TestTimeFix,
    apply,
    describe,
)
from cbm.errors import PellucidError
from cbm.model import ConceptModel


class Fate(Enum):
    """What became of an edit on another model."""

    APPLIED = "applied"
    NO_EFFECT = "changes nothing here"
    SKIPPED = "no longer applies"


@dataclass(frozen=True)
class Replayed:
    """One edit of a replayed script, and why it was skipped when it was."""

    edit: Edit
    fate: Fate
    reason: str = ""


@dataclass(frozen=True)
class Replay:
    """A script on another model.

    Attributes
    ----------
    model
        With every edit that applied.
    steps
        One entry an edit, in order.
    """

    model: ConceptModel
    steps: tuple[Replayed, ...]

    @property
    def edits(self) -> tuple[Edit, ...]:
        """Those that applied, with an effect or without."""
        return tuple(step.edit for step in self.steps if step.fate is not Fate.SKIPPED)

    @property
    def skipped(self) -> tuple[Replayed, ...]:
        """Those that did not."""
        return tuple(step for step in self.steps if step.fate is Fate.SKIPPED)


@dataclass(frozen=True)
class Conflict:
    """Two edits, one of each branch, that want different things of a concept, by the name that both began with."""

    concept: str
    left: Edit
    right: Edit

    def __str__(self) -> str:
        return f"“{self.concept}”: {describe(self.left)}, but {_lower(describe(self.right))}"


def replay(model: ConceptModel, script: Sequence[Edit]) -> Replay:
    """Apply what applies of a script to a model that it was not written for, and say what became of every edit."""
    steps: list[Replayed] = []
    for edit in script:
        try:
            edited = apply(model, (edit,))
        except PellucidError as error:
            steps.append(Replayed(edit, Fate.SKIPPED, error.message))
            continue
        fate = Fate.NO_EFFECT if _same_parts(model, edited) else Fate.APPLIED
        steps.append(Replayed(edit, fate))
        model = edited
    return Replay(model, tuple(steps))


def conflicts(left: Sequence[Edit], right: Sequence[Edit]) -> tuple[Conflict, ...]:
    """Where two scripts that go on from the same model contradict each other.

    Renaming, dropping or merging a concept is in conflict with any other edit of it on the other side; setting or
    pruning is in conflict with setting the same thing to another value; and so are two edits that give one name to
    different concepts. Equal edits are none, nor are edits that can follow one another, as scaling and pruning.
    """
    other = _as_begun(right)
    return tuple(
        Conflict(concept, mine, theirs)
        for mine, mine_as_begun in _as_begun(left)
        for theirs, theirs_as_begun in other
        for concept in _disputed(mine_as_begun, theirs_as_begun)
    )


def brought_over(left: Sequence[Edit], right: Sequence[Edit]) -> tuple[Edit, ...]:
    """The edits of `right`, in its order, by the names that concepts have after `left`.

    Those in conflict with `left` are left out, and so are those that `left` has as well, and those that build on an
    edit that is left out.
    """
    refused = {id(conflict.right) for conflict in conflicts(left, right)}
    mine = [as_begun for _, as_begun in _as_begun(left)]
    now = {edit.concept: edit.name for edit in mine if isinstance(edit, RenameConcept)}
    merged = {edit.name for edit in mine if isinstance(edit, MergeConcepts)}
    gone: set[str] = set()
    kept = []
    for edit, as_begun in _as_begun(right):
        if id(edit) in refused or as_begun in mine or _concepts(as_begun) & gone:
            gone |= {edit.name} - merged if isinstance(edit, MergeConcepts) else set()
            continue
        kept.append(_renamed(as_begun, now))
        if isinstance(as_begun, RenameConcept):
            now[as_begun.concept] = as_begun.name
    return tuple(kept)


def _as_begun(script: Sequence[Edit]) -> list[tuple[Edit, Edit]]:
    """Each edit, and the same by the names that concepts had before the script renamed them."""
    begun: dict[str, str] = {}
    pairs = []
    for edit in script:
        pairs.append((edit, _renamed(edit, begun)))
        if isinstance(edit, RenameConcept):
            begun[edit.name] = begun.pop(edit.concept, edit.concept)
    return pairs


def _renamed(edit: Edit, names: dict[str, str]) -> Edit:
    """The edit with other names for the concepts that it reads; a name that it gives stays."""

    def new(name: str) -> str:
        return names.get(name, name)

    match edit:
        case MergeConcepts(concepts, _):
            return replace(edit, concepts=tuple(map(new, concepts)))
        case TestTimeFix(mask, amplify, neutral):
            gains, scores = (tuple((new(name), value) for name, value in pairs) for pairs in (amplify, neutral))
            return TestTimeFix(tuple(map(new, mask)), gains, scores)
        case _:
            return replace(edit, concept=new(edit.concept))


def _names(edit: Edit) -> tuple[str, ...]:
    """The concepts that an edit reads, in the order of its fields."""
    match edit:
        case MergeConcepts(concepts, _):
            return concepts
        case TestTimeFix(mask, amplify, neutral):
            return (*mask, *(name for name, _ in (*amplify, *neutral)))
        case _:
            return (edit.concept,)


def _concepts(edit: Edit) -> frozenset[str]:
    return frozenset(_names(edit))


def _made(edit: Edit) -> set[str]:
    """The name that an edit gives to a concept, if it gives one."""
    return {edit.name} if isinstance(edit, RenameConcept | MergeConcepts) else set()


def _disputed(left: Edit, right: Edit) -> list[str]:
    """The concepts over which two edits are in conflict: those that both change, else a name that both give."""
    if left == right:
        return []
    both = _concepts(left) & _concepts(right)
    return sorted(both) if both and _contradict(left, right) else sorted(_made(left) & _made(right))


def _contradict(left: Edit, right: Edit) -> bool:
    """Whether two different edits of a common concept cannot both be meant."""
    if any(isinstance(edit, RenameConcept | DropConcept | MergeConcepts) for edit in (left, right)):
        return True
    match left, right:
        case (SetScore(), SetScore() | ScaleScore()) | (ScaleScore(), SetScore()):
            return True
        case (SetWeight(class_=one), SetWeight(class_=other) | PruneWeight(class_=other)):
            return other is None or one == other
        case (PruneWeight(class_=one), SetWeight(class_=other)):
            return one is None or one == other
        case (TestTimeFix(), SetWeight() | PruneWeight()) | (SetWeight() | PruneWeight(), TestTimeFix()):
            return True
    return False


def _same_parts(before: ConceptModel, after: ConceptModel) -> bool:
    """Whether names and every tensor are the same."""
    if before.concepts != after.concepts:
        return False
    pairs = ((before.bottleneck, after.bottleneck), (before.head, after.head))
    return all(
        torch.equal(value, vars(new)[name])
        for old, new in pairs
        for name, value in vars(old).items()
        if isinstance(value, torch.Tensor)
    )


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
