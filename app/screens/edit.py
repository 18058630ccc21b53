"""Edit: change the model itself, look at what that does before saving, and take it back whenever you like."""

import json
import shlex
from collections.abc import Sequence

import streamlit as st

from app import charts, store, ui
from app.history import MAIN
from app.ui import branching
from app.ui.edit_form import change, held
from cbm.edits import Edit, describe, to_json
from cbm.errors import PellucidError, UsageError
from probes.comparison import Comparison


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
        on_click=save, args=(scene, pending, held(scene)),
    )  # fmt: skip
    return pending


@ui.callback
def save(scene: ui.Scene, pending: Sequence[Edit], previewed: str) -> None:
    """Append the edits to the version that the person was looking at, if the form still says what was previewed."""
    if held(scene) != previewed:
        raise UsageError("the form has changed since this preview, so nothing was saved", hint="save once more")
    past = scene.history
    store.append(scene.ws, scene.row.name, pending, branch=past.branch, expect_version=past.version)
    ui.announce("Saved. Undo takes it back.")


def preview(scene: ui.Scene, pending: Sequence[Edit]) -> None:
    """What the change (or, without one, all edits so far) does to the accuracy, in each split and group."""
    before = scene.history.edits if pending else ()
    after = (*scene.history.edits, *pending)
    splits = [name for name in scene.data.split_names if name != "train"] or list(scene.data.split_names)
    found = {name: ui.compared(scene, before, after, name) for name in splits}
    st.subheader(numbers_of(scene, pending), anchor=False)
    warn(found)
    with st.grid(len(found), gap="small", min_column_width=110):
        for comparison in found.values():
            ui.accuracy_card(comparison.split, comparison.before, comparison.after, changed=before != after)
    changed = groups(found, changed=before != after)
    if changed:
        st.caption("Some of the decisions that change, as the model decides now")
        ui.strip(scene, [scene.data.ids.index(id) for id in changed], key="changed", columns=5)


def numbers_of(scene: ui.Scene, pending: Sequence[Edit]) -> str:
    """What the numbers at the right are of."""
    if pending:
        return "Accuracy before you save"
    return "Accuracy with all edits so far" if scene.history.edits else "Accuracy as fitted"


def warn(found: dict[str, Comparison]) -> None:
    """Say so when the accuracy where the model comes from falls by more than the set amount."""
    source = "val" if "val" in found else next(iter(found))
    limit, comparison = min(max(float(st.session_state.get("guard", 1.0)), 0.0), 100.0), found[source]
    lost = 100 * (comparison.before.value - comparison.after.value)
    if lost > limit + 1e-6:  # exactly the limit is no more than it
        st.warning(
            f"On {ui.escape(source)} the model loses {lost:.1f} points: {ui.estimate(comparison.before)} becomes "
            f"{ui.estimate(comparison.after)}.",
            icon=":material/warning:",
        )


def groups(found: dict[str, Comparison], *, changed: bool) -> list[str]:
    """One split's groups, or classes when it has no groups, before and after; ids of images that changed."""
    worst = max(found, key=lambda name: (found[name].flips, -found[name].after.value))
    split = st.segmented_control(
        "Split",
        list(found),
        default=worst,
        required=True,
        format_func=ui.escape,
        key="look_at",
        bind="query-params",
        label_visibility="collapsed",
    )
    chosen = found[split if split in found else worst]
    changes = chosen.groups or chosen.classes[:12]
    ui.chart(
        charts.group_dots(
            [c.name for c in changes], [c.before for c in changes], [c.after for c in changes] if changed else []
        ),
        alt=f"Accuracy by group on {chosen.split}",
        key="groups",
        table=ui.table(
            [(c.name, ui.estimate(c.before), ui.estimate(c.after)) for c in changes], ["group", "before", "after"]
        ),
        note=f"{ui.plural(chosen.flips, 'decision')} of {chosen.n:,} change: {chosen.fixed:,} fixed, {chosen.broken:,} broken."
        if changed
        else f"Accuracy by group on {ui.escape(chosen.split)}, with 95 % intervals.",
    )
    return list(chosen.changed[:10])


def toolbar(scene: ui.Scene) -> None:
    """Undo, redo and branches."""
    past = scene.history
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        ui.undo_redo(scene)
        with st.popover("Branch", icon=":material/fork_right:"):
            branching.branches(scene)
        with st.popover("From another model", icon=":material/replay:"):
            branching.from_model(scene)
        with st.popover("Guard", icon=":material/shield:"):
            st.number_input(
                "Warn when validation accuracy falls by more than (points)", 0.0, 100.0, 1.0, 0.5, key="guard",
                bind="query-params",
            )  # fmt: skip
        if past.branch != MAIN:
            st.badge(f"branch {ui.badge(past.branch)}", icon=":material/fork_right:", color="gray")


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


def reproduced(scene: ui.Scene, pending: Sequence[Edit]) -> None:
    """What makes the same change and measures it."""
    change = json.dumps([to_json(edit) for edit in pending])
    branch = [] if scene.history.branch == MAIN else ["--branch", scene.history.branch]
    apply = [
        f"echo {shlex.quote(change)} > edits.json",
        ui.command("edit", "apply", scene.row.name, "--script", "edits.json", *branch),
    ]
    split = "test" if "test" in scene.data.split_names else scene.data.split_names[-1]
    ui.reproduce(
        "\n".join([*(apply if pending else []), ui.command("eval", ui.reference(scene), "--split", split)]),
        ui.script(
            scene,
            "from cbm import edits",
            "from probes import compare",
            f"changed = edits.apply(model, edits.loads({change!r}))",
            f"compare(model, changed, images, {split!r})",
        ),
    )


copy = ui.heading("Edit", "Change what the model looks for. Nothing is trained, and every edit can be undone.")
scene = ui.scene()
ui.need_concepts(scene)
toolbar(scene)
left, right = ui.beside(1, 1, narrowest=330)
with left:
    with st.container(border=True):
        pending = changer(scene)
    script(scene)
with right:
    preview(scene, pending)
with copy:
    reproduced(scene, pending)
