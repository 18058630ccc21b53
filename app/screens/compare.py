"""Compare: models side by side on the same images, and the images on which two of them differ."""

import streamlit as st

from app import store, ui
from app.datasets import DatasetRow
from app.models import ModelRow
from app.ui import versus
from app.ui.disagreements import disagreements, tests
from app.ui.side_by_side import Contender, contender, differing

MOST, FIRST = 6, 4


def choose(dataset: DatasetRow, rows: list[ModelRow]) -> tuple[list[ModelRow], str]:
    """The models, the baseline first, and the split."""
    names = [row.name for row in rows]
    current = ui.current_model()
    usual = [*([current.name] if current and current.name in names else []), *names]
    splits = [name for name in dataset.splits if name != "train"] or list(dataset.splits)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        chosen = st.multiselect(
            "Models", names, default=list(dict.fromkeys(usual))[:FIRST], key="models", bind="query-params",
            max_selections=MOST, width=460,
        )  # fmt: skip
        baseline = st.selectbox(
            "Baseline", chosen, key="baseline", bind="query-params", width=200,
            help="The model that the others are tested against; it comes first everywhere.",
        )  # fmt: skip
        first = splits.index("test") if "test" in splits else 0
        split = st.selectbox("Images", splits, index=first, key="on", bind="query-params", width=130)
    ordered = sorted(chosen, key=lambda name: name != baseline)
    return [rows[names.index(name)] for name in ordered], split


def numbers(found: list[Contender], split: str) -> None:
    """Accuracies with their controls, the tests against the baseline, and every metric in a row."""
    versus.accuracies(found, split)
    versus.unmeasured(found, split)
    if len(found) > 1:
        tests(found)
    st.subheader("All metrics", anchor=False)
    everything = st.toggle("Also what is the same for all", key="same", bind="query-params")
    rows = differing(found, everything=everything)
    if not rows:
        st.info("On these images nothing differs.", icon=":material/drag_handle:")
        return
    names = [one.name for one in found]
    pinned = {name: st.column_config.TextColumn(pinned=True) for name in ("metric", names[0])}
    st.dataframe(
        ui.table(rows, ["metric", *names]), hide_index=True, height="content",
        alt=f"{len(rows)} metrics of {len(found)} models", column_config=pinned,
    )  # fmt: skip
    st.caption(
        "In brackets the 95 % interval and the images that it rests on; formulas and sources are under Help, Numbers."
    )
    notes = {f"{one.name}: {note}" for one in found for note in one.evaluation.notes.values()}
    if notes:
        st.caption("Worst group of " + "; ".join(ui.escape(note, 300) for note in sorted(notes)) + ".")


def header(names: list[str], split: str) -> None:
    """Title and what reproduces the screen."""
    ui.header(
        "Compare",
        "Models side by side, on the same images.",
        command=ui.command("compare", *(names or ["MODEL", "MODEL"]), "--split", split or "test"),
        python="import os\n\nfrom app import store\nfrom app.comparing import compared\nfrom app.settings import Settings\n\n"
        "ws = store.open_workspace(Settings.from_environment(os.environ))\n"
        f"print(compared(ws, {names!r}, split={split!r}))",
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
found = [contender(row, dataset.name, split) for row in chosen]
views = {
    "Numbers": lambda: numbers(found, split),
    "Few concepts": lambda: versus.frontier(found, dataset.name, split),
    "Groups": lambda: versus.groups(found, split),
    "Calibration": lambda: versus.calibration(found, split),
    "Corrections": lambda: versus.corrections(found, dataset.name, split),
    **({"Where they differ": lambda: disagreements(found, dataset)} if len(found) > 1 else {}),
}
for tab, view in zip(st.tabs(list(views), key="of", bind="query-params"), views.values(), strict=True):
    with tab:
        if tab.open:
            view()
