"""A concept bank before the images of a data set: loaded once, its concepts as a table, one concept up close, a map."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from app import activations, charts, store
from app.banks import rename_concept
from app.datasets import DatasetRow
from app.models import BankRow
from app.ui.atom_view import choose_name
from app.ui.loaded import embedded, workspace
from app.ui.pieces import callback, chart, empty, table
from app.ui.selection import select, selection
from app.ui.shelf import pictures
from app.ui.text import escape, percent, plural, signed

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from cbm.bank import ConceptBank
    from cbm.training_set import TrainingSet

WHICH = ("highest", "middle", "random", "lowest")
SOURCES = {
    "annotation": "annotated images",
    "text": "text",
    "sentence": "class sentence",
    "vocabulary": "vocabulary",
    "atom": "dictionary atom",
    "random": "chance",
}
SHOWN = 16
CHANCE = 0.05
LABELLED = 40  # concepts up to which every point of the map has its name


@dataclass(frozen=True)
class View:
    """A bank and, when the data set is embedded with the bank's encoder, its images."""

    row: BankRow
    bank: "ConceptBank"
    dataset: DatasetRow
    data: "TrainingSet | None"
    uses: "list[activations.Use] | None" = None


def view(row: BankRow, dataset: DatasetRow) -> View:
    """The bank with the data set's images."""
    ws = workspace()
    bank = _bank(row.fingerprint, ws, row.name)
    if row.encoder not in dataset.encoders:
        return View(row, bank, dataset, None)
    data, uses = _images_of(f"{row.fingerprint}|{dataset.fingerprint}|{row.encoder}", dataset.name, bank)
    return View(row, bank, dataset, data, uses)


@st.cache_resource(show_spinner=False, max_entries=8)
def _bank(fingerprint: str, _ws: store.Workspace, name: str) -> "ConceptBank":
    return store.bank(_ws, name)


@st.cache_resource(show_spinner="Reading the images …", max_entries=4, ttl="1h")
def _images_of(
    key: str, dataset: str, _bank: "ConceptBank"
) -> "tuple[TrainingSet | None, list[activations.Use] | None]":
    data = embedded(dataset, _bank.encoder_id)
    if data.contract != _bank.contract:  # embedded by other weights than the bank was made with
        return None, None
    return data, activations.uses(_bank, data)


@st.cache_data(show_spinner=False, max_entries=16)
def _table(key: str, _bank: "ConceptBank", _uses: "list[activations.Use] | None") -> "pd.DataFrame":
    near = activations.nearest(_bank)
    rows = []
    for k, name in enumerate(_bank.names):
        quality, (twin, cosine) = _bank.quality[k], near[k]
        images = f"{quality.positives:,} / {quality.negatives:,}" if quality.positives + quality.negatives else ""
        rows.append(
            (name, _bank.groups.get(name, ""), SOURCES[_bank.origin[k].source], _uses[k].share if _uses else None,
             others(_bank, k), _bank.origin[k].margin, quality.auroc, images, quality.accuracy,
             chance(quality.p_value), twin, cosine, quality.note,
             quality.p_value is not None and quality.p_value > CHANCE)
        )  # fmt: skip
    return table(rows, COLUMNS)


COLUMNS = (
    "concept", "group", "from", "used by", "or", "margin", "AUROC", "with / without", "accuracy", "p", "nearest", "cosine", "remark", "by chance",
)  # fmt: skip


