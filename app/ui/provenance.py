"""What a data set was recognised as, on what terms it is given away, and the choices that its layout leaves."""

from collections.abc import Mapping
from typing import Any

import streamlit as st

from app.ui.pieces import callback
from app.ui.text import escape
from app.ui.work import start
from cbm.published import TITLES

DICOM = ("window", "frame")


def provenance(source: Mapping[str, Any]) -> None:
    """One box: the sentence that says what it is, its terms with the publishers' page, and the paper; or nothing."""
    if not source.get("says"):
        return
    with st.container(border=True, gap="xsmall"):
        st.markdown(f":material/verified: **{escape(source['says'], 300)}**")
        ours = source["layout"] in TITLES  # a page that the data itself names is shown, but is no link
        page = f" Publishers' page: {escape(source['contact'], 200)}." if ours else ""
        if source.get("terms"):
            st.caption(f"Terms: {escape(source['terms'], 500)}.{page}")
        if source.get("contact") and not ours:
            st.text(source["contact"][:200])
        if source.get("cite"):
            st.caption(f"Please cite: {escape(source['cite'], 500)}.")
        read = {name: value for name, value in source.get("options", {}).items() if str(value) != ""}
        if read:
            st.caption("Read with " + ", ".join(f"{escape(name)} **{escape(value)}**" for name, value in read.items()))


def layout_choices(params: Mapping[str, Any], source: Mapping[str, Any]) -> None:
    """What else could be the label, and how DICOM files become pictures; a change checks the data set again."""
    labels, used = list(source.get("labels", ())), dict(source.get("options", {}))
    scans = "window" in used
    if len(labels) < 2 and not scans:
        return
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        if len(labels) > 1:
            at = labels.index(used["label"]) if used.get("label") in labels else 0
            st.selectbox(
                "Label", labels, index=at, key="import_label", width=280, format_func=str, args=(dict(params),),
                on_change=_again, help="What is to be predicted; the rest stays a concept. A change checks the data again.",
            )  # fmt: skip
        if scans:
            st.text_input(
                "Window", value=used["window"], key="import_window", width=200, on_change=_again, args=(dict(params),),
                help="CENTER,WIDTH in the units of the files, such as 40,400; auto takes the files' own, else percentiles.",
            )  # fmt: skip
            st.segmented_control(
                "Of several frames", ["first", "middle"], default=used["frame"], required=True, key="import_frame",
                on_change=_again, args=(dict(params),),
            )  # fmt: skip


@callback
def _again(params: dict[str, Any]) -> None:
    """Check the data set with what the fields hold now."""
    from cbm.dicom import read_window

    options = dict(params.get("options") or {})
    for name in ("label", *DICOM):
        value = st.session_state.get(f"import_{name}")
        if value:
            options[name] = str(value)
    if "window" in options:
        read_window(options["window"])
    st.query_params["check"] = str(start("check", {**params, "options": options}).id)
