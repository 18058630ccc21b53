"""The second half of the guided tour: a model comes to a new place, and four labelled images a class put it right.

Each step is one click, and says what the person sees: find, mask, measure, and take it back.
"""

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import fixing, store
from app.history import MAIN
from app.ui.loaded import Scene, first_of, scene_of, thumbnails_by_id, told, workspace
from app.ui.pieces import announce, callback, go_to
from app.ui.text import escape, estimate, percent, plural
from cbm.errors import PellucidError

if TYPE_CHECKING:
    from app.datasets import DatasetRow
    from app.models import ModelRow
    from cbm.adapt import Evidence
    from cbm.edits import Edit, TestTimeFix
    from cbm.training_set import TrainingSet

PER_CLASS = 4
MOST_IMAGES = 20_000  # of a data set that Home looks into by itself
MOST_TOLD = 3  # concepts
LEAST_LOST = 0.05  # share of the images; less is no story
SHOWN = 20  # labelled images
_FOUND = "pellucid_tour_found"


@dataclass(frozen=True)
class Story:
    """What is told before anything is asked of the model; as JSON it is kept in the workspace.

    Attributes
    ----------
    place, home
        What the new place is called, and the split that stands for where the model was fitted.
    before, at_home
        Accuracy on both.
    images, said
        Ids of the labelled images, and each in words; `wrong` of them are decided wrongly.
    """

    split: str
    place: str
    home: str
    before: float
    at_home: float
    images: list[str]
    said: list[str]
    classes: int
    wrong: int


def new_place() -> None:
    """The story of the first data set with a split that comes, as a whole, from a place where the model does worse."""
    found = _story()
    if found is None:
        return
    dataset, model, story = found
    st.subheader("From one place to another", anchor=False)
    st.markdown(
        f"**{escape(model.name)}** is right on {percent(story.at_home)} of the {escape(dataset.name)} where it was "
        f"fitted, and on {percent(story.before)} of those from **{escape(story.place)}**. Someone there labels "
        f"{PER_CLASS} images of each class. That is enough to see which concepts mislead, and no training follows."
    )
    _pictures(dataset, story)
    touched = bool(st.session_state.get(_FOUND)) or story.place in store.branches(workspace(), model.name)
    asked = _Asked(story, scene_of(dataset.name) if touched else None)
    grid = st.grid(3, min_column_width=220, gap="small", border=True)
    with grid.cell(), st.container(gap="small"):
        _find(dataset, model, asked)
    with grid.cell(), st.container(gap="small"):
        _mask(asked)
    with grid.cell(), st.container(gap="small"):
        _measure(asked)


def _story() -> "tuple[DatasetRow, ModelRow, Story] | None":
    """A data set whose unusual split is one group, with its model and what there is to tell."""
    for dataset in store.datasets(workspace()):
        if set(dataset.splits) - set(fixing.KNOWN) and "train" in dataset.splits and dataset.size <= MOST_IMAGES:
            model = first_of(dataset.name)
            if model is None:
                continue
            try:
                known = told("new place", dataset, model, MAIN, lambda name=dataset.name: _looked_for(name))
            except PellucidError:  # a model whose data are gone tells no story; its own screens say why
                continue
            if known.get("place", known.get("split")) != known.get("split"):
                story = Story(**known)
                return (dataset, model, story) if story.at_home - story.before >= LEAST_LOST else None
    return None


def _looked_for(dataset: str) -> dict[str, Any]:
    """The story of one data set as JSON; nothing where there is none."""
    scene = scene_of(dataset)
    split = None if scene is None else fixing.place_of(scene.data)
    if scene is None or split is None or not scene.model.exact or not scene.model.concepts:
        return {}
    from app.ui.fixes import accuracy
    from app.ui.gallery import spoken

    try:
        given = _given(scene, split)
    except PellucidError:  # a class with too few images
        return {}
    home = next(s for s in ("test", "val", "train") if s in scene.data.split_names)
    places = {id: at for at, id in enumerate(scene.data.ids)}
    at = sorted((places[id] for id in given.ids), key=lambda at: int(scene.data.labels[at]))
    story = Story(
        split=split, place=fixing.place_name(scene.data, split), home=home,
        before=accuracy(scene, split, (), given).value, at_home=accuracy(scene, home, (), given).value,
        images=[scene.data.ids[p] for p in at], said=[spoken(scene, p) for p in at],
        classes=len({int(scene.data.labels[p]) for p in at}), wrong=int(scene.outcome.wrong[at].sum()),
    )  # fmt: skip
    return asdict(story)


def _given(scene: Scene, split: str) -> "TrainingSet":
    return fixing.drawn_support(scene.data, split, per_class=PER_CLASS, seed=0)


