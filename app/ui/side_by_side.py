"""Several models on the same images, loaded once: their numbers, what they decide, and how two of them differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from app import store
from app.glossary import CONTROLS, title_of_metric
from app.models import ModelRow
from app.ui.loaded import embedded, workspace
from app.ui.measured import estimates, figure
from cbm.edits import dumps
from cbm.errors import PellucidError

if TYPE_CHECKING:
    from cbm.model import ConceptModel
    from cbm.training_set import TrainingSet
    from probes.effective_concepts import NecCurve
    from probes.intervals import Estimate
    from probes.interventions import Curve
    from probes.metrics import Evaluation
    from probes.pairs import Pairing
    from probes.tables import Decisions


@dataclass(frozen=True)
class Contender:
    """A model, with its edits, on one split.

    Attributes
    ----------
    key
        Differs whenever the model, the images or the split do.
    numbers
        What was measured, with controls where they are kept with the model.
    """

    key: str
    row: ModelRow
    model: "ConceptModel"
    decisions: "Decisions"
    evaluation: "Evaluation"
    numbers: "dict[str, Estimate]"

    @property
    def name(self) -> str:
        """The model's name."""
        return self.row.name


def contender(row: ModelRow, dataset: str, split: str) -> Contender:
    """A model on a split. Kept numbers are of the model without edits; of an edited one they are measured now."""
    script = dumps(store.history(workspace(), row.name).edits) if row.edits else ""
    key = f"{workspace().settings.home}|{row.fingerprint}|{script}|{dataset}|{split}"
    model, decisions, evaluation = _decided(key, workspace(), row.name, dataset, row.encoder, split)
    kept = {} if row.edits else estimates(row, split)
    return Contender(key, row, model, decisions, evaluation, {**evaluation.metrics, **kept})


def images(one: Contender, dataset: str) -> "TrainingSet":
    """All images of the data set as the model's encoder sees them."""
    return embedded(dataset, one.row.encoder)


def differing(found: Sequence[Contender], *, everything: bool) -> list[tuple[str, ...]]:
    """A row a metric: its title, then each model's number; those on which all agree only on request."""
    names = dict.fromkeys(name for one in found for name in one.numbers)
    rows = []
    for name in names:
        shown = [figure(name, one.numbers[name]) if name in one.numbers else "" for one in found]
        values = {round(one.numbers[name].value, 6) if name in one.numbers else None for one in found}
        if name not in CONTROLS and (everything or len(values) > 1):
            rows.append((title_of_metric(name), *shown))
    return rows


def pair(first: Contender, second: Contender) -> "Pairing":
    """Compare the decisions of two models image by image."""
    return _pair(f"{first.key}|{second.key}", first, second)


def few_concepts(one: Contender, dataset: str) -> "NecCurve | None":
    """Accuracy against the number of effective concepts: as kept, or cut now; `None` when heads have yet to be solved.

    Raises
    ------
    ModelError
        If it means nothing for this model.
    """
    from app.measuring import kept_curve
    from probes.effective_concepts import how_measured

    split = one.evaluation.split
    how = how_measured(one.model)
    kept = kept_curve(one.row, split)
    if kept is not None:
        return kept
    return _cut(one.key, one, images(one, dataset)) if how == "cut" else None


def corrected(one: Contender, dataset: str, policy: str, edge: float, steps: int) -> "Curve | str":
    """Accuracy after corrections by a policy, or why there is none for this model."""
    try:
        return _corrected(f"{one.key}|{policy}|{edge}|{steps}", one, images(one, dataset), policy, edge, steps)
    except PellucidError as error:
        return error.message


@st.cache_resource(show_spinner="Measuring …", max_entries=32, ttl="1h")
def _decided(
    key: str, _ws: store.Workspace, model: str, dataset: str, encoder: str, split: str
) -> "tuple[ConceptModel, Decisions, Evaluation]":
    from probes.metrics import evaluate
    from probes.tables import decide

    data = embedded(dataset, encoder)
    value = store.model(_ws, model)
    return value, decide(value, data, split), evaluate(value, data, split=split, controls=False)


@st.cache_resource(show_spinner=False, max_entries=64, ttl="1h")
def _pair(key: str, _first: Contender, _second: Contender) -> "Pairing":
    from probes.pairs import pairing

    return pairing(_first.decisions, _second.decisions, (_first.model.classes, _second.model.classes))


@st.cache_resource(show_spinner=False, max_entries=32, ttl="1h")
def _cut(key: str, _one: Contender, _data: "TrainingSet") -> "NecCurve":
    from probes.effective_concepts import nec_curve

    return nec_curve(_one.model, _data, split=_one.evaluation.split)


@st.cache_resource(show_spinner="Correcting concepts …", max_entries=32, ttl="1h")
def _corrected(key: str, _one: Contender, _data: "TrainingSet", policy: str, edge: float, steps: int) -> "Curve":
    from probes.interventions import intervention_curve

    return intervention_curve(_one.model, _data, policy=policy, split=_one.evaluation.split, edge=edge, steps=steps)
