"""Taking a data set in: send or name it, read the report, then import. Nothing is stored before the report is read."""

from pathlib import Path
from typing import Any

import streamlit as st

from app import jobs, server_paths, uploads
from app.ui.loaded import workspace
from app.ui.pieces import callback, filled
from app.ui.provenance import layout_choices, provenance
from app.ui.report import show_report
from app.ui.text import escape, plural
from app.ui.work import following, job_line, start
from cbm.errors import UsageError
from cbm.published import TITLES

LAYOUTS = {
    "auto": "found by itself",
    "folder": "folders: class/image, or split/class/image",
    "manifest": "a manifest: CSV, Parquet or JSON lines",
    "hf": "a Hugging Face folder",
    **{name: f"as published: {title}" for name, title in TITLES.items()},
}
_FILES, _PATH, _LAYOUT = "intake_files", "intake_path", "intake_layout"


def intake() -> None:
    """The step that an import is at: what to import, or the report on it with the button that imports."""
    row = _checked()
    if row is None:
        following(["import"], key="imports")
        _ask()
        return
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader(f"Before importing {escape(_source(row), 80)}", anchor=False)
        st.button("Start over", icon=":material/arrow_back:", type="tertiary", on_click=_start_over, args=(row.id,))
    if row.state == "succeeded" and row.result is not None:
        source = row.result.get("source", {})
        provenance(source)
        layout_choices(row.params, source)
        _confirm(row.params, row.result)
        show_report(row.result, key="check")
    elif row.active:
        following(["check"], key="checks")
    else:
        job_line(row, key="check")


def _checked() -> "jobs.JobRow | None":
    named = st.query_params.get("check", "")
    row = jobs.job(workspace(), int(named)) if named.isdigit() else None
    return row if row is not None and row.kind == "check" else None


def _source(row: "jobs.JobRow") -> str:
    path = Path(row.params["path"])
    return path.name if path.suffix else f"{path.name}" if not uploads.is_upload(workspace(), path) else "your upload"


def _ask() -> None:
    """Two ways in, side by side: files from the browser, or a place on the server."""
    limit = workspace().settings.max_upload
    send, name = st.columns(2, gap="large")
    with send, st.container(border=True, height="stretch"):
        st.subheader("From this computer", anchor=False)
        st.caption(
            "One zip or tar of class folders or of a published data set; or a manifest and one zip or tar of its images. "
            f"Up to {limit} MB in all."
        )
        st.file_uploader(
            "Files", type=["zip", "tar", "tgz", "gz", "csv", "parquet", "jsonl"], accept_multiple_files=True, key=_FILES,
            max_upload_size=limit, label_visibility="collapsed",
        )  # fmt: skip
        st.button(
            "Check the upload", type="primary", icon=":material/fact_check:", on_click=_send, key="check_upload",
            disabled=not st.session_state.get(_FILES),
        )  # fmt: skip
    with name, st.container(border=True, height="stretch"):
        st.subheader("From the server", anchor=False)
        if not server_paths.are_offered(workspace().settings):
            st.caption("Not offered here. Whoever runs this server imports large data with `pellucid data import`.")
        else:
            st.caption(
                "A folder, a manifest, a zip or a tar, by its path on the machine that runs Pellucid. For large data."
            )
            st.text_input("Path", key=_PATH, placeholder="/data/photos", label_visibility="collapsed")
            st.selectbox("Layout", list(LAYOUTS), key=_LAYOUT, format_func=LAYOUTS.__getitem__)
            st.button("Check the path", type="primary", icon=":material/fact_check:", on_click=_name, key="check_path")
    with st.expander("What a data set looks like", icon=":material/help:", type="compact"):
        st.markdown(
            "**Folders**: `photos/wren/0001.jpg`, or `photos/train/wren/0001.jpg` with splits. Without splits, 70 % "
            "become train, 15 % val and 15 % test, the same every time.\n\n"
            "**Manifest**: one row an image, with the columns `path` and `label`, and if you have them `split`, `group` "
            "(a patient, a place), `mask_path`, and `c:<concept>` with 1, 0, a probability, or nothing where nobody knows.\n\n"
            "**Hugging Face**: pictures with a `metadata.csv`, `.parquet` or `.jsonl`; what `save_to_disk` wrote; or Parquet "
            "shards with pictures inside.\n\n"
            f"**As published**: {', '.join(TITLES.values())}, unpacked and otherwise as they are given away.\n\n"
            "**DICOM**: `.dcm` files wherever a picture may be. Pictures are kept, patients are not."
        )


@callback
def _send() -> None:
    path = uploads.receive(workspace(), st.session_state.get(_FILES) or [])
    st.session_state.pop(_FILES, None)
    _check(path, "auto")


@callback
def _name() -> None:
    path = server_paths.permitted(workspace().settings, str(st.session_state.get(_PATH) or ""))
    layout = str(st.session_state.get(_LAYOUT) or "auto")
    _check(path, layout if layout in LAYOUTS else "auto")


def _check(path: Path, layout: str) -> None:
    st.query_params["check"] = str(start("check", {"path": str(path), "layout": layout}).id)


@callback
def _start_over(id: int) -> None:
    row = jobs.cancel(workspace(), id)
    st.query_params.pop("check", None)
    if not row.active:
        uploads.forget(workspace(), Path(row.params["path"]))


def _confirm(params: dict[str, Any], report: dict[str, Any]) -> None:
    """Name, how the files are kept, and the button; when rows have errors, whether to leave them out."""
    ws, path = workspace(), Path(params["path"])
    whole = [item for item in report["problems"] if item["level"] == "error"]
    uploaded = uploads.is_upload(ws, path)
    proposed = "my-images" if uploaded and path.is_dir() else str(report["name"])
    with st.container(border=True), st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        name = st.text_input("Name of the data set", value=proposed, max_chars=120, key="import_name", width=280)
        keep = True
        if not uploaded and _may_stay(path, report):
            keep = st.segmented_control(
                "Pictures", ["copy", "leave in place"], default="copy", required=True, key="import_keep",
                help="Copied pictures stay with the workspace; referenced ones must stay where they are.",
            ) == "copy"  # fmt: skip
        skip = bool(whole) and st.checkbox(
            f"Leave out what is wrong ({plural(len(whole), 'error')})", key="import_skip"
        )
        wanted = {**params, "name": name, "reference": not keep, "skip_bad": skip}
        st.button(
            f"Import {plural(report['images'], 'image')}", type="primary", icon=":material/download:", key="import",
            disabled=(bool(whole) and not skip) or not report["images"], on_click=_import, args=(wanted,),
        )  # fmt: skip


def _may_stay(path: Path, report: dict[str, Any]) -> bool:
    """Whether the pictures are files that could be left where they are: not packed, not in tables, no DICOM."""
    options = report.get("source", {}).get("options", {})
    return path.suffix.lower() not in {".zip", ".tar", ".tgz", ".gz"} and not {"window", "image"} & options.keys()


@callback
def _import(params: dict[str, Any]) -> None:
    params = filled(params, name="import_name")
    if not str(params["name"]).strip():
        raise UsageError("the data set needs a name", hint="a short one, such as birds")
    start("import", params)
    st.query_params.pop("check", None)
