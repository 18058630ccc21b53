"""Undo and redo of a model's edits; the list is in the database, so a refresh or a second tab shows the same."""

import streamlit as st

from app import store
from app.ui.loaded import Scene
from app.ui.pieces import callback
from app.ui.text import escape
from cbm.edits import describe


def undo_redo(scene: Scene) -> None:
    """Two buttons; each says on hover which edit it takes back or brings back."""
    past = scene.history
    last = escape(describe(past.edits[-1]), 200) if past.edits else "There is nothing to undo"
    following = escape(describe(past.undone[0]), 200) if past.undone else "There is nothing to redo"
    st.button(
        "Undo",
        icon=":material/undo:",
        shortcut="Ctrl+Z",
        key="undo",
        help=last,
        disabled=not past.edits,
        on_click=_undo,
        args=(scene,),
    )
    st.button(
        "Redo",
        icon=":material/redo:",
        shortcut="Ctrl+Shift+Z",
        key="redo",
        help=following,
        disabled=not past.undone,
        on_click=_redo,
        args=(scene,),
    )


@callback
def _undo(scene: Scene) -> None:
    past = scene.history
    store.undo(scene.ws, scene.row.name, branch=past.branch, expect_version=past.version)


@callback
def _redo(scene: Scene) -> None:
    past = scene.history
    store.redo(scene.ws, scene.row.name, branch=past.branch, expect_version=past.version)
