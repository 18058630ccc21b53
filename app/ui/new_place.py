"""The second half of the guided tour: a model comes to a new place, and four labelled images a class put it right.

Each step is one click, and says what the person sees: find, mask, measure, and take it back.
"""

from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from app import fixing, store
from app.ui.fixes import accuracy, edits_for, found_fix
from app.ui.gallery import row
from app.ui.loaded import Scene, scene_of, workspace
from app.ui.pieces import announce, callback, go_to
from app.ui.text import escape, estimate, percent, plural
from cbm.edits import TestTimeFix
from cbm.errors import PellucidError

if TYPE_CHECKING:
    from cbm.adapt import Evidence
    from cbm.edits import Edit
    from cbm.training_set import TrainingSet

PER_CLASS = 4
MOST_IMAGES = 20_000  # of a data set that Home looks into by itself
MOST_TOLD = 3  # concepts
LEAST_LOST = 0.05  # share of the images; less is no story
_FOUND = "pellucid_tour_found"


def new_place() -> None:
    """The story of the first data set with a split that comes, as a whole, from a place where the model does worse."""
    found = _story()
    if found is None:
        return
    scene, split = found
    name = fixing.place_name(scene.data, split)
    given = fixing.drawn_support(scene.data, split, per_class=PER_CLASS, seed=0)
    home = next(s for s in ("test", "val", "train") if s in scene.data.split_names)
    before, at_home = accuracy(scene, split, (), given), accuracy(scene, home, (), given)
    if at_home.value - before.value < LEAST_LOST:
        return
    st.subheader("From one place to another", anchor=False)
    st.markdown(
        f"**{escape(scene.row.name)}** is right on {percent(at_home.value)} of the {escape(scene.dataset.name)} where it was "
        f"fitted, and on {percent(before.value)} of those from **{escape(name)}**. Someone there labels "
        f"{PER_CLASS} images of each class. That is enough to see which concepts mislead, and no training follows."
    )
    _pictures(scene, given.ids)
    grid = st.grid(3, min_column_width=220, gap="small", border=True)
    kept = _kept(scene, name)
    with grid.cell(), st.container(gap="small"):
        shown = _find(scene, given, kept)
    with grid.cell(), st.container(gap="small"):
        _mask(scene, given, name, split, kept, shown=shown)
    with grid.cell(), st.container(gap="small"):
        _measure(scene, given, name, split, home, kept)


def _story() -> "tuple[Scene, str] | None":
    """A data set whose unusual split is one group, with its model; nothing where there is none."""
    for dataset in store.datasets(workspace()):
        if set(dataset.splits) - set(fixing.KNOWN) and "train" in dataset.splits and dataset.size <= MOST_IMAGES:
            try:
                scene = scene_of(dataset.name)
                split = None if scene is None else fixing.place_of(scene.data)
                if scene is None or split is None or not scene.model.exact or not scene.model.concepts:
                    continue
                fixing.drawn_support(scene.data, split, per_class=PER_CLASS, seed=0)
            except PellucidError:  # a model whose data are gone tells no story; its own screens say why
                continue
            if fixing.place_name(scene.data, split) != split:
                return scene, split
    return None


def _kept(scene: Scene, branch: str) -> TestTimeFix | None:
    """The fix that was kept for the place, if one was."""
    if branch not in store.branches(scene.ws, scene.row.name):
        return None
    edits = store.history(scene.ws, scene.row.name, branch).edits
    return edits[-1] if edits and isinstance(edits[-1], TestTimeFix) else None


def _pictures(scene: Scene, ids: tuple[str, ...]) -> None:
    places = {id: at for at, id in enumerate(scene.data.ids)}
    positions = sorted((places[id] for id in ids), key=lambda at: int(scene.data.labels[at]))
    wrong = int(scene.outcome.wrong[positions].sum())
    classes = len(np.unique(scene.data.labels[positions]))
    row(scene, positions[:20], note=f"{len(ids)} labelled images of {plural(classes, 'class', 'classes')}; the model is "
        f"wrong on {wrong}")  # fmt: skip


