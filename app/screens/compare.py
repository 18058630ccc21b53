"""Compare: models side by side on the same images, and the images on which two of them differ."""

import streamlit as st

from app import charts, store, ui
from app.datasets import DatasetRow
from app.models import ModelRow
from app.ui.bank_view import chance
from app.ui.measured import figure
from app.ui.shelf import pictures
from app.ui.side_by_side import Measured, differing, measured, pair

MOST, SHOWN = 6, 8


def choose(dataset: DatasetRow, rows: list[ModelRow]) -> tuple[list[ModelRow], str]:
    """The models, the first of which the others are compared with, and the split."""
    names = [row.name for row in rows]
    splits = [name for name in dataset.splits if name != "train"] or list(dataset.splits)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        chosen = st.multiselect(
            "Models", names, default=names[:4], key="models", bind="query-params", max_selections=MOST, width=700
        )
        usual = splits.index("test") if "test" in splits else 0
        split = st.selectbox("Images", splits, index=usual, key="on", bind="query-params", width=160)
    return [rows[names.index(name)] for name in chosen], split


def accuracies(found: list[Measured], split: str) -> None:
    """Accuracy of each model with its interval."""
    shown = [(one.row.name, one.numbers["accuracy"]) for one in found if "accuracy" in one.numbers]
    ui.chart(
        charts.group_dots([name for name, _ in shown], [value for _, value in shown], axis=f"accuracy on {split}"),
        alt="; ".join(f"{name}: {figure('accuracy', value)}" for name, value in shown),
        key="accuracies",
        table=ui.table(
            [(n, v.value, v.low, v.high, v.n) for n, v in shown], ["model", "accuracy", "low", "high", "images"]
        ),
        note="Dots with 95 % intervals. Intervals that overlap widely do not tell two models apart.",
    )


def numbers(found: list[Measured]) -> None:
    """Every metric in a row, a model a column."""
    everything = st.toggle("Also what is the same for all", key="same", bind="query-params")
    rows = differing(found, everything=everything)
    if not rows:
        st.info("On these images nothing differs.", icon=":material/drag_handle:")
        return
    st.dataframe(
        ui.table(rows, ["metric", *(one.row.name for one in found)]), hide_index=True, height="content",
        alt=f"{len(rows)} metrics of {len(found)} models",
        column_config={"metric": st.column_config.TextColumn(pinned=True)},
    )  # fmt: skip
    st.caption(
        "In brackets the 95 % interval and the images that it rests on; formulas and sources are under Help, Numbers."
    )


def images(first: ModelRow, second: ModelRow, dataset: DatasetRow, split: str) -> None:
    """The images that only one of two models gets right."""
    found = pair(first, second, dataset.name, split)
    apart = len(found.only_first) + len(found.only_second)
    st.subheader("Where the first two differ", anchor=False)
    st.markdown(
        f"Both are right on {ui.plural(found.both, 'image')} and both are wrong on {found.neither:,}. On {apart:,} only one "
        f"is right: **{ui.escape(first.name)}** on {len(found.only_first):,}, **{ui.escape(second.name)}** on "
        f"{len(found.only_second):,} (p {chance(found.p_value)}, exact McNemar test)."
    )
    for row, ids in ((first, found.only_first), (second, found.only_second)):
        if ids:
            more = f", the first {SHOWN} of {len(ids):,}" if len(ids) > SHOWN else ""
            st.markdown(f"Only **{ui.escape(row.name)}** is right{more}")
            pictures(dataset, store.images_by_id(ui.workspace(), dataset.name, ids[:SHOWN]))


def header(names: list[str], split: str) -> None:
    """Title and what reproduces the screen."""
    ui.header(
        "Compare",
        "Models side by side, on the same images.",
        command=ui.command("compare", *(names or ["MODEL", "MODEL"]), "--split", split or "test"),
        python="import os\n\nfrom app import store\nfrom app.settings import Settings\nfrom probes.metrics import evaluate\n\n"
        "ws = store.open_workspace(Settings.from_environment(os.environ))\n"
        f"for name in {names!r}:\n    row = store.model_row(ws, name)\n"
        "    images = store.training_set(ws, row.dataset, row.encoder)\n"
        f"    print(name, evaluate(store.model(ws, name), images, split={split!r}, controls=False))",
    )


top = st.container()
dataset = ui.current_dataset()
rows = store.models(ui.workspace(), dataset=dataset.name) if dataset else []
if dataset is None or len(rows) < 2:
    with top:
        header([], "")
    ui.empty(
        "Two models are needed",
        "Build a second one: another method, another concept bank, or other options.",
        screen="build",
        action="Build a model",
    )
    st.stop()
chosen, split = choose(dataset, rows)
with top:
    header([row.name for row in chosen], split)
if not chosen:
    st.info("Choose models above.", icon=":material/arrow_upward:")
    st.stop()
found = [measured(row, dataset.name, split) for row in chosen]
accuracies(found, split)
numbers(found)
if len(chosen) > 1:
    images(chosen[0], chosen[1], dataset, split)
