"""Walking through images: filters in the address, a strip of pictures to click, and j and k for the next and the last."""

from collections.abc import Sequence

import numpy as np
import streamlit as st

from app import cases, charts
from app.ui.loaded import Scene, thumbnails
from app.ui.pieces import chart, go_to, verdict_badge
from app.ui.selection import select, selection
from app.ui.text import escape, percent, plural

EVERY = "All"
PER_STRIP = 8


def browse(scene: Scene) -> None:
    """Filters, buttons for the image before and after, and the images around the current one."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        positions = _filters(scene)
        if len(positions):
            _go(scene, "Previous", positions, scene.image, -1, shortcut="k", icon=":material/chevron_left:")
            _go(scene, "Next", positions, scene.image, 1, shortcut="j", icon=":material/chevron_right:")
    if not len(positions):
        st.info("No image passes these filters.", icon=":material/filter_alt_off:")
        return
    where = np.flatnonzero(positions == scene.image)
    place = f"{int(where[0]) + 1:,} of " if len(where) else ""
    st.caption(f"{place}{plural(len(positions), 'image')}")
    strip(scene, cases.around(positions, scene.image, PER_STRIP), current=scene.image, key="walk")


def _filters(scene: Scene) -> np.ndarray:
    """Controls for split, class, group and errors; the positions of the images that are left."""
    data = scene.data
    groups = scene.group_names
    split = _one_of("Split", data.split_names, "split", str(data.splits[scene.image]))
    class_ = _one_of("Class", data.classes, "label")
    group = _one_of("Group", groups, "group") if groups else ""
    wrong = st.toggle("Only mistakes", key="wrong", bind="query-params")
    return cases.chosen(data, scene.outcome, split=split, class_=class_, group=group, wrong=wrong)


def _one_of(label: str, names: Sequence[str], key: str, usual: str = "") -> str:
    """A choice of one name or all; the empty text is all."""
    options = [EVERY, *names]
    index = options.index(usual) if usual else 0
    picked = st.selectbox(label, options, index=index, key=key, bind="query-params", width=170)
    return picked if picked in names else ""


def _go(scene: Scene, label: str, positions: np.ndarray, current: int, by: int, *, shortcut: str, icon: str) -> None:
    target = scene.data.ids[cases.step(positions, current, by)]
    st.button(label, shortcut=shortcut, icon=icon, on_click=select, kwargs={"image": target}, key=f"go_{label}")


def strip(
    scene: Scene,
    positions: Sequence[int],
    *,
    key: str,
    current: int = -1,
    columns: int = PER_STRIP,
    open_in: str = "",
) -> None:
    """Pictures side by side; the button under each names its prediction and selects it, or opens a screen with it."""
    pictures = thumbnails(scene, positions)
    with st.grid(columns, min_column_width=86, gap="small"):
        for place, position in enumerate(int(p) for p in positions):
            with st.container(gap="xsmall"):
                if position in pictures:
                    st.image(pictures[position], width="stretch", alt=spoken(scene, position), output_format="JPEG")
                if open_in:
                    go_to(open_in, _said(scene, position), icon=_mark(scene, position), image=scene.data.ids[position])
                else:
                    _pick(scene, position, key=f"{key}_{place}", here=position == current)


def row(scene: Scene, positions: Sequence[int], *, note: str) -> None:
    """Pictures side by side, only to look at."""
    pictures = thumbnails(scene, positions)
    st.caption(escape(note))
    with st.grid(max(1, len(positions)), min_column_width=48, gap="xsmall"):
        for position in positions:
            if position in pictures:
                st.image(pictures[position], width="stretch", alt=spoken(scene, position), output_format="JPEG")


def _said(scene: Scene, position: int) -> str:
    return escape(scene.model.classes[scene.outcome.predictions[position]], 18)


def _mark(scene: Scene, position: int) -> str | None:
    return ":material/close:" if scene.outcome.wrong[position] else None


def _pick(scene: Scene, position: int, *, key: str, here: bool) -> None:
    st.button(
        _said(scene, position),
        key=key,
        icon=_mark(scene, position),
        type="primary" if here else "tertiary",
        width="stretch",
        help=escape(spoken(scene, position), 200),
        on_click=select,
        kwargs={"image": scene.data.ids[position]},
    )


def verdict(scene: Scene) -> None:
    """The current image, large, with what the model takes it for, what it is, and the most probable classes."""
    result, at = scene.outcome, scene.image
    said, label = int(result.predictions[at]), scene.data.classes[int(scene.data.labels[at])]
    big = thumbnails(scene, [at], 384)
    if at in big:
        st.image(big[at], width="stretch", alt=spoken(scene, at), output_format="JPEG")
    with st.container(gap="xsmall"):
        share = percent(float(result.probabilities[at, said]))
        st.markdown(f"Predicted **{escape(scene.model.classes[said])}**, {share}")
        verdict_badge(not result.wrong[at], label)
        group = f", {scene.data.groups[at]}" if scene.data.groups else ""
        st.caption(escape(f"{scene.data.ids[at]} ({scene.data.splits[at]}{group})", 120))
    order = result.probabilities[at].argsort(descending=True)[:4].tolist()
    rows = [(scene.model.classes[c], float(result.probabilities[at, c])) for c in order]
    chart(
        charts.shares(rows, axis="probability"),
        alt=f"Most probable classes: {', '.join(f'{name} {percent(p)}' for name, p in rows)}",
        key="most_probable",
    )


def class_choice(scene: Scene, label: str) -> str:
    """A choice of the class that is looked at, part of the selection; the prediction until one is chosen."""
    chosen = selection().class_
    said = scene.model.classes[int(scene.outcome.predictions[scene.image])]
    st.session_state["choose_class"] = chosen if chosen in scene.model.classes else said
    st.selectbox(label, scene.model.classes, key="choose_class", on_change=_choose_class, width=320)
    return str(st.session_state["choose_class"])


def _choose_class() -> None:
    select(class_=st.session_state["choose_class"])


def concept_choice(scene: Scene, label: str) -> str:
    """A choice of the concept that is looked at, part of the selection; the most influential until one is chosen."""
    chosen = selection().concept
    st.session_state["choose_concept"] = chosen if chosen in scene.model.concepts else _influential(scene)
    st.selectbox(label, scene.model.concepts, key="choose_concept", on_change=_choose_concept)
    return str(st.session_state["choose_concept"])


def _influential(scene: Scene) -> str:
    """The concept that moves the logits most, over all classes and images."""
    spread = scene.outcome.scores.std(0, unbiased=False) * scene.model.head.effects().abs().sum(0)
    return scene.model.concepts[int(spread.argmax())]


def _choose_concept() -> None:
    select(concept=st.session_state["choose_concept"])


def spoken(scene: Scene, position: int) -> str:
    """An image in words: what it is, and what the model takes it for."""
    result, data = scene.outcome, scene.data
    said = int(result.predictions[position])
    share = percent(float(result.probabilities[position, said]))
    label = data.classes[int(data.labels[position])]
    return f"{label}, predicted {scene.model.classes[said]} ({share}), {data.ids[position]}"
