"""Edits: small values that turn one concept model into another.

An edit names concepts and classes, never positions. A script of edits folds over a model, goes to JSON and back,
never trains and never changes the model it is applied to. Undo is: drop the last edit and apply the rest again.

Laws, each a property test: `apply(m, a + b)` equals `apply(apply(m, a), b)`; `apply(m, ())` is `m`;
`loads(dumps(script)) == script`; the model is unchanged.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import reduce
from typing import Any, TypeAlias

from cbm.edited_models import fixed, keeping, merged, pruned, renamed, with_row, with_weight
from cbm.energy_parts import EnergyBottleneck, EnergyHead, holding, without
from cbm.errors import ModelError, unknown
from cbm.model import ConceptModel, linear_head

FORMAT = 1


@dataclass(frozen=True)
class SetScore:
    """Give a concept the same score on every image, whatever the image shows."""

    concept: str
    value: float


@dataclass(frozen=True)
class ScaleScore:
    """Multiply a concept's score on every image."""

    concept: str
    factor: float


@dataclass(frozen=True)
class SetWeight:
    """Set what one unit of a concept's score adds to the logit of a class."""

    concept: str
    class_: str
    value: float


@dataclass(frozen=True)
class PruneWeight:
    """Set a concept's weight to zero for one class, or for every class when `class_` is `None`.

    With `normalise`, the weights that stay in a row grow by one factor so that the row keeps its L1 norm
    (Yuksekgonul et al., "Post-hoc concept bottleneck models", ICLR 2023, section 4). A row whose weights are all
    pruned stays zero.
    """

    concept: str
    class_: str | None = None
    normalise: bool = False


@dataclass(frozen=True)
class DropConcept:
    """Take a concept out of the model: out of its scores, its weights and its explanations."""

    concept: str


@dataclass(frozen=True)
class RenameConcept:
    """Give a concept another name; later edits use the new one."""

    concept: str
    name: str


@dataclass(frozen=True)
class MergeConcepts:
    """Make one concept of several: its score is the mean of theirs, its weights are the sums."""

    concepts: tuple[str, ...]
    name: str


@dataclass(frozen=True)
class TestTimeFix:
    """Silence the concepts in `mask` and strengthen those in `amplify` by a factor, for every class at once.

    A concept's distance from its `neutral` score is what is scaled: a silenced concept counts as if every image had
    that score. Zero where none is given.
    """

    mask: tuple[str, ...] = ()
    amplify: tuple[tuple[str, float], ...] = ()
    neutral: tuple[tuple[str, float], ...] = ()


Edit: TypeAlias = (
    SetScore | ScaleScore | SetWeight | PruneWeight | DropConcept | RenameConcept | MergeConcepts | TestTimeFix
)
KINDS: tuple[type[Edit], ...] = (
    SetScore,
    ScaleScore,
    SetWeight,
    PruneWeight,
    DropConcept,
    RenameConcept,
    MergeConcepts,
    TestTimeFix,
)


def apply(model: ConceptModel, edits: Sequence[Edit]) -> ConceptModel:
    """The model after these edits, in order; the model itself when there are none.

    Raises
    ------
    UnknownName
        If an edit names a concept or class that the model, as edited so far, does not have.
    ModelError
        If the model's parts are not linear, a value is not finite, or a name is taken.
    """
    return reduce(_apply_one, edits, model)


def _apply_one(model: ConceptModel, edit: Edit) -> ConceptModel:
    _check_finite(edit)
    return replace(_edited(model, edit), edits=(*model.edits, edit))


def _edited(model: ConceptModel, edit: Edit) -> ConceptModel:
    if isinstance(model.bottleneck, EnergyBottleneck) and isinstance(model.head, EnergyHead):
        return _energy_edited(model, model.bottleneck, model.head, edit)
    match edit:
        case SetScore(concept, value):
            return with_row(model, concept, factor=0.0, shift=value)
        case ScaleScore(concept, factor):
            return with_row(model, concept, factor=factor, shift=0.0)
        case SetWeight(concept, class_, value):
            return with_weight(model, concept, class_, value)
        case PruneWeight(concept, class_, normalise):
            return pruned(model, concept, class_, normalise=normalise)
        case DropConcept(concept):
            dropped = model.concept(concept)
            return keeping(model, [k for k in range(len(model.concepts)) if k != dropped])
        case RenameConcept(concept, name):
            return renamed(model, concept, name)
        case MergeConcepts(concepts, name):
            return merged(model, concepts, name)
        case TestTimeFix(mask, amplify, neutral):
            return fixed(model, (*((concept, 0.0) for concept in mask), *amplify), neutral)


