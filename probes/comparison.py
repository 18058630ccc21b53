"""Two models side by side on one split: what an edit changes, before anybody saves it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from cbm.model import ConceptModel
from cbm.training_set import TrainingSet
from probes.intervals import Estimate
from probes.tables import Decisions, GroupRow, accuracy_of, class_rows, decide, group_rows


@dataclass(frozen=True)
class Change:
    """An accuracy before and after, of one group or class."""

    name: str
    before: Estimate
    after: Estimate


@dataclass(frozen=True)
class Comparison:
    """What changes from one model to another.

    Attributes
    ----------
    before, after
        Accuracy on the split; the same numbers as `evaluate` gives.
    flips
        Images that are decided otherwise; `fixed` of them are right now, `broken` were right before.
    changed
        Ids of these images, in the order of the split.
    groups, classes
        Accuracies by group and by class, those that lose most first.
    """

    split: str
    n: int
    before: Estimate
    after: Estimate
    flips: int
    fixed: int
    broken: int
    changed: tuple[str, ...]
    groups: tuple[Change, ...]
    classes: tuple[Change, ...]

    def to_json(self) -> dict[str, object]:
        """The comparison as a JSON object."""
        return {**asdict(self), "changed": list(self.changed)}


def compare(before: ConceptModel, after: ConceptModel, data: TrainingSet, split: str) -> Comparison:
    """How the decisions on a split change from one model to the other; quick enough to run at every edit.

    Raises
    ------
    UnknownName, DataError, EncoderError
        As `probes.tables.decide`.
    """
    return changes(decide(before, data, split), decide(after, data, split), before.classes, after.classes)


def changes(old: Decisions, new: Decisions, before: Sequence[str], after: Sequence[str]) -> Comparison:
    """How two sets of decisions on the same images of one split differ.

    Parameters
    ----------
    before, after
        Names of the classes that the decisions count in.
    """
    names_old = [before[i] for i in old.predicted.tolist()]
    names_new = [after[i] for i in new.predicted.tolist()]
    flipped = [i for i, (a, b) in enumerate(zip(names_old, names_new, strict=True)) if a != b]
    was_right, is_right = old.predicted == old.truth, new.predicted == new.truth
    return Comparison(
        split=str(old.data.splits[0]),
        n=len(old),
        before=accuracy_of(old),
        after=accuracy_of(new),
        flips=len(flipped),
        fixed=int((is_right & ~was_right).sum()),
        broken=int((was_right & ~is_right).sum()),
        changed=tuple(old.data.ids[i] for i in flipped),
        groups=_changes(group_rows(old), group_rows(new)),
        classes=_changes(class_rows(old), class_rows(new)),
    )


def _changes(old: tuple[GroupRow, ...], new: tuple[GroupRow, ...]) -> tuple[Change, ...]:
    after = {row.group: row.accuracy for row in new}
    changes = [Change(row.group, row.accuracy, after[row.group]) for row in old]
    return tuple(sorted(changes, key=lambda change: (change.after.value - change.before.value, change.name)))