def _find(scene: Scene, given: "TrainingSet", kept: TestTimeFix | None) -> bool:
    """What misleads; whether it is shown."""
    st.markdown(":gray[1]  **Find what misleads**")
    shown = kept is not None or bool(st.session_state.get(_FOUND))
    if not shown:
        st.markdown("Each concept's class means are tested against what they were at the source.")
        st.button("Find", icon=":material/search:", type="primary", key="tour_find", on_click=_show)
        return False
    found = found_fix(scene, given)
    changed = [e for e in found.evidence if e.gain != 1]
    for e in sorted(changed, key=lambda e: e.gain)[:MOST_TOLD]:
        st.markdown(f"**{escape(e.concept)}** is {e.verdict.value}: {_said(e)}.")
    if len(changed) > MOST_TOLD:
        st.caption(f"and {plural(len(changed) - MOST_TOLD, 'concept')} more")
    if not changed:
        st.markdown("No change was found that helps these images whichever one is left out.")
    go_to(
        "fix",
        "See all the evidence",
        dataset=scene.dataset.name,
        model=scene.row.name,
        version="",
        image="",
        concept="",
    )
    return True


def _said(e: "Evidence") -> str:
    """What a concept does, in words."""
    if e.gain == 0 and e.rise > 0:
        return f"it rises by {percent(e.rise)} of the way to its presence in classes that should lack it"
    if e.gain == 0:
        return "it follows other classes than at the source"
    return f"it follows its classes {e.slope:.2f} times as strongly as at the source"


def _mask(
    scene: Scene, given: "TrainingSet", branch: str, split: str, kept: TestTimeFix | None, *, shown: bool
) -> None:
    """The edit, kept by one click."""
    st.markdown(":gray[2]  **Mask it, for that place only**")
    if kept is not None:
        named = [f"masks {', '.join(map(escape, kept.mask))}"] if kept.mask else []
        named += [f"amplifies {', '.join(escape(name) for name, _ in kept.amplify)}"] if kept.amplify else []
        st.markdown(
            f"The branch **{escape(branch)}** {' and '.join(named)}. The model that it starts from is as it was."
        )
        st.button("Take it back", icon=":material/undo:", key="tour_back", on_click=_back, args=(scene, branch))
        return
    st.markdown(
        f"A masked concept counts as neutral on every image. The edit goes on a branch named **{escape(branch)}**."
    )
    gains = {e.concept: e.gain for e in found_fix(scene, given).evidence if e.gain != 1} if shown else {}
    st.button("Mask", icon=":material/healing:", type="primary" if shown else "secondary", key="tour_mask",
              disabled=not gains, on_click=_keep, args=(scene, branch, edits_for(scene, gains)))  # fmt: skip


def _measure(scene: Scene, given: "TrainingSet", branch: str, split: str, home: str, kept: TestTimeFix | None) -> None:
    """What it brought, on images that had no part in it."""
    st.markdown(":gray[3]  **Measure**")
    if kept is None:
        st.markdown("On the other images from there, which had no part in it, and at the source.")
        return
    before, after = (accuracy(scene, split, edits, given) for edits in ((), (kept,)))
    at_home = accuracy(scene, home, (), given)
    st.markdown(
        f"{escape(branch)}: **{percent(before.value)}** becomes **{estimate(after)}**, without the labelled images.  \n"
        f"{escape(home)}: {percent(at_home.value)}, as before, since the source keeps the model without the branch."
    )
    go_to("compare", "Compare", dataset=scene.dataset.name, model=scene.row.name, version=branch, image="", concept="")


def _show() -> None:
    st.session_state[_FOUND] = True


@callback
def _keep(scene: Scene, branch: str, edits: "tuple[Edit, ...]") -> None:
    if branch in store.branches(scene.ws, scene.row.name):  # its fix was taken back on another screen
        store.append(scene.ws, scene.row.name, edits, branch=branch)
    else:
        fixing.keep_profile(scene.ws, scene.row.name, branch, edits)
    announce(f"Kept on the branch {branch}.")


@callback
def _back(scene: Scene, branch: str) -> None:
    store.delete_branch(scene.ws, scene.row.name, branch)
    st.session_state.pop(_FOUND, None)