def _energy_edited(model: ConceptModel, bottleneck: EnergyBottleneck, head: EnergyHead, edit: Edit) -> ConceptModel:
    """What an edit means where concepts are inferred: one can be held, left out and renamed; there are no weights."""
    match edit:
        case SetScore(concept, value):
            k = model.concept(concept)
            return replace(model, bottleneck=holding(bottleneck, k, value), head=holding(head, k, value))
        case DropConcept(concept):
            k = model.concept(concept)
            names = (*model.concepts[:k], *model.concepts[k + 1 :])
            return replace(model, concepts=names, bottleneck=without(bottleneck, k), head=without(head, k))
        case RenameConcept(concept, name):
            return renamed(model, concept, name)
        case ScaleScore() | MergeConcepts():
            raise ModelError(
                "the scores of an energy model are probabilities that are inferred together; they cannot be scaled or merged",
                hint="hold a score, or drop or rename the concept",
            )
        case SetWeight() | PruneWeight() | TestTimeFix():
            return replace(model, head=linear_head(model))  # raises


def describe(edit: Edit) -> str:
    """One plain sentence, in the names that the person used."""
    match edit:
        case SetScore(concept, value):
            return f"Set the score of “{concept}” to {value:.3g} on every image"
        case ScaleScore(concept, factor):
            return f"Multiply the score of “{concept}” by {factor:.3g}"
        case SetWeight(concept, class_, value):
            return f"Set the weight of “{concept}” for {class_} to {value:.3g}"
        case PruneWeight(concept, class_, normalise):
            scope = "every class" if class_ is None else class_
            return f"Prune “{concept}” for {scope}" + (" and renormalise" if normalise else "")
        case DropConcept(concept):
            return f"Drop “{concept}”"
        case RenameConcept(concept, name):
            return f"Rename “{concept}” to “{name}”"
        case MergeConcepts(concepts, name):
            return f"Merge {', '.join(f'“{c}”' for c in concepts)} into “{name}”"
        case TestTimeFix(mask, amplify, _):
            masked = [f"mask “{c}”" for c in mask]
            gains = [f"amplify “{c}” {gain:.3g} times" for c, gain in amplify]
            return "Test-time fix: " + (", ".join((*masked, *gains)) or "nothing")


def dumps(edits: Sequence[Edit]) -> str:
    """A script of edits as JSON, the same text for equal scripts."""
    return json.dumps({"format": FORMAT, "edits": [to_json(edit) for edit in edits]}, sort_keys=True)


def loads(text: str) -> tuple[Edit, ...]:
    """The script of edits in a JSON text.

    Raises
    ------
    ModelError
        If the text is not a script, was made by a newer version, or an edit is malformed.
    """
    try:
        script = json.loads(text)
        version, items = (script["format"], script["edits"]) if isinstance(script, dict) else (FORMAT, script)
        items = list(items)
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError("this is not a script of edits", hint='expected {"format": 1, "edits": [...]}') from error
    if version != FORMAT:
        raise ModelError(f"the script has format {version}; this version reads {FORMAT}", hint="update Pellucid")
    return tuple(from_json(item) for item in items)


def to_json(edit: Edit) -> dict[str, object]:
    """One edit as a JSON object with its `kind`."""
    return {"kind": type(edit).__name__, **asdict(edit)}


def from_json(item: object) -> Edit:
    """The edit in a JSON object; `ModelError` if it is malformed."""
    kinds = {kind.__name__: kind for kind in KINDS}
    if not isinstance(item, Mapping) or item.get("kind") not in kinds:
        given = item.get("kind") if isinstance(item, Mapping) else item
        raise unknown("edit", str(given), kinds)
    kind = kinds[str(item["kind"])]
    values: dict[str, Any] = {name: _from_json_value(value) for name, value in item.items() if name != "kind"}
    try:
        edit = kind(**values)
    except TypeError as error:
        wanted = ", ".join(f.name for f in fields(kind))
        raise ModelError(f"the edit {kind.__name__} does not fit: {error}", hint=f"its fields are {wanted}") from error
    _check_types(edit)
    return edit


def _from_json_value(value: object) -> object:
    return tuple(_from_json_value(v) for v in value) if isinstance(value, list) else value


def _check_types(edit: Edit) -> None:
    """Text where a name belongs and numbers where a value does; the JSON may come from anybody."""
    for f in fields(edit):
        value = getattr(edit, f.name)
        if f.name in ("value", "factor"):
            fine = isinstance(value, int | float) and not isinstance(value, bool)
        elif f.name == "normalise":
            fine = isinstance(value, bool)
        elif f.name in ("concepts", "mask"):
            fine = isinstance(value, tuple) and all(isinstance(v, str) for v in value)
        elif f.name in ("amplify", "neutral"):
            fine = isinstance(value, tuple) and all(_is_number_by_name(v) for v in value)
        else:
            fine = isinstance(value, str) or (f.name == "class_" and value is None)
        if not fine:
            raise ModelError(f"the field {f.name} of the edit {type(edit).__name__} is {value!r}")


def _is_number_by_name(pair: object) -> bool:
    return isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str) and isinstance(pair[1], int | float)


def _check_finite(edit: Edit) -> None:
    numbers = [v for v in vars(edit).values() if isinstance(v, float)]
    numbers += [number for _, number in (*edit.amplify, *edit.neutral)] if isinstance(edit, TestTimeFix) else []
    if not all(math.isfinite(number) for number in numbers):
        raise ModelError(f"an edit needs a finite number: {describe(edit)}")