def concept_table(seen: View) -> None:
    """Every concept with its quality; a click selects it."""
    whole = _table(f"{seen.row.fingerprint}|{seen.dataset.fingerprint}", seen.bank, seen.uses)
    shown = _filtered(whole)
    st.caption(
        f"{plural(len(shown), 'concept')}"
        + (f" of {len(whole):,}" if len(shown) < len(whole) else "")
        + ". Click a row to look at a concept."
    )
    state = st.dataframe(
        shown, hide_index=True, column_order=_columns(whole), key=f"concepts_{seen.row.fingerprint[:8]}",
        on_select="rerun", selection_mode="single-row", alt=f"{len(shown)} concepts of {seen.row.name} with their quality",
        column_config={
            "concept": st.column_config.TextColumn(width="medium", pinned=True),
            "from": st.column_config.TextColumn(help="Where the vector came from"),
            "used by": st.column_config.NumberColumn(
                format="percent", help="Share of the images that have this atom at all"
            ),
            "or": st.column_config.TextColumn(width="medium", help="The words that come next, closest first"),
            "margin": st.column_config.NumberColumn(
                format="%.2f", help="How much closer its word is than the next one; near zero, the name is a toss-up"
            ),
            "AUROC": st.column_config.ProgressColumn(
                min_value=0.0, max_value=1.0, format="%.2f",
                help="How well the score tells images with the concept from images without, on images not used to make "
                "it; 0.5 is chance, 1 is perfect. Empty: not measured.",
            ),
            "with / without": st.column_config.TextColumn(help="Held-out images of each side that the AUROC rests on"),
            "accuracy": st.column_config.NumberColumn(
                format="%.2f", help="Share of right signs on held-out images, both sides counting the same"
            ),
            "p": st.column_config.TextColumn(
                help="Chance of such an AUROC if the labels meant nothing (permutations)"
            ),
            "cosine": st.column_config.NumberColumn(format="%.2f", help="1: the nearest concept has the same vector"),
            "remark": st.column_config.TextColumn(width="large"),
        },
    )  # fmt: skip
    picked = [shown.iloc[i]["concept"] for i in state.selection.rows if i < len(shown)]
    if picked and picked[0] != selection().concept and st.session_state.get("pellucid_row") != picked[0]:
        st.session_state["pellucid_row"] = picked[0]
        select(concept=str(picked[0]))


def _columns(whole: "pd.DataFrame") -> list[str]:
    """All but those that say nothing."""
    return [name for name in COLUMNS[:-1] if (whole[name].notna() & (whole[name] != "")).any()]


def others(bank: "ConceptBank", k: int) -> str:
    """The words that come next for an atom."""
    return ", ".join(word for word, _ in bank.origin[k].words[1:4])


def chance(p_value: float | None) -> str:
    """A p-value in words.

    Examples
    --------
    >>> chance(None), chance(0.00002), chance(0.0312)
    ('', '< 0.001', '0.031')
    """
    return "" if p_value is None else "< 0.001" if p_value < 0.001 else f"{p_value:.2g}"


def _filtered(whole: "pd.DataFrame") -> "pd.DataFrame":
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        text = st.text_input("Name has", key="name", bind="query-params", width=200, placeholder="any text")
        groups = sorted(set(whole["group"]) - {""})
        group = st.selectbox("Group", ["All", *groups], key="in", bind="query-params", width=180) if groups else "All"
        weak = st.toggle(
            "Only weak ones", key="weak", bind="query-params",
            help="With a remark, an AUROC under 0.7, or one that chance explains (p over 0.05)",
        )  # fmt: skip
    keep = whole["concept"].str.contains((text or "").strip(), case=False, regex=False)
    if group != "All":
        keep &= whole["group"] == group
    if weak:
        keep &= (whole["remark"] != "") | (whole["AUROC"].astype(float) < 0.7) | whole["by chance"]
    return whole[keep]


def concept_card(seen: View) -> None:
    """The chosen concept: where it came from, how good it is, its images, its classes, its neighbours."""
    names = seen.bank.names
    concept = selection().concept if selection().concept in names else names[0]
    k = names.index(concept)
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        st.subheader(escape(concept), anchor=False)
        _rename(seen, concept)
    origin, quality = seen.bank.origin[k], seen.bank.quality[k]
    detail = f": {escape(origin.detail, 200)}" if origin.detail else ""
    st.caption(f"From {SOURCES[origin.source]}{detail}")
    if origin.words:
        choose_name(seen.row.name, seen.bank, k)
    if seen.uses:
        use = seen.uses[k]
        st.caption(f"{percent(use.share)} of the images have it, {use.size:.2g} of it on average.")
    _quality(seen, k)
    if quality.note:
        st.caption(f":material/warning: {escape(quality.note, 300)}")
    if seen.data is None:
        empty(
            f"{seen.dataset.name} is not embedded with {seen.row.encoder}",
            "The images that light a concept up appear once they are in the same space.",
            screen="data",
            action="Embed it",
        )
        return
    if activations.same_within_classes(seen.data, concept):
        st.caption(
            ":material/warning: Annotated by class: all images of a class have the same label, so that it may have learned "
            "to tell classes. Its images show more than its AUROC."
        )
    values = activations.score(seen.bank, seen.data, k)
    _images(seen, seen.data, values)
    left, right = st.columns(2, gap="large")
    with left:
        _classes(seen, seen.data, values)
    with right:
        _neighbours(seen, concept)


