"""The forms of the screen Edit: one for each kind of change, each answering with the edits that it stands for.

A form answers with nothing while it is incomplete or would change nothing. What the browser sends is checked against
the model's own names and ranges.
"""

import pandas as pd
import streamlit as st

from app.ui.gallery import class_choice, concept_choice, row
from app.ui.loaded import Scene
from app.ui.text import escape
from cbm.edits import DropConcept, Edit, MergeConcepts, PruneWeight, RenameConcept, ScaleScore, SetWeight
from cbm.model import linear_head

KINDS = ("Prune", "Weights", "Scale", "Rename", "Merge", "Drop")
INFERRED = ("Drop", "Rename")  # what is left where scores are inferred together
EVERY = "Every class"
FIELDS = {
    "Prune": ("choose_concept", "prune_for", "renormalise"),
    "Weights": ("choose_class",),
    "Scale": ("choose_concept", "factor"),
    "Rename": ("choose_concept", "new_name"),
    "Merge": ("merge", "merged_name"),
    "Drop": ("choose_concept",),
}


def change(scene: Scene) -> tuple[Edit, ...]:
    """The controls for one kind of edit; what they would add to the script, nothing while they are incomplete."""
    kinds = KINDS if scene.model.exact else INFERRED
    kind = st.segmented_control(
        "Change",
        kinds,
        default=kinds[0],
        required=True,
        key="change",
        bind="query-params",
        label_visibility="collapsed",
    )
    if not scene.model.exact:
        st.caption("Its scores are inferred together: there are no weights to change. Intervene can hold a score.")
    forms = {"Prune": prune, "Weights": weights, "Scale": scale, "Rename": rename, "Merge": merge, "Drop": drop}
    return forms[kind if kind in kinds else kinds[0]](scene)


def held(scene: Scene) -> str:
    """What the fields of the form hold now, to tell whether they are still as they were when a change was previewed."""
    kind = str(st.session_state.get("change"))
    table = f"weights|{scene.key}|{st.session_state.get('choose_class')}" if kind == "Weights" else ""
    return repr([kind, *(st.session_state.get(key) for key in (*FIELDS.get(kind, ()), table) if key)])


def concept(scene: Scene, label: str = "Concept") -> str:
    """A concept to change, with the pictures on which it is strongest."""
    name = concept_choice(scene, label)
    scores = scene.outcome.scores[:, scene.model.concept(name)]
    row(scene, scores.topk(min(5, len(scores))).indices.tolist(), note=f"{name} is strongest on these")
    return name


def prune(scene: Scene) -> tuple[Edit, ...]:
    """Weights to zero, for one class or all."""
    name = concept(scene, "Concept that should not count")
    classes = [EVERY, *scene.model.classes]
    class_ = st.selectbox("For", classes, key="prune_for", bind="query-params")
    normalise = st.toggle(
        "Renormalise", key="renormalise", bind="query-params",
        help="The weights that stay grow by one factor, so that the class keeps the sum of its absolute weights.",
    )  # fmt: skip
    target = class_ if class_ in scene.model.classes else None
    column = linear_head(scene.model).weight[:, scene.model.concept(name)]
    counts = column if target is None else column[scene.model.class_(target)]
    if not bool(counts.any()):
        st.caption(f"{escape(name)} does not count there already.")
        return ()
    return (PruneWeight(name, target, normalise=bool(normalise)),)


def weights(scene: Scene) -> tuple[Edit, ...]:
    """The weights of one class as a table to change."""
    target = class_choice(scene, "Class")
    values = linear_head(scene.model).weight[scene.model.class_(target)]
    order = values.abs().argsort(descending=True, stable=True).tolist()
    before = pd.DataFrame(
        {"concept": [scene.model.concepts[k] for k in order], "weight": [float(values[k]) for k in order]}
    )
    after = st.data_editor(
        before, hide_index=True, height=330, disabled=["concept"], key=f"weights|{scene.key}|{target}",
        alt=f"Weights of {target}, to change",
        column_config={"weight": st.column_config.NumberColumn("weight", format="%.3f", required=True)},
    )  # fmt: skip
    pairs = zip(before["concept"], before["weight"], after["weight"], strict=True)
    return tuple(SetWeight(name, target, float(new)) for name, old, new in pairs if pd.notna(new) and new != old)


def scale(scene: Scene) -> tuple[Edit, ...]:
    """A concept's score times a factor."""
    name = concept(scene)
    factor = st.slider("Multiply its score by", 0.0, 3.0, 1.0, 0.05, key="factor", bind="query-params")
    return () if factor == 1 else (ScaleScore(name, min(max(float(factor), 0.0), 3.0)),)


def rename(scene: Scene) -> tuple[Edit, ...]:
    """Another name for a concept."""
    name = concept(scene)
    new = st.text_input("New name", key="new_name", max_chars=120, bind="query-params").strip()[:120]
    return (RenameConcept(name, new),) if new and new != name else ()


def merge(scene: Scene) -> tuple[Edit, ...]:
    """Several concepts as one."""
    picked = st.multiselect("Concepts that mean the same", scene.model.concepts, key="merge", bind="query-params")
    names = [name for name in picked if name in scene.model.concepts]
    new = st.text_input("Name of the merged concept", key="merged_name", max_chars=120, bind="query-params").strip()[
        :120
    ]
    st.caption("Its score is the mean of theirs, its weights are the sums.")
    return (MergeConcepts(tuple(names), new or names[0]),) if len(names) > 1 else ()


def drop(scene: Scene) -> tuple[Edit, ...]:
    """A concept taken out altogether."""
    name = concept(scene)
    st.caption("It leaves the scores, the weights and the explanations.")
    return (DropConcept(name),)
