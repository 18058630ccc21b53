"""What an energy model believes in general: concepts given classes, concepts given concepts, classes given concepts."""

from typing import TYPE_CHECKING

import streamlit as st

from app import charts
from app.ui.loaded import Scene
from app.ui.pieces import chart, table
from app.ui.text import percent, plural

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from probes.conditionals import Conditionals

TABLES = {
    "Concepts in a class": ("given_class", "class", "concept"),
    "Concepts with a concept": ("given_concept", "concept", "concept"),
    "Classes with a concept": ("class_given", "concept", "class"),
}


def has_joint(scene: Scene) -> bool:
    """Whether the model has a joint distribution of concepts and classes."""
    from cbm.energy_parts import EnergyBottleneck

    return isinstance(scene.model.bottleneck, EnergyBottleneck)


def conditional_tables(scene: Scene) -> None:
    """One conditional probability for all pairs, as a heat map and a table, by the joint and by counting decisions."""
    kind = st.segmented_control(
        "Probability of", list(TABLES), default="Concepts in a class", required=True, key="given", bind="query-params"
    )
    field, given, of = TABLES[str(kind) if kind in TABLES else "Concepts in a class"]
    names = {"class": scene.model.classes, "concept": scene.model.concepts}
    found, counts = _found(scene.key, scene)
    values, shares = (part.T if field == "class_given" else part for part in (getattr(found, field), counts[field]))
    apart = float((values - shares).abs().nanmean())
    chart(
        charts.probabilities(names[given], names[of], values.nan_to_num().tolist(), given=given, of=of),
        alt=f"Probability of each {of} given each {given}; {_strongest(values, names[given], names[of])}",
        key="conditionals",
        table=_rows(values, shares, names[given], names[of], given, of),
        note=f"A row is the condition. By the model's energies, from {found.draws:,} weighted draws; on average "
        f"{percent(apart)} from the share among its own decisions, which is what the published code reports.",
    )
    few = int((found.effective < 30).sum())
    if few and field != "given_concept":
        st.caption(
            f"{plural(few, 'class', 'classes')} rest on fewer than 30 effective draws; their rows are uncertain."
        )


def _strongest(values: "Tensor", given: tuple[str, ...], of: tuple[str, ...]) -> str:
    off = values.nan_to_num().clone()
    if len(given) == len(of) and given == of:
        off.fill_diagonal_(0)
    at = int(off.argmax())
    i, j = divmod(at, len(of))
    return f"the largest is {of[j]} given {given[i]}, {percent(float(off[i, j]))}"


def _rows(
    values: "Tensor", shares: "Tensor", given: tuple[str, ...], of: tuple[str, ...], condition: str, what: str
) -> "pd.DataFrame":
    rows = [
        (given[i], of[j], float(values[i, j]), float(shares[i, j])) for i in range(len(given)) for j in range(len(of))
    ]
    second = what if what != condition else f"other {what}"
    return table(rows, [f"given {condition}", second, "probability", "share among decisions"])


@st.cache_resource(show_spinner="Drawing concepts …", max_entries=8)
def _found(key: str, _scene: Scene) -> "tuple[Conditionals, dict[str, Tensor]]":
    from probes.conditionals import conditional_probabilities, counted

    names = _scene.data.split_names
    split = "test" if "test" in names else names[-1]
    model = _scene.model
    return conditional_probabilities(model, _scene.data, split=split), counted(model, _scene.data, split=split)