def _quality(seen: View, k: int) -> None:
    quality = seen.bank.quality[k]
    if quality.auroc is None:
        st.caption("How good it is was not measured: no image is annotated with it.")
        return
    by_chance = "" if quality.p_value is None else f", p {chance(quality.p_value)}"
    accuracy = "" if quality.accuracy is None else f", {percent(quality.accuracy)} right"
    st.markdown(
        f"AUROC **{quality.auroc:.2f}** on {plural(quality.positives, 'image')} with it and {quality.negatives:,} without"
        f"{accuracy}{by_chance}"
    )


def _images(seen: View, data: "TrainingSet", values: "Tensor") -> None:
    which = st.segmented_control(
        "Images", WHICH, default="highest", required=True, key="images", bind="query-params", label_visibility="collapsed",
        help="By score on this concept", format_func=lambda w: f"{w} scores" if w != "random" else "random images",
    )  # fmt: skip
    positions = activations.examples(values, which, SHOWN, sparse=seen.uses is not None)
    ids = [data.ids[int(p)] for p in positions]
    notes = {id: signed(float(values[int(p)])) for id, p in zip(ids, positions, strict=True)}
    pictures(seen.dataset, store.images_by_id(workspace(), seen.dataset.name, ids), notes)


def _classes(seen: View, data: "TrainingSet", values: "Tensor") -> None:
    means = activations.class_means(values, data)
    shown = means if len(means) <= 24 else [*means[:12], *means[-12:]]
    st.markdown("**Which classes have it**")
    chart(
        charts.bars(
            shown,
            axis="mean score, in standard deviations" + ("" if seen.uses else " above the average image"),
        ),
        alt=f"Classes by mean score: {charts.spoken(means)}",
        key="classes_of",
        table=table(means, ["class", "mean score"]),
        note="" if len(shown) == len(means) else f"The 12 highest and the 12 lowest of {len(means)}.",
    )


def _neighbours(seen: View, concept: str) -> None:
    near = activations.neighbours(seen.bank, concept)
    st.markdown("**Nearest concepts**")
    if not near:
        st.caption("It is the only one.")
        return
    chart(
        charts.bars(near, axis="cosine of the vectors; 1 is the same"),
        alt=f"Nearest concepts: {charts.spoken(near)}",
        key="nearest",
        table=table(near, ["concept", "cosine"]),
        note=":material/warning: hard to tell apart" if near[0][1] > 0.95 else "",
    )


def _rename(seen: View, concept: str) -> None:
    with st.popover("Rename", icon=":material/edit:", type="tertiary"):
        st.text_input("Name", value=concept, key=f"rename_{concept}", max_chars=200)
        st.caption("Models that were built from this bank keep the old name.")
        st.button("Rename", type="primary", key="rename", on_click=_renamed, args=(seen.row.name, concept))


@callback
def _renamed(bank: str, concept: str) -> None:
    to = str(st.session_state.get(f"rename_{concept}") or "").strip()
    rename_concept(workspace(), bank, concept, to)
    select(concept=to)


def concept_map(seen: View) -> None:
    """The concepts' vectors in a plane; a click selects one."""
    if len(seen.bank) < 3:
        st.info("A map needs three concepts.", icon=":material/info:")
        return
    places, share = activations.flat(seen.bank)
    names: Sequence[str] = seen.bank.names
    chosen = selection().concept if selection().concept in names else names[0]
    near = [name for name, _ in activations.neighbours(seen.bank, chosen)]
    rows = [(name, float(x), float(y)) for name, (x, y) in zip(names, places.tolist(), strict=True)]
    points = chart(
        charts.concept_map(rows, chosen=chosen, near=near, named=len(names) <= LABELLED),
        alt=f"Map of {len(names)} concepts; nearest to {chosen}: {', '.join(near[:3])}",
        key="concept_map",
        table=table(rows, ["concept", "first", "second"]),
        note=f"The two first principal components of the vectors, {percent(share)} of their variance: near points may "
        "still be far apart. Click one to look at it; diamonds have the closest vectors.",
        on_select="rerun",
    )
    clicked = [str(np.ravel(point["customdata"])[0]) for point in points if point.get("customdata") is not None]
    if clicked and clicked[0] in names and clicked[0] != chosen:
        select(concept=clicked[0])
        st.rerun()
