"""Edits from elsewhere on the screen Edit: another branch of the model, or another model's script."""

from collections.abc import Sequence

import streamlit as st

from app import store
from app.history import MAIN
from app.ui.loaded import Scene
from app.ui.pieces import announce, callback
from app.ui.selection import select
from app.ui.text import escape, plural
from cbm.edits import Edit, describe
from cbm.replay import Conflict, Fate, Replay, brought_over, conflicts, replay


def branches(scene: Scene) -> None:
    """Start a branch, go to another one, and bring its edits over."""
    past = scene.history
    names = store.branches(scene.ws, scene.row.name)
    st.markdown("A branch is another list of edits for the same model. It starts with the edits that count here.")
    name = st.text_input("Name of the branch", key="branch_name", max_chars=60)
    st.button("Start the branch", key="branch", disabled=not name.strip(), on_click=_start, args=(scene,))
    others = [other for other in names if other != past.branch]
    if not others:
        return
    other = st.selectbox("Another branch", others, key="other_branch", format_func=lambda n: escape(n, 60))
    parted = store.diff(past.edits, store.history(scene.ws, scene.row.name, other).edits)
    over, opposed = brought_over(parted.left, parted.right), conflicts(parted.left, parted.right)
    st.caption(
        f"{plural(len(parted.common), 'edit')} in common, {len(parted.left)} only here, {len(parted.right)} only on "
        f"{escape(other, 60)}."
    )
    _list("Comes over", over)
    _oppose(opposed)
    with st.container(horizontal=True):
        st.button("Go there", key="go_branch", on_click=select, kwargs={"version": "" if other == MAIN else other})
        st.button(
            f"Bring {plural(len(over), 'edit')} over", key="bring_over", type="primary", disabled=not over,
            on_click=_bring, args=(scene, other),
        )  # fmt: skip


def from_model(scene: Scene) -> None:
    """Replay another model's edits here, with a report of what does not apply."""
    rows = [row for row in store.models(scene.ws) if row.edits and row.name != scene.row.name]
    st.markdown("The edits of another model, for example of this one before it was trained again, applied to this one.")
    if not rows:
        st.caption("No other model has edits.")
        return
    name = st.selectbox("Edits of", [row.name for row in rows], key="replay_from", format_func=lambda n: escape(n, 60))
    found = replay(scene.model, store.history(scene.ws, name).edits)
    report(found)
    st.button(
        f"Apply {plural(len(found.edits), 'edit')}", key="replay", type="primary", disabled=not found.edits,
        on_click=_replay, args=(scene, name),
    )  # fmt: skip


def report(found: Replay) -> None:
    """What became of every edit."""
    icons = {Fate.APPLIED: "check", Fate.NO_EFFECT: "remove", Fate.SKIPPED: "block"}
    for step in found.steps:
        why = f": {escape(step.reason, 200)}" if step.reason else ""
        note = "" if step.fate is Fate.APPLIED else f" ({step.fate.value}{why})"
        st.markdown(f":material/{icons[step.fate]}: {escape(describe(step.edit), 200)}{note}")


def _list(title: str, edits: Sequence[Edit]) -> None:
    for edit in edits:
        st.markdown(f":material/check: {title}: {escape(describe(edit), 200)}")


def _oppose(opposed: Sequence[Conflict]) -> None:
    for conflict in opposed:
        st.markdown(f":material/warning: Stays there: {escape(str(conflict), 300)}")


@callback
def _start(scene: Scene) -> None:
    """Start a branch and go to it."""
    name = st.session_state["branch_name"].strip()
    store.new_branch(scene.ws, scene.row.name, name, source=scene.history.branch)
    select(version=name)


@callback
def _bring(scene: Scene, other: str) -> None:
    past = scene.history
    _, opposed = store.bring_over(scene.ws, scene.row.name, other, into=past.branch, expect_version=past.version)
    announce(
        f"The edits are here; {plural(len(opposed), 'conflict')} left on the branch."
        if opposed
        else "The edits are here."
    )


@callback
def _replay(scene: Scene, name: str) -> None:
    past = scene.history
    found = replay(scene.model, store.history(scene.ws, name).edits)
    store.append(scene.ws, scene.row.name, found.edits, branch=past.branch, expect_version=past.version)
    announce("Applied. Undo takes it back.")
