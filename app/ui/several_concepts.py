"""Several concepts of one image set at once: a group, or any that are picked, to what is usual in a class or to unknown."""

from collections.abc import Callable

import streamlit as st
import torch

from app.ui.loaded import Scene
from app.ui.pieces import callback
from app.ui.text import plural
from probes.questions import groups_by_name

UNKNOWN = "unknown (training mean)"
Say = Callable[[Scene, str, dict[str, float]], None]


def several(scene: Scene, image: str, say: Say) -> None:
    """Fields for which concepts and which scores; one press sets them through `say`."""
    groups = {name: members for name, members in groups_by_name(scene.model.concepts).items() if len(members) > 1}
    key = f"{scene.row.name}|{image}"
    chosen = st.multiselect("Groups", list(groups), key=f"groups|{key}", placeholder="Concepts whose names end alike")
    also = st.multiselect("Concepts", scene.model.concepts, key=f"several|{key}", placeholder="Any others")
    to = str(st.selectbox("Set them to", [UNKNOWN, *scene.model.classes], key=f"several_to|{key}",
                          help="A class: the median score of its training images"))  # fmt: skip
    names = list(dict.fromkeys([*(name for group in chosen for name in groups[group]), *also]))
    st.button(
        f"Set {plural(len(names), 'concept')}" if names else "Set", type="primary", disabled=not names, key="set_several",
        on_click=_set, args=(scene, image, names, to, say),
    )  # fmt: skip


@callback
def _set(scene: Scene, image: str, names: list[str], to: str, say: Say) -> None:
    values = scene.ranges.mean if to == UNKNOWN else usual_in(scene, to)
    say(scene, image, {name: round(float(values[scene.model.concept(name)]), 4) for name in names})


def usual_in(scene: Scene, class_: str) -> torch.Tensor:
    """The median score of each concept among a class's training images, `[k]`; the mean of all where it has none."""
    train = torch.as_tensor(scene.data.splits == "train")
    own = train & torch.as_tensor(scene.outcome.labels == scene.model.class_(class_))
    return scene.outcome.scores[own].median(0).values if bool(own.any()) else scene.ranges.mean
