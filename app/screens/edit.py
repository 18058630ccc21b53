"""Edit: change the model itself, look at what that does before saving, and take it back whenever you like."""

import json
import shlex
from collections.abc import Sequence

import pandas as pd
import streamlit as st

from app import charts, store, ui
from app.history import MAIN
from cbm.edits import (
    DropConcept,
    Edit,
    MergeConcepts,
    PruneWeight,
    RenameConcept,
    ScaleScore,
    SetWeight,
    describe,
    to_json,
)
from cbm.errors import PellucidError
from cbm.model import linear_head
from probes.compare import Comparison

KINDS = ("Prune", "Weights", "Scale", "Rename", "Merge", "Drop")
EVERY = "Every class"


def change(scene: ui.Scene) -> tuple[Edit, ...]:
    """The controls for one kind of edit; what they would add to the script, nothing while they are incomplete."""
    kind = st.segmented_control(
        "Change", KINDS, default="Prune", required=True, key="change", bind="query-params", label_visibility="collapsed"
    )
    forms = {"Prune": prune, "Weights": weights, "Scale": scale, "Rename": rename, "Merge": merge, "Drop": drop}
    return forms[kind if kind in forms else "Prune"](scene)


def concept(scene: ui.Scene, label: str = "Concept") -> str:
    """A concept to change, with the pictures on which it is strongest."""
    name = ui.concept_choice(scene, label)
    scores = scene.outcome.scores[:, scene.model.concept(name)]
    ui.row(scene, scores.topk(min(5, len(scores))).indices.tolist(), note=f"{name} is strongest on these")
    return name


def prune(scene: ui.Scene) -> tuple[Edit, ...]:
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
        st.caption(f"{ui.escape(name)} does not count there already.")
        return ()
    return (PruneWeight(name, target, normalise=bool(normalise)),)


def weights(scene: ui.Scene) -> tuple[Edit, ...]:
    """The weights of one class as a table to change."""
    target = ui.class_choice(scene, "Class")
    row = linear_head(scene.model).weight[scene.model.class_(target)]
    order = row.abs().argsort(descending=True, stable=True).tolist()
    before = pd.DataFrame(
        {"concept": [scene.model.concepts[k] for k in order], "weight": [float(row[k]) for k in order]}
    )
    after = st.data_editor(
        before, hide_index=True, height=330, disabled=["concept"], key=f"weights|{scene.key}|{target}",
        alt=f"Weights of {target}, to change",
        column_config={"weight": st.column_config.NumberColumn("weight", format="%.3f", required=True)},
    )  # fmt: skip
    pairs = zip(before["concept"], before["weight"], after["weight"], strict=True)
    return tuple(SetWeight(name, target, float(new)) for name, old, new in pairs if pd.notna(new) and new != old)


def scale(scene: ui.Scene) -> tuple[Edit, ...]:
    """A concept's score times a factor."""
    name = concept(scene)
    factor = st.slider("Multiply its score by", 0.0, 3.0, 1.0, 0.05, key="factor", bind="query-params")
    return () if factor == 1 else (ScaleScore(name, min(max(float(factor), 0.0), 3.0)),)


def rename(scene: ui.Scene) -> tuple[Edit, ...]:
    """Another name for a concept."""
    name = concept(scene)
    new = st.text_input("New name", key="new_name", max_chars=120, bind="query-params").strip()[:120]
    return (RenameConcept(name, new),) if new and new != name else ()


def merge(scene: ui.Scene) -> tuple[Edit, ...]:
    """Several concepts as one."""
    picked = st.multiselect("Concepts that mean the same", scene.model.concepts, key="merge", bind="query-params")
    names = [name for name in picked if name in scene.model.concepts]
    new = st.text_input("Name of the merged concept", key="merged_name", max_chars=120, bind="query-params").strip()[
        :120
    ]
    st.caption("Its score is the mean of theirs, its weights are the sums.")
    return (MergeConcepts(tuple(names), new or names[0]),) if len(names) > 1 else ()


def drop(scene: ui.Scene) -> tuple[Edit, ...]:
    """A concept taken out altogether."""
    name = concept(scene)
    st.caption("It leaves the scores, the weights and the explanations.")
    return (DropConcept(name),)


def changer(scene: ui.Scene) -> tuple[Edit, ...]:
    """The panel at the left: what to change, and the button that saves it."""
    pending = change(scene)
    try:
        ui.edited(scene, (*scene.history.edits, *pending))
    except PellucidError as error:
        ui.problem(error)
        return ()
    for edit in pending[:6]:
        st.markdown(f":material/arrow_right: {ui.escape(describe(edit), 200)}")
    st.button(
        "Save edit", type="primary", icon=":material/save:", disabled=not pending, key="save", shortcut="Ctrl+S",
        on_click=save, args=(scene, pending),
    )  # fmt: skip
    return pending


@ui.callback
def save(scene: ui.Scene, pending: Sequence[Edit]) -> None:
    """Append the edits to the version that the person was looking at."""
    past = scene.history
    store.append(scene.ws, scene.row.name, pending, branch=past.branch, expect_version=past.version)
    st.toast("Saved. Undo takes it back.", icon=":material/check:")


def preview(scene: ui.Scene, pending: Sequence[Edit]) -> None:
    """What the change (or, without one, all edits so far) does to the accuracy, in each split and group."""
    before = scene.history.edits if pending else ()
    after = (*scene.history.edits, *pending)
    splits = [name for name in scene.data.split_names if name != "train"] or list(scene.data.split_names)
    found = {name: ui.compared(scene, before, after, name) for name in splits}
    st.subheader("Accuracy before you save" if pending else "Accuracy with all edits so far", anchor=False)
    warn(found)
    with st.grid(len(found), gap="small", min_column_width=110):
        for comparison in found.values():
            headline(comparison)
    changed = groups(found)
    if changed:
        st.caption("Some of the decisions that change, as the model decides now")
        ui.strip(scene, [scene.data.ids.index(id) for id in changed], key="changed", columns=5)


