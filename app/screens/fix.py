"""Test-time fix: a few labelled images of a new place show which concepts mislead there, and the edit that helps."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import streamlit as st

from app import charts, fixing, store, ui
from app.history import MAIN
from app.ui.fixes import accuracy, edits_for, found_fix, full_report, nothing_found, planned_sizes, support_key
from app.ui.support import show_support, support_panel
from cbm.edits import Edit, TestTimeFix
from cbm.errors import UsageError

if TYPE_CHECKING:
    from cbm.adapt import Evidence, Fix
    from cbm.training_set import TrainingSet

MOST_GAIN = 3.0
BARS = 12
MEANINGS = {
    "misactivated": "rises in classes that should lack it",
    "under-activated": "falls in classes that should have it, or follows its pattern faintly",
    "shifted": "has moved, but into neither",
    "as at the source": "no sign that it has moved",
}


def place(scene: ui.Scene) -> str:
    """Which split comes from the new place."""
    names = [name for name in scene.data.split_names if name != "train"]
    usual = fixing.place_of(scene.data) or names[-1]
    split = st.selectbox("New place", names, index=names.index(usual), key="place", bind="query-params", width=220)
    return split if split in names else usual


def source_split(scene: ui.Scene) -> str:
    """Images of the source that the model was not fitted on, as far as there are any."""
    return next(name for name in ("test", "val", *scene.data.split_names) if name in scene.data.split_names)


def evidence(scene: ui.Scene, found: "Fix") -> None:
    """Why each concept was masked, amplified or left alone: what misleads most as bars, and everything as a table."""
    moved = [e for e in found.evidence if e.verdict.value != "as at the source"]
    st.subheader("Evidence", anchor=False)
    if not moved:
        st.info("No concept has moved: no shift was found.", icon=":material/check:")
        return
    ordered = sorted(moved, key=lambda e: -abs(e.confusion))
    st.caption(
        "What each concept adds to wrong classes over the right one on these images, beyond what it does at the source"
    )
    rows = [(e.concept, e.confusion) for e in ordered[:BARS]]
    ui.chart(
        charts.bars(rows, axis="logits towards wrong classes", details=[_told(e) for e in ordered[:BARS]]),
        alt=f"Confusion by concept: {charts.spoken(rows)}",
        key="confusion",
        note=f"{ui.plural(len(moved), 'concept')} of {len(found.evidence):,} have moved: {_counts(moved)}.",
    )
    with st.expander("Table of the evidence", icon=":material/table:"):
        st.dataframe(
            _table(ordered), hide_index=True, alt=f"Evidence for {len(ordered)} concepts", column_config=_COLUMNS
        )
        st.caption("  \n".join(f"**{word}**: {meaning}" for word, meaning in MEANINGS.items()))


_COLUMNS = {
    "p": st.column_config.NumberColumn(format="%.2g", help="Of the test that its class means are as at the source"),
    "rise": st.column_config.NumberColumn(
        format="%.2f", help="Share of the way from absent to present that it rises in classes that should lack it"
    ),
    "fall": st.column_config.NumberColumn(format="%.2f", help="The same way back, in classes that should have it"),
    "slope": st.column_config.NumberColumn(format="%.2f", help="1: follows its source pattern as strongly as there"),
    "agreement": st.column_config.NumberColumn(format="%.2f", help="Correlation of its class means with the source's"),
    "confusion": st.column_config.NumberColumn(format="%.2f", help="Logits that it adds to wrong classes"),
    "gain": st.column_config.NumberColumn(format="%.2f", help="0 masked, 1 left alone, above 1 amplified"),
}


def _told(e: "Evidence") -> str:
    return f"{e.verdict.value}; rise {e.rise:.2f}, fall {e.fall:.2f}, agreement {e.agreement:.2f}, p {e.p:.1g}"


def _counts(moved: "list[Evidence]") -> str:
    words = [e.verdict.value for e in moved]
    return ", ".join(f"{words.count(word)} {word}" for word in MEANINGS if word in words)


def _table(rows: "list[Evidence]") -> object:
    columns = ["concept", "verdict", "p", "rise", "fall", "slope", "agreement", "confusion", "gain"]
    cells = [(e.concept, e.verdict.value, e.p, e.rise, e.fall, e.slope, e.agreement, e.confusion, e.gain) for e in rows]
    return ui.table(cells, columns)


@st.fragment
@ui.guarded
def workbench(scene: ui.Scene, given: "TrainingSet", split: str) -> None:
    """The sets with their sliders, what they do here and at the source, and the button that keeps them."""
    found = found_fix(scene, given)
    gains = sliders(scene, given, found)
    edits = edits_for(scene, gains)
    headlines(scene, given, split, edits)
    keeping(scene, given, split, edits)
    beside(scene, given, split, gains)


def sliders(scene: ui.Scene, given: "TrainingSet", found: "Fix") -> dict[str, float]:
    """A slider for each changed concept, and for those that the person adds; gains other than 1, by concept."""
    key = support_key(scene, given)
    suggested = {e.concept: e.gain for e in found.evidence if e.gain != 1}
    st.subheader("What to change", anchor=False)
    st.caption(
        "0 masks a concept: it counts as if every image were neutral in it. 1 leaves it alone. More amplifies it."
    )
    also = st.multiselect(
        "Change another concept", scene.model.concepts, key=f"also|{key}", placeholder="Search concepts"
    )
    names = [*suggested, *(name for name in also if name in scene.model.concepts and name not in suggested)]
    verdicts = {e.concept: e.verdict.value for e in found.evidence}
    gains = {}
    with st.container(gap="xsmall"):
        for name in names:
            value = st.slider(
                f"{ui.escape(name)} :gray[{verdicts[name]}]", 0.0, MOST_GAIN, float(suggested.get(name, 1.0)), 0.05,
                key=f"gain|{key}|{name}",
            )  # fmt: skip
            gains[name] = min(max(float(value), 0.0), MOST_GAIN)
    if not names:
        st.markdown(
            "Nothing was found that helps these images whichever one is left out. You can still change a concept."
        )
    return {name: gain for name, gain in gains.items() if gain != 1}


def headlines(scene: ui.Scene, given: "TrainingSet", split: str, edits: tuple[Edit, ...]) -> None:
    """Accuracy before and after in the new place, and at the source as if the fix were used there too."""
    source = source_split(scene)
    with st.grid(2, gap="small", min_column_width=150):
        for name, note in ((split, "in the new place"), (source, "at the source, if the fix were used there")):
            before, after = (accuracy(scene, name, change, given) for change in ((), edits))
            ui.accuracy_card(name, before, after, note, changed=bool(edits))


def keeping(scene: ui.Scene, given: "TrainingSet", split: str, edits: tuple[Edit, ...]) -> None:
    """The branch that the fix is kept on; asks twice when the source would lose more than a point."""
    source = source_split(scene)
    before, after = (accuracy(scene, source, change, given) for change in ((), edits))
    lost = before.value - after.value
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        name = st.text_input(
            "Keep on the branch", value=fixing.free_branch(scene.ws, scene.row.name, fixing.place_name(scene.data, split)), max_chars=60, width=220,
            key=f"profile|{support_key(scene, given)}",
            help="A profile for the new place. The branch that it starts from stays as it is, and so does the source.",
        )  # fmt: skip
        sure = True
        if lost > fixing.MOST_LOST + 1e-9:
            sure = st.checkbox(f"Although {ui.escape(source)} would lose {100 * lost:.1f} points", key="sure")
        st.button(
            "Keep the fix", type="primary", icon=":material/save:", key="keep", disabled=not (edits and sure),
            on_click=keep, args=(scene, name, edits, lost),
        )  # fmt: skip


@ui.callback
def keep(scene: ui.Scene, name: str, edits: tuple[Edit, ...], lost: float) -> None:
    """Start the branch with the fix on it, and go there."""
    if lost > fixing.MOST_LOST + 1e-9 and not st.session_state.get("sure"):
        raise UsageError("the source would lose more than a point", hint="confirm that, or change the fix")
    kept = fixing.keep_profile(scene.ws, scene.row.name, name.strip(), edits, source=scene.history.branch)
    ui.select(version=kept.branch)
    ui.announce(f"Kept on the branch {name.strip()}.")
    st.rerun()  # the whole page, since the version is another one now


def beside(scene: ui.Scene, given: "TrainingSet", split: str, gains: Mapping[str, float]) -> None:
    """Simpler remedies on the same images, the gate, and what the rule finds where there is nothing to find."""
    box = st.expander(
        "Beside it: simpler remedies, and a gate", icon=":material/balance:", on_change="rerun", key="beside"
    )
    if box.open:
        with box:
            remedies(scene, given, split, gains)
    box = st.expander("How many images to label", icon=":material/photo_library:", on_change="rerun", key="plan")
    if box.open:
        with box:
            sizes(scene)
    box = st.expander("Where there is nothing to find", icon=":material/science:", on_change="rerun", key="null")
    if box.open:
        with box:
            null(scene, given)


def sizes(scene: ui.Scene) -> None:
    """How many images to label, from the source alone."""
    found = planned_sizes(scene)
    ui.chart(
        charts.lines({"recognised": [(float(n), share) for n, share in found.items()]}, axis="recognised", across="images a class"),
        alt="Chance to recognise a misactivated concept: "
        + ", ".join(f"{ui.percent(share.value)} with {n}" for n, share in found.items()),
        key="sizes",
        table=ui.table([(n, ui.estimate(share)) for n, share in found.items()], ["images a class", "recognised"]),
        note="Simulated from this model's source, before anybody labels an image: one concept at a time rises half of the way "
        "to its presence in all classes that should lack it.",
    )  # fmt: skip


def remedies(scene: ui.Scene, given: "TrainingSet", split: str, gains: Mapping[str, float]) -> None:
    """Accuracies in both places, as dots with intervals."""
    report = full_report(scene, gains, given, split, source_split(scene))
    rows = {
        "as it is": (report.target_before, report.source_before),
        "this fix": (report.target_after, report.source_after),
    }
    if report.gated_source is not None:
        rows["this fix behind a gate"] = (report.gated_target, report.gated_source)
    rows |= dict(report.baselines)
    ui.chart(
        charts.rows_of_dots(
            list(rows), {"new place": [here for here, _ in rows.values()], "source": [there for _, there in rows.values()]},
            axis="accuracy",
        ),
        alt="Accuracy in the new place and at the source: "
        + ", ".join(f"{name} {ui.percent(here.value)} and {ui.percent(there.value)}" for name, (here, there) in rows.items() if here),
        key="remedies",
        table=ui.table([(name, ui.estimate(here) if here else "", ui.estimate(there)) for name, (here, there) in rows.items()],
                       ["remedy", "new place", "source"]),
        note="Class offsets shift each class's logit; the refitted head is a logistic regression on the concept scores (C = 0.1). "
        "The gate lets the fix act on images that look like the new place; 1 % of the source passes it by mistake.",
    )  # fmt: skip
    if report.gain is not None:
        gain = report.gain
        st.caption(f"This fix gains {100 * gain.value:.1f} points ({100 * gain.low:.1f} to {100 * gain.high:.1f}, paired): "
                   f"{report.fixed:,} decisions fixed, {report.broken:,} broken.")  # fmt: skip


def null(scene: ui.Scene, given: "TrainingSet") -> None:
    """The rule on images of the source."""
    split = next((name for name in ("val", "test") if name in scene.data.split_names), scene.data.split_names[0])
    fewest = max(1, int(given.labels.bincount(minlength=len(scene.data.classes)).min()))
    check = nothing_found(scene, split, fewest)
    st.markdown(
        f"In 100 draws of {ui.plural(fewest, 'image')} a class from **{ui.escape(split)}**, the rule masks "
        f"**{check.masks.value:.2f}** concepts a draw ({check.masks.low:.2f} to {check.masks.high:.2f}) and changes anything "
        f"in {ui.percent(check.any.value)} of them."
    )
    if check.masks.value > 0.2:
        st.warning("That is often: what it finds elsewhere is to be taken with care.", icon=":material/warning:")


def kept_fix(scene: ui.Scene) -> None:
    """The fix that this version has, and the ways out of it."""
    past = scene.history
    last = past.edits[-1] if past.edits else None
    if not isinstance(last, TestTimeFix):
        return
    named = [f"masks {', '.join(ui.escape(name) for name in last.mask)}"] if last.mask else []
    named += (
        [f"amplifies {', '.join(f'{ui.escape(name)} {gain:.3g} times' for name, gain in last.amplify)}"]
        if last.amplify
        else []
    )
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(f":material/healing: This version {' and '.join(named)}.", width="stretch")
        st.button("Detach", icon=":material/link_off:", key="detach", on_click=detach, args=(scene,),
                  help="Take the fix back; redo on the screen Edit brings it again")  # fmt: skip
        if past.branch != MAIN:
            with st.popover("Delete the branch", icon=":material/delete:", type="tertiary"):
                st.markdown(
                    f"The branch {ui.escape(past.branch)} goes with its {ui.plural(len(past.edits), 'edit')}, for good."
                )
                st.button("Delete", key="delete_branch", on_click=delete, args=(scene,))


@ui.callback
def detach(scene: ui.Scene) -> None:
    """Undo the fix."""
    past = scene.history
    store.undo(scene.ws, scene.row.name, branch=past.branch, expect_version=past.version)
    ui.announce("Detached. Redo on the screen Edit brings it back.")


@ui.callback
def delete(scene: ui.Scene) -> None:
    """Remove the branch and go back to the main one."""
    store.delete_branch(scene.ws, scene.row.name, scene.history.branch)
    ui.select(version="")


def reproduced(scene: ui.Scene, split: str) -> None:
    """What reproduces the screen."""
    each, seed = str(st.session_state.get("each") or 4), str(st.session_state.get("draw") or 0)
    ui.reproduce(
        ui.command("fix", "fit", ui.reference(scene), "--split", split, "--per-class", each, "--seed", seed, "--dry-run"),
        ui.script(
            scene,
            "from cbm.adapt import find_fix",
            "from probes.fixes import draw_support, measure_fix, source_of",
            f"support = images.where(draw_support(images, {split!r}, per_class={each}, seed={seed}))",
            "fix = find_fix(model, support.x, support.labels, source_of(model, images))",
            f"measure_fix(model, fix, support, images, {split!r})",
        ),
    )  # fmt: skip


copy = ui.heading(
    "Test-time fix", "A few labelled images of a new place show which concepts mislead there. Nothing is trained."
)
scene = ui.scene()
ui.need_concepts(scene)
if not scene.model.exact:
    ui.empty(
        "This model infers its concepts", "A test-time fix scales concepts of a linear head; choose another model."
    )
    st.stop()
kept_fix(scene)
left, right = ui.beside(1, 1, narrowest=330)
with left:
    with st.container(border=True):
        split = place(scene)
        given = support_panel(scene, split)
        if given is not None:
            show_support(scene, given)
    if given is not None:
        evidence(scene, found_fix(scene, given))
with right:
    if given is not None:
        workbench(scene, given, split)
    else:
        st.caption("What the images show appears here.")
with copy:
    reproduced(scene, split)
