"""What corrections would do on many images: accuracy against the number of corrected concepts, by who chooses them."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import streamlit as st

from app import charts
from app.ui.loaded import Scene
from app.ui.pieces import chart, empty, table
from app.ui.text import estimate, percent, plural
from cbm.errors import PellucidError

if TYPE_CHECKING:
    import pandas as pd

    from probes.corrections import TrueScores
    from probes.interventions import Curve

WORK = 2 * 10**9  # logits of imagined answers that a person waits for, some seconds
TYPICAL = 0.5  # quantile of the scores with a concept that "yes" stands for: an expected answer moves little
FEWEST = 5  # corrections shown whatever they cost
BOUND = "best possible"
POLICIES = {
    "coop": ("doubt times influence", "How unsure the concept is, times how much its answer matters (CooP, Chauhan et al. 2023)"),
    "expected": ("expected change", "The expected change of the decision's probability; “Ask next” on one image"),
    "uncertainty": ("doubt", "How unsure the concept is, by its calibrated probability"),
    "contribution": ("contribution", "What weighs most for or against the current decision"),
    "random": ("random", "No preference"),
    "greedy": (BOUND, "Looks at annotations and labels: what no real policy can know"),
}  # fmt: skip


def answers(scene: Scene) -> "TrueScores":
    """What an expert's answers mean as scores of this model.

    Raises
    ------
    DataError, ModelError
        If no concept can be corrected here, with the reason.
    """
    return _answers(scene.key, scene)


def many_images(scene: Scene) -> None:
    """The curves of all policies on one split, what they say, and their areas."""
    try:
        correctable = len(answers(scene).concepts)
        split = _split(scene)
        found = _curves(f"{scene.key}|{split}", scene, split)
    except PellucidError as error:
        empty("No curves for this model and these images", f"{error.message}. {error.hint}".strip())
        return
    named = {POLICIES[policy][0]: curve for policy, curve in found.items()}
    best = max((name for name in named if name != BOUND), key=lambda name: named[name].area.value)
    st.markdown(_said(named, best, correctable))
    points = {name: curve.accuracy for name, curve in named.items()}
    chart(
        charts.curves(
            points, axis=f"accuracy on {split}", across="corrected concepts per image", bounds=[BOUND], band=best
        ),
        alt="; ".join(f"{name}: area under the curve {estimate(curve.area)}" for name, curve in named.items()),
        key="policies",
        table=_points(named),
        note=f"The band is the 95 % interval of “{best}”; the others' are as wide, and in the table.",
    )
    st.dataframe(_areas(found), hide_index=True, width="stretch", alt="Policies and the areas under their curves")
    st.caption(
        "Annotations answer for the expert: a concept gets the median score of the training images that have it, or of those "
        "that do not. The area is the curve's mean height."
    )


def _split(scene: Scene) -> str:
    """The split to look at."""
    names = [name for name in scene.data.split_names if name != "train"] or list(scene.data.split_names)
    default = "test" if "test" in names else names[0]
    return str(
        st.segmented_control("Images", names, default=default, required=True, key="split", bind="query-params")
        if len(names) > 1
        else names[0]
    )


def _said(named: "Mapping[str, Curve]", best: str, correctable: int) -> str:
    """What the curves say, in two sentences of Markdown."""
    points = named[best].accuracy
    few = min(FEWEST, len(points) - 1)
    start, end = points[0], points[-1]
    told = (
        f"The model alone is right on **{percent(start.value)}** of {start.n:,} images; with {plural(few, 'concept')} "
        f"corrected, chosen by {best}, on **{percent(points[few].value)}**; with {len(points) - 1} of {correctable}, on "
        f"**{percent(end.value)}**."
    )
    if end.value <= start.value:
        told += (
            " Right concepts alone do not help here: the head leans on concepts that mislead, or reads more out of the "
            "scores than whether a concept is there."
        )
    return told


def _points(named: "Mapping[str, Curve]") -> "pd.DataFrame":
    """Every point of every curve."""
    rows = [
        (name, i, point.value, point.low, point.high)
        for name, curve in named.items()
        for i, point in enumerate(curve.accuracy)
    ]
    return table(rows, ["policy", "corrected", "accuracy", "low", "high"])


def _areas(found: "Mapping[str, Curve]") -> "pd.DataFrame":
    """One row a policy: how it chooses, and the area under its curve."""
    rows = [(*POLICIES[policy], estimate(curve.area)) for policy, curve in found.items()]
    return table(rows, ["policy", "asks first for", "area under the curve"])


@st.cache_resource(show_spinner=False, max_entries=16)
def _answers(key: str, _scene: Scene) -> "TrueScores":
    from probes.corrections import true_scores

    return true_scores(_scene.model, _scene.data, edge=TYPICAL)


@st.cache_resource(show_spinner="Correcting concepts …", max_entries=16)
def _curves(key: str, _scene: Scene, split: str) -> "dict[str, Curve]":
    from probes.interventions import intervention_curve

    model, data = _scene.model, _scene.data
    imagined = int((data.splits == split).sum()) * len(model.concepts) * len(model.classes)
    steps = max(FEWEST, WORK // max(1, 6 * imagined))  # six imagined answers a step, over all policies
    return {
        policy: intervention_curve(model, data, policy=policy, split=split, steps=steps, edge=TYPICAL)
        for policy in POLICIES
    }