def headline(comparison: Comparison) -> None:
    """Accuracy on a split after the change, how much that is more or less, and its interval."""
    after, points = comparison.after, 100 * (comparison.after.value - comparison.before.value)
    moved = abs(points) >= 0.05
    with st.container(border=True, gap="xsmall", height="stretch"):
        st.metric(
            f"On {comparison.split}",
            ui.percent(after.value),
            f"{points:+.1f} points" if moved else "no change",
            delta_color="normal" if moved else "off",
            delta_arrow="auto" if moved else "off",
            help=f"Share of right decisions, with Wilson's 95 % interval. Before: {ui.estimate(comparison.before)}.",
        )
        st.caption(f"{100 * after.low:.1f} to {100 * after.high:.1f}, n = {after.n:,}")


def warn(found: dict[str, Comparison]) -> None:
    """Say so when the accuracy where the model comes from falls by more than the set amount."""
    source = "val" if "val" in found else next(iter(found))
    limit, comparison = min(max(float(st.session_state.get("guard", 1.0)), 0.0), 100.0), found[source]
    lost = 100 * (comparison.before.value - comparison.after.value)
    if lost > limit:
        st.warning(
            f"On {source} the model loses {lost:.1f} points: {ui.estimate(comparison.before)} becomes "
            f"{ui.estimate(comparison.after)}.",
            icon=":material/warning:",
        )


def groups(found: dict[str, Comparison]) -> list[str]:
    """One split's groups, or classes when it has no groups, before and after; ids of images that changed."""
    worst = max(found, key=lambda name: found[name].flips)
    split = st.segmented_control(
        "Split",
        list(found),
        default=worst,
        required=True,
        key="look_at",
        bind="query-params",
        label_visibility="collapsed",
    )
    chosen = found[split if split in found else worst]
    changes = chosen.groups or chosen.classes[:12]
    ui.chart(
        charts.group_dots([c.name for c in changes], [c.before for c in changes], [c.after for c in changes]),
        alt=f"Accuracy by group on {chosen.split}",
        key="groups",
        table=ui.table(
            [(c.name, ui.estimate(c.before), ui.estimate(c.after)) for c in changes], ["group", "before", "after"]
        ),
        note=f"{ui.plural(chosen.flips, 'decision')} of {chosen.n:,} change: {chosen.fixed:,} fixed, {chosen.broken:,} broken.",
    )
    return list(chosen.changed[:10])


def toolbar(scene: ui.Scene) -> None:
    """Undo, redo and branches."""
    past = scene.history
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        ui.undo_redo(scene)
        with st.popover("Branch", icon=":material/fork_right:"):
            st.markdown(
                "A branch is another list of edits for the same model. It starts with the edits that count here."
            )
            name = st.text_input("Name of the branch", key="branch_name", max_chars=60)
            st.button("Start the branch", key="branch", disabled=not name.strip(), on_click=branch, args=(scene,))
        with st.popover("Guard", icon=":material/shield:"):
            st.number_input(
                "Warn when validation accuracy falls by more than (points)", 0.0, 100.0, 1.0, 0.5, key="guard",
                bind="query-params",
            )  # fmt: skip
        if past.branch != MAIN:
            st.badge(f"branch {ui.escape(past.branch)}", icon=":material/fork_right:", color="gray")


@ui.callback
def branch(scene: ui.Scene) -> None:
    """Start a branch and go to it."""
    name = st.session_state["branch_name"].strip()
    store.new_branch(scene.ws, scene.row.name, name, source=scene.history.branch)
    ui.select(version=name)


def script(scene: ui.Scene) -> None:
    """The edits that count, oldest first, then those that redo would bring back."""
    past = scene.history
    st.subheader("Edits", anchor=False)
    if not past.edits and not past.undone:
        st.caption("None yet: this is the model as it was fitted.")
    lines = [f"{i}. {ui.escape(describe(edit), 200)}" for i, edit in enumerate(past.edits, start=1)]
    st.markdown("\n".join(lines))
    for edit in past.undone:
        st.caption(f":material/undo: undone: {ui.escape(describe(edit), 200)}")


def header(scene: ui.Scene, pending: Sequence[Edit]) -> None:
    """Title and what makes the same change and measures it."""
    change = json.dumps([to_json(edit) for edit in pending])
    branch = [] if scene.history.branch == MAIN else ["--branch", scene.history.branch]
    apply = [
        f"echo {shlex.quote(change)} > edits.json",
        ui.command("edit", "apply", scene.row.name, "--script", "edits.json", *branch),
    ]
    split = "test" if "test" in scene.data.split_names else scene.data.split_names[-1]
    ui.header(
        "Edit",
        "Change what the model looks for. Nothing is trained, and every edit can be undone.",
        command="\n".join([*(apply if pending else []), ui.command("eval", ui.reference(scene), "--split", split)]),
        python=ui.script(
            scene,
            "from cbm import edits",
            "from probes import compare",
            f"changed = edits.apply(model, edits.loads({change!r}))",
            f"compare(model, changed, images, {split!r})",
        ),
    )


scene = ui.scene()
top = st.container()
ui.need_concepts(scene)
toolbar(scene)
left, right = ui.beside(1, 1, narrowest=330)
with left:
    with st.container(border=True):
        pending = changer(scene)
    script(scene)
with right:
    preview(scene, pending)
with top:
    header(scene, pending)
