"""The support images of a test-time fix: drawn from a split, picked by eye, or listed in a file."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from app import fixing
from app.ui.gallery import spoken
from app.ui.loaded import Scene, thumbnails
from app.ui.pieces import problem
from app.ui.text import escape, plural
from cbm.errors import PellucidError

if TYPE_CHECKING:
    from cbm.training_set import TrainingSet

DRAWN, PICKED, LISTED = "Draw", "Pick", "List"
SIZES = (1, 2, 4, 8, 16)
PER_PAGE, SHOWN = 12, 40
LARGEST = 2_000_000  # bytes of an uploaded list


def support_panel(scene: Scene, split: str) -> "TrainingSet | None":
    """Where the labelled images come from, and the images; nothing while there are none, or too few classes."""
    how = st.segmented_control(
        "Labelled images", [DRAWN, PICKED, LISTED], default=DRAWN, required=True, key="support", bind="query-params",
        help="Draw the same number of every class by chance, pick them by eye, or list them in a CSV file",
    )  # fmt: skip
    try:
        given = {PICKED: _picked, LISTED: _listed}.get(str(how), _drawn)(scene, split)
    except PellucidError as error:
        problem(error)
        return None
    if given is not None and len(set(given.labels.tolist())) < 2:
        st.info("Images of at least two classes are needed.", icon=":material/info:")
        return None
    return given


def show_support(scene: Scene, given: "TrainingSet") -> None:
    """The support images, class by class."""
    places = {id: at for at, id in enumerate(scene.data.ids)}
    positions = [places[id] for id in given.ids if id in places]
    positions.sort(key=lambda at: int(scene.data.labels[at]))
    pictures = thumbnails(scene, positions[:SHOWN], 96)
    with st.grid(10, min_column_width=48, gap="xsmall"):
        for at in positions[:SHOWN]:
            if at in pictures:
                st.image(pictures[at], width="stretch", alt=spoken(scene, at), output_format="JPEG")
    more = f", {len(positions) - SHOWN} more not shown" if len(positions) > SHOWN else ""
    wrong = int(scene.outcome.wrong[positions].sum())
    st.caption(f"{plural(len(given), 'image')}{more}; the model is wrong on {wrong}. They never count in the accuracy.")


def _drawn(scene: Scene, split: str) -> "TrainingSet":
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        each = st.segmented_control(
            "Images a class", SIZES, default=4, required=True, key="each", bind="query-params",
            help="From four a class on, faint concepts are amplified too",
        )  # fmt: skip
        seed = st.number_input(
            "Draw", 0, 9999, 0, key="draw", bind="query-params", width=120, help="Another number draws others"
        )
    each = int(each) if each in SIZES else 4
    return fixing.drawn_support(scene.data, split, per_class=each, seed=min(max(int(seed), 0), 9999))


def _picked(scene: Scene, split: str) -> "TrainingSet | None":
    """A page of each class's images, with a mark under each."""
    key = f"pellucid_support|{scene.dataset.name}|{split}"
    chosen: list[str] = st.session_state.setdefault(key, [])
    data = scene.data
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        class_ = st.selectbox("Class", data.classes, key="support_class", width=200)
        rows = np.flatnonzero((data.splits == split) & (data.labels.numpy() == data.classes.index(class_)))
        pages = max(1, -(-len(rows) // PER_PAGE))
        page = st.number_input("Page", 1, pages, 1, key="support_page", width=110)
        st.button("Clear", icon=":material/clear_all:", type="tertiary", disabled=not chosen, on_click=chosen.clear)
    shown = rows[(int(page) - 1) * PER_PAGE : int(page) * PER_PAGE].tolist()
    pictures = thumbnails(scene, shown, 96)
    with st.grid(6, min_column_width=60, gap="xsmall"):
        for at in shown:
            if at in pictures:
                with st.container(gap=None):
                    st.image(pictures[at], width="stretch", alt=spoken(scene, at), output_format="JPEG")
                    _mark(chosen, data.ids[at])
    counts = [sum(data.labels[data.ids.index(id)] == c for id in chosen) for c in range(len(data.classes))]
    st.caption("Picked: " + ", ".join(f"{escape(name)} {int(n)}" for name, n in zip(data.classes, counts, strict=True)))
    places = [at for at, id in enumerate(data.ids) if id in set(chosen)]
    return data.where(np.array(places)) if places else None


def _mark(chosen: list[str], id: str) -> None:
    def turn() -> None:
        chosen.remove(id) if id in chosen else chosen.append(id)

    here = id in chosen
    st.button(
        "out" if here else "in", icon=":material/check:" if here else ":material/add:", key=f"support|{id}",
        type="primary" if here else "tertiary", width="stretch", on_click=turn,
    )  # fmt: skip


def _listed(scene: Scene, split: str) -> "TrainingSet | None":
    file = st.file_uploader("CSV with the columns path and label", type="csv", key="support_file", max_upload_size=2)
    st.caption(
        f"Paths are ids of images in {escape(scene.dataset.name)}. For images that are not imported: "
        "`pellucid fix fit MODEL --support LIST.csv`."
    )
    if file is None or file.size > LARGEST:
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "support.csv")
        path.write_bytes(file.getvalue())
        return fixing.listed_support(scene.ws, scene.dataset.name, scene.data, path)
