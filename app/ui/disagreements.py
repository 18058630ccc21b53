"""Where two models differ: paired tests of all against the first, the images, and the concepts that drive them apart."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st
import torch

from app import charts, store
from app.datasets import DatasetRow
from app.ui.bank_view import chance
from app.ui.loaded import workspace
from app.ui.pieces import chart, table
from app.ui.shelf import pictures
from app.ui.side_by_side import Contender, pair
from app.ui.text import escape, plural
from probes.multiplicity import holm
from probes.pairs import pushes

if TYPE_CHECKING:
    from probes.pairs import Pairing

SHOWN, CONCEPTS = 8, 8


def tests(found: Sequence[Contender]) -> None:
    """Each model's accuracy against the first one's, on the same images."""
    first, others = found[0], found[1:]
    pairs = [pair(first, one) for one in others]
    corrected = holm(torch.tensor([one.p_value for one in pairs], dtype=torch.float64)).tolist()
    rows = [
        (one.name, _difference(test), len(test.only_first), len(test.only_second), test.n, chance(test.p_value), chance(p),
         "yes" if p < 0.05 else "no")
        for one, test, p in zip(others, pairs, corrected, strict=True)
    ]  # fmt: skip
    st.subheader(f"Against {escape(first.name)}, on the same images", anchor=False)
    columns = ["model", "accuracy gained (95 % interval)", f"only {first.name} right", "only this one right", "images",
               "p", "p, corrected", "beyond chance"]  # fmt: skip
    st.dataframe(
        table(rows, columns), hide_index=True, height="content",
        alt=f"Paired tests of {plural(len(others), 'model')} against {first.name}",
    )  # fmt: skip
    many = (
        f" There are {len(others)} tests, so p is corrected by Holm's method: “beyond chance” holds for all of them together "
        "with 95 % confidence."
        if len(others) > 1
        else ""
    )
    st.caption(
        "p: exact McNemar test, the chance of so uneven a split of the images that only one of the two gets right, were both "
        "equally good. The interval is the paired bootstrap's over images." + many
    )


def _difference(test: "Pairing") -> str:
    gain = test.difference
    low, high = (charts.signed(100 * value) for value in (gain.low, gain.high))
    return f"{charts.signed(100 * gain.value)} points ({low} to {high})"


def disagreements(found: Sequence[Contender], dataset: DatasetRow) -> None:
    """The images that the first model and another one take for different classes, and why."""
    first, others = found[0], {one.name: one for one in found[1:]}
    name = (
        st.selectbox("Against", list(others), key="against", bind="query-params", width=320)
        if len(others) > 1
        else None
    )
    second = others.get(name or next(iter(others)), found[1])
    test = pair(first, second)
    st.markdown(
        f"Both are right on {plural(test.both, 'image')} and both are wrong on {test.neither:,}. Only **{escape(first.name)}** "
        f"is right on {len(test.only_first):,}, only **{escape(second.name)}** on {len(test.only_second):,}. They take "
        f"{plural(len(test.apart), 'image')} for different classes."
    )
    if not test.apart:
        return
    st.subheader("Concepts behind the different decisions", anchor=False)
    left, right = st.columns(2, gap="large")
    notes = {}
    for place, mine, other in ((left, first, second), (right, second, first)):
        with place:
            notes[mine.name] = drivers(mine, other, test.apart)
    for mine, ids in ((first, test.only_first), (second, test.only_second)):
        if ids:
            more = f", the first {SHOWN} of {len(ids):,}" if len(ids) > SHOWN else ""
            st.markdown(f"Only **{escape(mine.name)}** is right{more}; below each, what spoke for it most")
            pictures(dataset, store.images_by_id(workspace(), dataset.name, ids[:SHOWN]), notes[mine.name])


def drivers(mine: Contender, other: Contender, ids: Sequence[str]) -> dict[str, str]:
    """What speaks for one model's decision and against the other's, over the images they differ on; strongest by image."""
    ours, theirs = ({id: i for i, id in enumerate(one.decisions.data.ids)} for one in (mine, other))
    at = [ours[id] for id in ids]
    own = [mine.model.classes[i] for i in mine.decisions.predicted[at].tolist()]
    said = [other.model.classes[i] for i in other.decisions.predicted[[theirs[id] for id in ids]].tolist()]
    pushed = pushes(mine.model, mine.decisions.data.x[at], own, said)
    st.markdown(f"**{escape(mine.name)}**")
    if not pushed.shape[1]:
        st.caption("It has no concepts with weights, so nothing can be said.")
        return {}
    mean = pushed.mean(0)
    order = mean.argsort(descending=True)[:CONCEPTS].tolist()
    rows = [(mine.model.concepts[k], float(mean[k])) for k in order if mean[k] > 0]
    chart(
        charts.bars(rows, axis="adds to its own decision's margin, mean"),
        alt=f"What speaks for the decisions of {mine.name}: {charts.spoken(rows)}",
        key=f"drivers_{mine.name}",
        table=table(rows, ["concept", "adds to the margin"]),
        note=f"Over the {plural(len(ids), 'image')}: what speaks for its class and against the other model's.",
    )
    strongest = pushed.argmax(1).tolist()
    below = mine.model.scores(mine.decisions.data.x).mean(0)
    scores = mine.model.scores(mine.decisions.data.x[at])
    return {
        id: escape(mine.model.concepts[k]) + (" (low)" if scores[row, k] < below[k] else "")
        for row, (id, k) in enumerate(zip(ids, strongest, strict=True))
    }
