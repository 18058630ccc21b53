"""Concepts: every concept of a bank, what lights it up, and how good it is; and ways to a new bank."""

import streamlit as st

from app import store, ui
from app.models import BankRow
from app.ui.atom_view import use_chart
from app.ui.bank_form import bank_form
from app.ui.bank_view import concept_card, concept_map, concept_table, view
from app.ui.encoders import text_limits
from app.ui.work import following

TABLE, MAP, USE, BUILD = "Concepts", "Map", "Use of the atoms", "Build a bank"


def choose_bank(rows: list[BankRow]) -> BankRow:
    """The bank that is looked at, part of the address."""
    names = [row.name for row in rows]
    if st.session_state.get("bank") not in (None, *names):
        del st.session_state["bank"]
    name = st.selectbox("Concept bank", names, key="bank", bind="query-params", width=320)
    return rows[names.index(name)]


def about(row: BankRow) -> None:
    """What the bank is, and the way to delete it."""
    summary = row.summary
    mean = summary.get("mean_auroc")
    quality = f", mean AUROC {mean:.2f}" if mean is not None else ", not measured"
    weak = f", {summary['weak']} with a remark" if summary.get("weak") else ""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(f"{ui.plural(summary['concepts'], 'concept')} for {ui.escape(row.encoder)}{quality}{weak}")
        with st.popover("Delete", icon=":material/delete:", type="tertiary"):
            st.markdown(f"**Delete the bank {ui.escape(row.name)}?** Models made from it keep their own copy.")
            st.button("Delete for good", type="primary", key="delete_bank", on_click=forget, args=(row.name,))
    if row.from_words:
        text_limits(row.encoder)


@ui.callback
def forget(name: str) -> None:
    """Delete the bank."""
    store.delete_bank(ui.workspace(), name)
    st.toast(f"{ui.escape(name)} is deleted", icon=":material/delete:")


ws = ui.workspace()
dataset = ui.current_dataset()
rows = store.banks(ws)
rows.sort(key=lambda row: (dataset is None or row.dataset != dataset.name, row.name))
atoms = any("atom" in row.summary.get("sources", ()) for row in rows)
views = [TABLE, MAP, *([USE] if atoms else []), BUILD] if rows else [BUILD]
if st.session_state.get("show") not in (None, *views):
    del st.session_state["show"]
top = st.container()
if dataset is None:
    with top:
        ui.header("Concepts", "Named directions in an encoder's space.")
    ui.empty(
        "No data set yet", "Concepts are learned from images, or measured on them.", screen="data", action="Import"
    )
    st.stop()
shown = st.segmented_control(
    "What to see", views, default=views[0], required=True, key="show", bind="query-params", label_visibility="collapsed"
)
row = choose_bank(rows) if shown != BUILD else None
with top:
    name = row.name if row else "NAME"
    opening = "import os\n\nimport cbm.sources\nfrom app import store\nfrom app.settings import Settings\n\n"
    opening += "ws = store.open_workspace(Settings.from_environment(os.environ))\n"
    ui.header(
        "Concepts",
        "Named directions in an encoder's space: where each came from, how good it is, what lights it up.",
        command=ui.command("concepts", "show", name)
        if row
        else ui.command("concepts", "build", dataset.name, "--from", "texts", "--file", "PHRASES.txt", "--name", name),
        python=opening
        + (f"bank = store.bank(ws, {name!r})" if row else "encoder = store.load_encoder(ws, 'builtin:photo')\n"
           "bank = cbm.sources.bank_from_texts(encoder, ['striped wing', 'yellow bill'])"),
    )  # fmt: skip
if row is None:
    if not rows:
        st.markdown("There is no concept bank yet. Make one from phrases, or from images that people annotated.")
    bank_form(dataset)
    st.stop()
following(["bank"], about={"dataset": dataset.name}, key="banks")
about(row)
seen = view(row, dataset)
if shown == MAP:
    concept_map(seen)
elif shown == USE and seen.uses:
    use_chart(seen.bank, seen.uses)
elif shown == USE:
    st.info("These concepts are no atoms: every image has more or less of each.", icon=":material/info:")
else:
    concept_table(seen)
st.space("xsmall")
concept_card(seen)