@dataclass(frozen=True)
class _Asked:
    """The story and, once somebody has asked for more than it tells, the model before its images."""

    story: Story
    scene: Scene | None

    @cached_property
    def given(self) -> "TrainingSet":
        """The labelled images."""
        assert self.scene is not None
        return _given(self.scene, self.story.split)

    @property
    def shown(self) -> bool:
        """Whether what misleads is shown."""
        return self.scene is not None and (self.kept is not None or bool(st.session_state.get(_FOUND)))

    @cached_property
    def kept(self) -> "TestTimeFix | None":
        """The fix that was kept for the place, if one was."""
        return None if self.scene is None else _kept(self.scene, self.story.place)


def _kept(scene: Scene, branch: str) -> "TestTimeFix | None":
    from cbm.edits import TestTimeFix

    if branch not in store.branches(scene.ws, scene.row.name):
        return None
    edits = store.history(scene.ws, scene.row.name, branch).edits
    return edits[-1] if edits and isinstance(edits[-1], TestTimeFix) else None


def _pictures(dataset: "DatasetRow", story: Story) -> None:
    pictures = thumbnails_by_id(dataset, story.images[:SHOWN])
    st.caption(
        f"{len(story.images)} labelled images of {plural(story.classes, 'class', 'classes')}; the model is wrong on "
        f"{story.wrong}"
    )
    with st.grid(max(1, len(pictures)), min_column_width=48, gap="xsmall"):
        for id, said in zip(story.images[:SHOWN], story.said, strict=False):
            if id in pictures:
                st.image(pictures[id], width="stretch", alt=said, output_format="JPEG")


def _find(dataset: "DatasetRow", model: "ModelRow", asked: _Asked) -> None:
    """What misleads."""
    st.markdown(":gray[1]  **Find what misleads**")
    if asked.scene is None or not asked.shown:
        st.markdown("Each concept's class means are tested against what they were at the source.")
        st.button("Find", icon=":material/search:", type="primary", key="tour_find", on_click=_show)
        return
    from app.ui.fixes import found_fix

    found = found_fix(asked.scene, asked.given)
    changed = [e for e in found.evidence if e.gain != 1]
    for e in sorted(changed, key=lambda e: e.gain)[:MOST_TOLD]:
        st.markdown(f"**{escape(e.concept)}** is {e.verdict.value}: {_said(e)}.")
    if len(changed) > MOST_TOLD:
        st.caption(f"and {plural(len(changed) - MOST_TOLD, 'concept')} more")
    if not changed:
        st.markdown("No change was found that helps these images whichever one is left out.")
    go_to("fix", "See all the evidence", dataset=dataset.name, model=model.name, version="", image="", concept="")


def _said(e: "Evidence") -> str:
    """What a concept does, in words."""
    if e.gain == 0 and e.rise > 0:
        return f"it rises by {percent(e.rise)} of the way to its presence in classes that should lack it"
    if e.gain == 0:
        return "it follows other classes than at the source"
    return f"it follows its classes {e.slope:.2f} times as strongly as at the source"


def _mask(asked: _Asked) -> None:
    """The edit, kept by one click."""
    st.markdown(":gray[2]  **Mask it, for that place only**")
    branch, scene, kept = asked.story.place, asked.scene, asked.kept
    if scene is not None and kept is not None:
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
    if scene is None or not asked.shown:
        st.button("Mask", icon=":material/healing:", key="tour_mask", disabled=True)
        return
    from app.ui.fixes import edits_for, found_fix

    gains = {e.concept: e.gain for e in found_fix(scene, asked.given).evidence if e.gain != 1}
    st.button("Mask", icon=":material/healing:", type="primary", key="tour_mask", disabled=not gains, on_click=_keep,
              args=(scene, branch, edits_for(scene, gains)))  # fmt: skip


def _measure(asked: _Asked) -> None:
    """What it brought, on images that had no part in it."""
    st.markdown(":gray[3]  **Measure**")
    story, scene, kept = asked.story, asked.scene, asked.kept
    if scene is None or kept is None:
        st.markdown("On the other images from there, which had no part in it, and at the source.")
        return
    from app.ui.fixes import accuracy

    after = accuracy(scene, story.split, (kept,), asked.given)
    st.markdown(
        f"{escape(story.place)}: **{percent(story.before)}** becomes **{estimate(after)}**, without the labelled images.  \n"
        f"{escape(story.home)}: {percent(story.at_home)}, as before, since the source keeps the model without the branch."
    )
    go_to(
        "compare",
        "Compare",
        dataset=scene.dataset.name,
        model=scene.row.name,
        version=story.place,
        image="",
        concept="",
    )


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
