"""Picking images as examples of a concept: a mark under each picture, and the panel that makes the concept of them."""

import streamlit as st

from app import store
from app.datasets import DatasetRow, ImageRow
from app.ui.loaded import workspace
from app.ui.pieces import callback, filled
from app.ui.text import plural
from app.ui.work import following, start
from cbm.errors import UsageError

WITH, WITHOUT = "with", "without"
FEWEST = 2
NEW = "a new bank"
ICONS = {WITH: ":material/add:", WITHOUT: ":material/remove:"}


def pick_panel(row: DatasetRow) -> bool:
    """The switch for picking and, when it is on, what was picked and the way to a concept; whether it is on."""
    if not row.encoders:
        return False
    on = st.toggle(
        "Pick examples of a concept", key="pick", bind="query-params",
        help="Mark pictures that show a concept and pictures that do not; a vector is learned from them",
    )  # fmt: skip
    if on:
        with st.container(border=True, gap="small"):
            _panel(row)
    return on


def pick_control(row: DatasetRow, image: ImageRow) -> None:
    """Plus and minus under a picture: an example with the concept, or one without."""
    key = f"pick|{row.name}|{image.id}"
    st.session_state[key] = next((side for side, ids in picked(row.name).items() if image.id in ids), None)
    st.segmented_control(
        f"Example {image.id}", [WITH, WITHOUT], key=key, format_func=ICONS.__getitem__, label_visibility="collapsed",
        on_change=_mark, args=(row.name, image.id, key),
    )  # fmt: skip


def picked(dataset: str) -> dict[str, list[str]]:
    """Ids of the pictures that were marked in this session, by side, in the order in which they were."""
    kept: dict[str, dict[str, list[str]]] = st.session_state.setdefault("pellucid_picks", {})
    return kept.setdefault(dataset, {WITH: [], WITHOUT: []})


def _mark(dataset: str, image: str, key: str) -> None:
    sides, side = picked(dataset), st.session_state.get(key)
    for name, ids in sides.items():
        if image in ids:
            ids.remove(image)
        if name == side:
            ids.append(image)


def _panel(row: DatasetRow) -> None:
    sides = picked(row.name)
    few = min(len(ids) for ids in sides.values()) < FEWEST
    st.markdown(
        f"**{plural(len(sides[WITH]), 'picture')} with it** :material/add: and **{len(sides[WITHOUT]):,} without** "
        f":material/remove: :gray[{'At least two of each.' if few else 'More pictures make it surer; kept while this tab is open.'}]"
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        concept = st.text_input("Concept", key="pick_concept", max_chars=200, placeholder="striped wing", width=220)
        encoder = row.encoders[0]
        if len(row.encoders) > 1:
            encoder = st.selectbox("Encoder", row.encoders, key="pick_encoder", width=180)
        banks = [bank.name for bank in store.banks(workspace(), encoder=encoder)]
        into = st.selectbox("Into", [NEW, *banks], key="pick_into", width=200)
        params = {"dataset": row.name, "encoder": encoder, "source": "picked", "name": into}
        st.button(
            "Learn it", type="primary", icon=":material/school:", key="pick_learn", disabled=few,
            on_click=_learn, args=({**params, "concept": concept},),
        )  # fmt: skip
        st.button(
            "Clear", icon=":material/clear_all:", type="tertiary", key="pick_clear", on_click=_clear, args=(row.name,)
        )
    following(["bank"], about={"dataset": row.name, "source": "picked"}, key="picks")


@callback
def _learn(params: dict[str, str]) -> None:
    params = filled(params, concept="pick_concept")
    if not params["concept"].strip():
        raise UsageError("the concept needs a name", hint="what the pictures on one side have in common")
    concept, sides = params["concept"].strip(), picked(params["dataset"])
    name = params["name"] if params["name"] != NEW else _free(f"{params['dataset']}-picked")
    start("bank", {**params, "name": name, "concept": concept, WITH: sides[WITH], WITHOUT: sides[WITHOUT]})


def _free(wanted: str) -> str:
    taken = {row.name for row in store.banks(workspace())}
    return next(name for name in (wanted, *(f"{wanted}-{i}" for i in range(2, 10_000))) if name not in taken)


def _clear(dataset: str) -> None:
    for ids in picked(dataset).values():
        ids.clear()
