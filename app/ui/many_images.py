"""What corrections would do on many images: accuracy against the number of corrected concepts, by who chooses them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from app import charts
from app.ui.loaded import Scene
from app.ui.pieces import chart, empty, table
from app.ui.text import estimate, percent, plural
from cbm.errors import PellucidError

if TYPE_CHECKING:
    import pandas as pd

    from cbm.training_set import TrainingSet
    from probes.corrections import TrueScores
    from probes.interventions import Curve

MOST_IMAGES = 2000  # of a split; more would change no curve by as much as its interval
WORK = 2 * 10**9  # logits of imagined answers that a person waits for, some seconds
TYPICAL = 0.5  # quantile of the scores with a concept that "yes" stands for: an expected answer moves little
FEWEST = 5  # corrections shown whatever they cost
BOUND = "best possible"
ANSWER, CLASS, UNKNOWN = "answers", "what is usual in the image's class", "unknown"
CORRECTIONS = {ANSWER: "answer", CLASS: "class", UNKNOWN: "unknown"}
TOLD = {
    ANSWER: "Annotations answer for the expert: a concept gets the median score of the training images that have it, or of "
    "those that do not.",
    CLASS: "A concept gets the median score of the training images of the image's own class that are annotated alike, so the "
    "correction tells the model of the class too.",
    UNKNOWN: "A concept gets the mean of all training images: nothing is told, what the model saw is taken away.",
}
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
        _asking()
        asked = asked_how()
        found = _curves(f"{scene.key}|{split}|{asked}", scene, split, asked)
    except PellucidError as error:
        empty("No curves for this model and these images", f"{error.message}. {error.hint}".strip())
        return
    named = {POLICIES[policy][0]: curve for policy, curve in found.items()}
    best = max((name for name in named if name != BOUND), key=lambda name: named[name].area.value)
    st.markdown(_said(named, best, found["random"].questions if asked.groups else correctable, asked))
    points = {name: curve.accuracy for name, curve in named.items()}
    chart(
        charts.curves(
            points, axis=f"accuracy on {split}", across=f"corrected {asked.unit} per image", bounds=[BOUND], band=best
        ),
        alt="; ".join(f"{name}: area under the curve {estimate(curve.area)}" for name, curve in named.items()),
        key="policies",
        table=_points(named),
        note=f"The band is the 95 % interval of “{best}”; the others' are as wide, and in the table.",
    )
    st.dataframe(_areas(found), hide_index=True, width="stretch", alt="Policies and the areas under their curves")
    size = scene.dataset.splits.get(split, 0)
    few = f" Of the {size:,} images {MOST_IMAGES:,} are drawn; the command takes all." if size > MOST_IMAGES else ""
    st.caption(f"{TOLD[asked.to]} The area is the curve's mean height.{few}")


@dataclass(frozen=True)
class Asked:
    """How the expert is asked and answers."""

    to: str
    groups: bool
    error: float

    @property
    def unit(self) -> str:
        """What one question is about."""
        return "groups" if self.groups else "concepts"

    def options(self) -> list[str]:
        """The options of `pellucid intervene`."""
        said = [] if self.to == ANSWER else ["--to", CORRECTIONS[self.to]]
        return [*said, *(["--error", f"{self.error:g}"] if self.error else []), *(["--groups"] if self.groups else [])]


def asked_how() -> Asked:
    """What the fields of the page say; as the address does before they are drawn."""
    to = st.session_state.get("to", st.query_params.get("to", ANSWER))
    error = float(st.session_state.get("error", st.query_params.get("error", 0)) or 0)
    groups = str(st.session_state.get("groups", st.query_params.get("groups", "false"))).lower() == "true"
    to = to if to in CORRECTIONS else ANSWER
    return Asked(to, groups, error / 100 if to == ANSWER else 0.0)


def _asking() -> None:
    """Fields for how the expert is asked."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        to = st.selectbox("Correct to", list(CORRECTIONS), key="to", bind="query-params", width=280)
        st.slider(
            "Wrong answers", 0, 50, step=5, format="%d %%", key="error", bind="query-params", width=220,
            disabled=to != ANSWER, help="An expert who says the opposite that often, on each concept on its own",
        )  # fmt: skip
        st.toggle(
            "In groups", key="groups", bind="query-params",
            help="Concepts whose names end alike (“red wing”, “striped wing”) are asked about together",
        )  # fmt: skip


def _split(scene: Scene) -> str:
    """The split to look at."""
    names = [name for name in scene.data.split_names if name != "train"] or list(scene.data.split_names)
    default = "test" if "test" in names else names[0]
    return str(
        st.segmented_control("Images", names, default=default, required=True, key="split", bind="query-params")
        if len(names) > 1
        else names[0]
    )


def _said(named: "Mapping[str, Curve]", best: str, correctable: int, asked: Asked) -> str:
    """What the curves say, in two sentences of Markdown."""
    points = named[best].accuracy
    few = min(FEWEST, len(points) - 1)
    start, end = points[0], points[-1]
    told = (
        f"The model alone is right on **{percent(start.value)}** of {start.n:,} images; with {plural(few, asked.unit[:-1])} "
        f"corrected, chosen by {best}, on **{percent(points[few].value)}**; with {len(points) - 1} of {correctable}, on "
        f"**{percent(end.value)}**."
    )
    if end.value <= start.value and asked.to == ANSWER and not asked.error:
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


def _some(data: "TrainingSet", split: str) -> "TrainingSet":
    """The images, but of a large split only so many, drawn with a seed; corrections learn from the other splits."""
    there = np.flatnonzero(data.splits == split)
    if len(there) <= MOST_IMAGES:
        return data
    drawn = np.random.default_rng(0).permutation(there)[:MOST_IMAGES]
    return data.where(np.sort(np.concatenate([np.flatnonzero(data.splits != split), drawn])))


@st.cache_resource(show_spinner=False, max_entries=16)
def _answers(key: str, _scene: Scene) -> "TrueScores":
    from probes.corrections import true_scores

    return true_scores(_scene.model, _scene.data, edge=TYPICAL)


@st.cache_resource(show_spinner="Correcting concepts …", max_entries=16)
def _curves(key: str, _scene: Scene, split: str, _asked: Asked) -> "dict[str, Curve]":
    from probes.interventions import intervention_curve
    from probes.questions import groups_by_name

    model, data = _scene.model, _some(_scene.data, split)
    imagined = int((data.splits == split).sum()) * len(model.concepts) * len(model.classes)
    steps = max(FEWEST, WORK // max(1, 6 * imagined))  # six imagined answers a step, over all policies
    return {
        policy: intervention_curve(
            model, data, policy=policy, split=split, steps=steps, edge=TYPICAL, to=CORRECTIONS[_asked.to],
            error=_asked.error, groups=groups_by_name(model.concepts) if _asked.groups else None,
        )
        for policy in POLICIES
    }  # fmt: skip
