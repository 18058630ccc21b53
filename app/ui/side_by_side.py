"""Several models on the same images: their numbers with intervals, and the images on which two of them differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from app import cases, store
from app.glossary import CONTROLS
from app.models import ModelRow
from app.ui.loaded import workspace
from app.ui.measured import estimates, figure, title_of_metric
from cbm.edits import dumps

if TYPE_CHECKING:
    from cbm.training_set import TrainingSet
    from probes.intervals import Estimate


@dataclass(frozen=True)
class Measured:
    """A model, with its edits, on one split."""

    row: ModelRow
    numbers: "dict[str, Estimate]"


def measured(row: ModelRow, dataset: str, split: str) -> Measured:
    """The numbers that were stored for a model without edits; else they are computed, without the controls."""
    stored = {} if row.edits else estimates(row, split)
    return Measured(
        row, stored or _numbers(_key(row, dataset, split), workspace(), row.name, dataset, row.encoder, split)
    )


def differing(found: Sequence[Measured], *, everything: bool) -> list[tuple[str, ...]]:
    """A row a metric: its title, then each model's number; those on which all agree only on request."""
    names = dict.fromkeys(name for one in found for name in one.numbers)
    rows = []
    for name in names:
        shown = [figure(name, one.numbers[name]) if name in one.numbers else "" for one in found]
        values = {round(one.numbers[name].value, 6) if name in one.numbers else None for one in found}
        if name not in CONTROLS and (everything or len(values) > 1):
            rows.append((title_of_metric(name), *shown))
    return rows


@dataclass(frozen=True)
class Pair:
    """How two models decide the same images: counts, and ids of the images that only one of them gets right."""

    both: int
    neither: int
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]

    @property
    def p_value(self) -> float:
        """Chance that the images decided differently split so unevenly, were both models equally good (McNemar, exact)."""
        from scipy.stats import binomtest

        wins, losses = len(self.only_first), len(self.only_second)
        return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def pair(first: ModelRow, second: ModelRow, dataset: str, split: str) -> Pair:
    """Compare the decisions of two models image by image."""
    right, ids = _right(_key(first, dataset, split), workspace(), first.name, dataset, first.encoder, split)
    other, others = _right(_key(second, dataset, split), workspace(), second.name, dataset, second.encoder, split)
    place = {id: position for position, id in enumerate(others)}
    shared = [(bool(right[i]), bool(other[place[id]]), id) for i, id in enumerate(ids) if id in place]
    return Pair(
        both=sum(a and b for a, b, _ in shared),
        neither=sum(not a and not b for a, b, _ in shared),
        only_first=tuple(id for a, b, id in shared if a and not b),
        only_second=tuple(id for a, b, id in shared if b and not a),
    )


def _key(row: ModelRow, dataset: str, split: str) -> str:
    script = dumps(store.history(workspace(), row.name).edits) if row.edits else ""
    return f"{workspace().settings.home}|{row.fingerprint}|{script}|{dataset}|{split}"


@st.cache_resource(show_spinner=False, max_entries=4, ttl="1h")
def _images(key: str, _ws: store.Workspace, dataset: str, encoder: str) -> "TrainingSet":
    return store.training_set(_ws, dataset, encoder)


@st.cache_data(show_spinner="Measuring …", max_entries=64)
def _numbers(
    key: str, _ws: store.Workspace, model: str, dataset: str, encoder: str, split: str
) -> "dict[str, Estimate]":
    from probes.metrics import evaluate

    data = _images(f"{_ws.settings.home}|{dataset}|{encoder}", _ws, dataset, encoder)
    return evaluate(store.model(_ws, model), data, split=split, controls=False).metrics


@st.cache_data(show_spinner=False, max_entries=64)
def _right(
    key: str, _ws: store.Workspace, model: str, dataset: str, encoder: str, split: str
) -> tuple[np.ndarray, tuple[str, ...]]:
    data = _images(f"{_ws.settings.home}|{dataset}|{encoder}", _ws, dataset, encoder).split(split)
    return ~cases.outcome(store.model(_ws, model), data).wrong, data.ids
