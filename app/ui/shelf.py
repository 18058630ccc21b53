"""A data set's images by the page: filters in the address, thumbnails, and a link from every picture to its explanation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import streamlit as st

from app import store
from app.datasets import DatasetRow, ImageRow
from app.ui.loaded import Scene, scene, workspace
from app.ui.picks import pick_control, pick_panel
from app.ui.pieces import go_to
from app.ui.text import escape, plural

EVERY = "All"
PER_PAGE = 24
RIGHT, WRONG = "right", "wrong"


@dataclass(frozen=True)
class Wanted:
    """Which images: empty means all; `decision` is what the selected model makes of them."""

    split: str = ""
    class_: str = ""
    concept: str = ""
    present: bool = True
    text: str = ""
    decision: str = ""


def shelf(row: DatasetRow) -> None:
    """Filters, one page of pictures, and the other pages."""
    wanted = _filters(row)
    picking = pick_panel(row)
    page = max(1, int(st.session_state.get("page", 1) or 1))
    images, total = find(row, wanted, page)
    pages = max(1, -(-total // PER_PAGE))
    if page > pages:
        st.session_state["page"] = page = pages
        images, total = find(row, wanted, page)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        first = (page - 1) * PER_PAGE
        st.caption(f"{first + 1:,} to {first + len(images):,} of {plural(total, 'image')}" if total else "")
        st.pagination(pages, key="page", bind="query-params", max_visible_pages=7)
    if not total:
        st.info("No image passes these filters.", icon=":material/filter_alt_off:")
        return
    pictures(row, images, picking=picking)


def pictures(
    row: DatasetRow, images: Sequence[ImageRow], notes: Mapping[str, str] | None = None, *, picking: bool = False
) -> None:
    """Pictures side by side, each with its class, a note by id if there is one, and what leads to its explanation.

    Parameters
    ----------
    picking
        Whether there is a control to pick the picture as an example instead of the link.
    """
    shown = store.thumbnails(workspace(), row.name, [image.id for image in images])
    explained = bool(store.models(workspace(), dataset=row.name))
    with st.grid(8, min_column_width=96, gap="small"):
        for image in images:
            with st.container(gap="xxsmall"):
                if image.id in shown:
                    st.image(shown[image.id], width="stretch", alt=spoken(image), output_format="JPEG")
                else:
                    st.caption(":material/broken_image: cannot be read")
                if picking:
                    pick_control(row, image)
                elif explained:
                    go_to("explain", escape(image.class_, 22), icon="", image=image.id)
                else:
                    st.caption(escape(image.class_, 22))
                if notes and image.id in notes:
                    st.caption(notes[image.id])


def spoken(image: ImageRow) -> str:
    """An image in words."""
    here = f", with {', '.join(image.concepts[:5])}" if image.concepts else ""
    return f"{image.class_}, {image.split}, {image.id}{here}"


def find(row: DatasetRow, wanted: Wanted, page: int) -> tuple[list[ImageRow], int]:
    """One page of the images and how many there are; in the database unless a model's decision is asked for."""
    ws = workspace()
    if not wanted.decision:
        return store.query_images(
            ws, row.name, class_=wanted.class_ or None, split=wanted.split or None, concept=wanted.concept or None,
            present=wanted.present, text=wanted.text or None, page=page, per_page=PER_PAGE,
        )  # fmt: skip
    ids = decided(scene(), wanted)
    return store.images_by_id(ws, row.name, ids[(page - 1) * PER_PAGE : page * PER_PAGE]), len(ids)


def decided(scene: Scene, wanted: Wanted) -> list[str]:
    """Ids of the images that the model decides rightly or wrongly and that pass the other filters."""
    import numpy as np

    from app import cases

    data = scene.data
    keep = np.zeros(len(data), dtype=bool)
    keep[cases.chosen(data, scene.outcome, split=wanted.split, class_=wanted.class_)] = True
    keep &= scene.outcome.wrong == (wanted.decision == WRONG)
    if wanted.concept and data.concept_labels is not None:
        labels = data.concept_labels[:, data.concepts.index(wanted.concept)].numpy()
        keep &= (labels >= 0.5) if wanted.present else (labels < 0.5)
    ids = [data.ids[int(position)] for position in np.flatnonzero(keep)]
    return [id for id in ids if wanted.text.casefold() in id.casefold()]


def _filters(row: DatasetRow) -> Wanted:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        split = _one_of("Split", list(row.splits), "split", 120)
        class_ = _one_of("Class", row.classes, "label", 190)
        concept = _one_of("Concept", row.concepts, "has", 210) if row.concepts else ""
        present = True
        if concept:
            present = st.segmented_control(
                "Annotated as", ["present", "absent"], default="present", required=True, key="as", bind="query-params",
                on_change=_first_page,
            ) == "present"  # fmt: skip
        decision = ""
        models = store.models(workspace(), dataset=row.name)
        if models:
            decision = _one_of("The model is", [RIGHT, WRONG], "decision", 130)
        text = st.text_input(
            "Name or group has",
            key="find",
            bind="query-params",
            on_change=_first_page,
            width=180,
            placeholder="any text",
        )
    return Wanted(split, class_, concept, present, (text or "").strip(), decision)


def _one_of(label: str, names: Sequence[str], key: str, width: int) -> str:
    options = [EVERY, *names]
    picked = st.selectbox(label, options, key=key, bind="query-params", width=width, on_change=_first_page)
    return picked if picked in names else ""


def _first_page() -> None:
    st.session_state["page"] = 1
