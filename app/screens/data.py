"""Data: bring images in, look at them, and turn them into embeddings."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import streamlit as st

from app import store, ui
from app.datasets import DatasetRow
from app.encoding import agreements
from app.ui.encoders import available, choose_encoder, precision
from app.ui.intake import intake
from app.ui.provenance import provenance
from app.ui.report import class_balance, prevalence, problems, sizes
from app.ui.shelf import shelf
from app.ui.work import following, start

IMAGES, CONTENTS, EMBEDDINGS, LIST, IMPORT = "Images", "Contents", "Embeddings", "All data sets", "Import"


def contents(row: DatasetRow) -> None:
    """What was found when the data set was imported, and the way to delete it."""
    report = whole_report(row)
    provenance(report.get("source", {}))
    sizes(report)
    problems(report, key="contents")
    left, right = st.columns([1.15, 1], gap="large")
    with left:
        st.subheader("Classes", anchor=False)
        class_balance(report, key="contents")
    with right:
        st.subheader("Annotated concepts", anchor=False)
        prevalence(report, key="contents")
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        when = datetime.fromtimestamp(row.created, UTC).strftime("%d %B %Y, %H:%M UTC")
        st.caption(f"Imported {when}, content {row.fingerprint[:12]}.")
        delete(row)


def whole_report(row: DatasetRow) -> dict[str, Any]:
    """The report of the import; a data set that a program stored may have none."""
    known = {"images": row.size, "classes": row.classes, "concepts": row.concepts, "splits": row.splits, "problems": []}
    return known | dict(row.report)


def delete(row: DatasetRow) -> None:
    """Deletion, asked for twice."""
    with st.popover("Delete", icon=":material/delete:", type="tertiary"):
        used = store.models(ui.workspace(), dataset=row.name)
        st.markdown(
            f"**Delete {ui.escape(row.name)}** with {ui.plural(row.size, 'image')}? Copied pictures are removed, pictures "
            f"left in place are not. {ui.plural(len(used), 'model')} made with it stay, but cannot be explained on it."
        )
        st.button(
            "Delete for good", type="primary", icon=":material/delete:", on_click=forget, args=(row.name,), key="delete"
        )


@ui.callback
def forget(name: str) -> None:
    """Delete the data set and show what is left."""
    store.delete_dataset(ui.workspace(), name)
    ui.select(dataset="")
    st.toast(f"{ui.escape(name)} is deleted", icon=":material/delete:")


def embeddings(row: DatasetRow) -> None:
    """What the data set is embedded with, and another encoder to embed it with."""
    st.markdown(
        "An **encoder** turns every picture into an *embedding*, a list of numbers in which similar pictures are close. "
        "Concepts and models live in the space of one encoder."
    )
    measured = agreements(ui.workspace(), row.name)
    for encoder in row.encoders:
        with st.container(border=True, gap="xsmall"):
            with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
                st.markdown(
                    f":material/check: **{ui.escape(encoder)}**  :gray[{ui.plural(row.size, 'image')} embedded]"
                )
                ui.go_to("concepts", "Concepts", dataset=row.name)
            if encoder in measured:
                st.caption(ui.escape(str(measured[encoder]), 300))
    st.subheader("Embed with another encoder" if row.encoders else "Embed the images", anchor=False)
    encoder, how = choose_encoder(key="encoder"), precision(key="precision")
    if encoder:
        again = encoder in row.encoders and not how
        st.button(
            "Embed again what is new" if again else f"Embed {ui.plural(row.size, 'image')}",
            type="secondary" if again else "primary", icon=":material/play_arrow:", on_click=embed, args=(row.name, encoder, how),
            key="embed", help="Images that are embedded already cost nothing",
        )  # fmt: skip
    following(["embed"], about={"dataset": row.name}, key="embeddings")


@ui.callback
def embed(dataset: str, encoder: str, how: Mapping[str, Any]) -> None:
    """Queue the job that embeds."""
    start("embed", {"dataset": dataset, "encoder": encoder, **how})


def listing(rows: list[DatasetRow]) -> None:
    """Every data set in a line; a click selects it."""
    models = store.models(ui.workspace())
    for row in rows:
        with st.container(border=True, horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            splits = ", ".join(f"{count:,} {ui.escape(name)}" for name, count in row.splits.items())
            made = sum(model.dataset == row.name for model in models)
            encoders = ", ".join(ui.escape(name) for name in row.encoders) or "not embedded yet"
            st.markdown(
                f"**{ui.escape(row.name)}**  \n:gray[{ui.plural(row.size, 'image')} ({splits}), "
                f"{ui.plural(len(row.classes), 'class', 'classes')}, {ui.plural(len(row.concepts), 'annotated concept')}; "
                f"{encoders}; {ui.plural(made, 'model')}]"
            )
            st.button(
                "Open", key=f"open_{row.name}", on_click=open_one, args=(row.name,), icon=":material/arrow_forward:"
            )


def open_one(name: str) -> None:
    """Look at the images of a data set."""
    ui.select(dataset=name)
    st.session_state["show"] = IMAGES


def reproduced(row: DatasetRow | None, view: str) -> tuple[str, str]:
    """Command and Python for what the screen shows."""
    opening = "import os\n\nfrom app import store\nfrom app.settings import Settings\n\n"
    opening += "ws = store.open_workspace(Settings.from_environment(os.environ))\n"
    if row is None or view == IMPORT:
        return (
            ui.command("data", "import", "PATH", "--name", "NAME"),
            "import cbm\n\nimages = cbm.ImageDataset.read('PATH')",
        )
    if view == LIST:
        return ui.command("data", "list"), opening + "store.datasets(ws)"
    if view == EMBEDDINGS:
        encoder = (row.encoders or available() or ("builtin:demo",))[0]
        return (
            ui.command("embed", row.name, "--encoder", encoder),
            opening + f"images = store.training_set(ws, {row.name!r}, {encoder!r})",
        )
    return ui.command("data", "show", row.name), opening + f"images = store.dataset(ws, {row.name!r})"


rows = store.datasets(ui.workspace())
row = ui.current_dataset()
views = [IMAGES, CONTENTS, EMBEDDINGS, LIST, IMPORT] if row else [IMPORT]
if st.session_state.get("show") not in (None, *views):
    del st.session_state["show"]
top = st.container()
view = st.segmented_control(
    "What to see", views, default=views[0], required=True, key="show", bind="query-params", label_visibility="collapsed"
)
with top:
    command, python = reproduced(row, view)
    lead = f"Images of **{ui.escape(row.name)}**." if row else ""
    lead = {
        IMPORT: "Bring your own images in; nothing is stored before you have read the report.",
        LIST: "Every data set of this workspace.",
    }.get(view, lead)
    ui.header("Data", lead, command=command, python=python)
if row is None and "check" not in st.query_params:
    ui.empty("No data set yet", "Import your own images below, or start with the demo: run “pellucid demo”.")
if view == IMPORT or row is None:
    intake()
elif view == LIST:
    listing(rows)
elif view == CONTENTS:
    contents(row)
elif view == EMBEDDINGS:
    embeddings(row)
else:
    shelf(row)
