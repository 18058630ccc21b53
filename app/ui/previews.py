"""What an edit changes, before anybody saves it: quick, because logits follow edits instead of being computed again."""

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

import streamlit as st
import torch

from app.ui.loaded import Scene, edited
from app.ui.text import escape, estimate, percent
from cbm.edits import Edit, dumps
from cbm.live import LiveLogits, live_logits
from probes.comparison import Comparison, changes, compare
from probes.intervals import Estimate
from probes.tables import Decisions, decided

if TYPE_CHECKING:
    from cbm.training_set import TrainingSet


def compared(scene: Scene, before: Sequence[Edit], after: Sequence[Edit], split: str) -> Comparison:
    """What changes on a split from one list of edits to another; quick when they differ by a few edits at the end."""
    images = f"{scene.row.fingerprint}|{scene.dataset.fingerprint}|{len(scene.data)}"
    return _compared(f"{images}|{dumps(before)}|{dumps(after)}|{split}", scene, tuple(before), tuple(after), split)


@st.cache_resource(show_spinner=False, max_entries=256)
def _compared(key: str, _scene: Scene, _before: tuple[Edit, ...], _after: tuple[Edit, ...], split: str) -> Comparison:
    if not _scene.fitted.exact:
        return compare(edited(_scene, _before), edited(_scene, _after), _scene.data, split)
    old, new = (
        _decided(f"{_images(_scene)}|{dumps(edits)}|{split}", _scene, edits, split) for edits in (_before, _after)
    )
    return changes(old, new, edited(_scene, _before).classes, edited(_scene, _after).classes)


def live_after(scene: Scene, edits: tuple[Edit, ...]) -> LiveLogits:
    """Logits that follow edits: those of the saved edits are kept, later ones are added to them one by one."""
    kept = edits[: len(scene.history.edits)] if edits[: len(scene.history.edits)] == scene.history.edits else ()
    live = _live(f"{_images(scene)}|{dumps(kept)}", scene, kept)
    return _followed(f"{_images(scene)}|{dumps(edits)}", live, edits[len(kept) :])


def _images(scene: Scene) -> str:
    return f"{scene.row.fingerprint}|{scene.dataset.fingerprint}|{len(scene.data)}"


@st.cache_resource(show_spinner=False, max_entries=6)
def _live(key: str, _scene: Scene, _edits: tuple[Edit, ...]) -> LiveLogits:
    return live_logits(edited(_scene, _edits), _scene.data.x)


@st.cache_resource(show_spinner=False, max_entries=4)
def _followed(key: str, _live: LiveLogits, _edits: tuple[Edit, ...]) -> LiveLogits:
    return reduce(LiveLogits.edited, _edits, _live)


@st.cache_resource(show_spinner=False, max_entries=16)
def _decided(key: str, _scene: Scene, _edits: tuple[Edit, ...], split: str) -> Decisions:
    """What the model with these edits makes of a split."""
    live, rows = live_after(_scene, _edits), torch.as_tensor(_scene.data.splits == split)
    return decided(live.model, _split(f"{_images(_scene)}|{split}", _scene.data, split), live.logits[:, rows].T)


@st.cache_resource(show_spinner=False, max_entries=8)
def _split(key: str, _data: "TrainingSet", split: str) -> "TrainingSet":
    return _data.split(split)


def accuracy_card(split: str, before: Estimate, after: Estimate, note: str = "", *, changed: bool) -> None:
    """Accuracy on a split after a change, how much that is more or less, and its interval."""
    points = 100 * (after.value - before.value)
    moved = abs(points) >= 0.05
    where = f" {note}" if note else ""
    with st.container(border=True, gap="xsmall", height="stretch"):
        st.metric(
            f"On {escape(split)}",
            percent(after.value),
            f"{points:+.1f} points" if moved else "no change" if changed else None,
            delta_color="normal" if moved else "off",
            delta_arrow="auto" if moved else "off",
            help=f"Share of right decisions{where}, with Wilson's 95 % interval. Before: {estimate(before)}.",
        )
        st.caption(f"{100 * after.low:.1f} to {100 * after.high:.1f}, n = {after.n:,}" + (f"; {note}" if note else ""))
