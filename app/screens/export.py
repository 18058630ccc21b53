"""Export: take a model away with its edits, its explanations as a table, and bring a model in."""

import hashlib
import tempfile
from importlib.util import find_spec
from pathlib import Path

import streamlit as st

from app import exports, server_paths, store, ui, uploads
from app.models import ModelRow
from cbm.errors import UsageError

AWAY, IN = "Take away", "Bring in"
MOST_CELLS = 4_000_000
_FILE, _CLASSES, _ENCODER = "bundle_file", "labelfree_classes", "labelfree_encoder"


@st.cache_data(show_spinner="Writing the bundle …", max_entries=4)
def bundle(key: str, _ws: store.Workspace, model: str, branch: str) -> tuple[bytes, exports.Exported]:
    """The zip file's bytes and what is in it."""
    with tempfile.TemporaryDirectory() as folder:
        done = exports.write_bundle(_ws, model, Path(folder) / "model.zip", branch=branch)
        return done.path.read_bytes(), done


def take_away(row: ModelRow, branch: str) -> None:
    """The bundle with its checksum and its edits, and the explanations as CSV."""
    past = store.history(ui.workspace(), row.name, branch)
    key = f"{row.fingerprint}|{branch}|{past.version}|{len(past.edits)}|{hash(str(row.metrics))}"
    content, done = bundle(key, ui.workspace(), row.name, branch)
    left, right = st.columns([1.7, 1], gap="large")
    with left:
        st.subheader("Model bundle", anchor=False)
        st.caption(
            "safetensors and JSON with a checksum for each file, a model card, licences and BibTeX: unpacked, it is a folder "
            "for the Hugging Face hub. Nothing in it is ever executed; `pellucid import` reads it back to the same model."
        )
        with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
            st.download_button(
                f"Download {len(content) / 1e6:.2g} MB", content, file_name=f"{file_name(row.name, branch)}.zip",
                mime="application/zip", type="primary", icon=":material/download:", on_click="ignore", key="download_bundle",
            )  # fmt: skip
            if server_paths.are_offered(ui.workspace().settings):
                to_server(row, branch)
        st.caption("SHA-256 of the zip file")
        st.code(hashlib.sha256(content).hexdigest(), language=None, wrap_lines=True)
        st.caption("Fingerprint of the model, the same in a folder or a zip")
        st.code(done.fingerprint, language=None, wrap_lines=True)
    with right:
        edits(done)
    st.space("small")
    others(row, branch)
    st.space("small")
    explanations(row, branch)


def others(row: ModelRow, branch: str) -> None:
    """The forms that other programs and people read: a page, ONNX, and the card to look at."""
    st.subheader("For other programs and people", anchor=False)
    st.caption(
        "The report is one page that needs no network. ONNX reads embeddings and gives scores and logits; it is compared with "
        "the model before you get it. Both are made when you ask for them."
    )
    name = file_name(row.name, branch)
    with st.container(horizontal=True, gap="small"):
        st.download_button(
            "HTML report", lambda: report(row.name, branch), file_name=f"{name}.html", mime="text/html",
            icon=":material/description:", on_click="ignore", key="download_html",
        )  # fmt: skip
        reason = no_onnx(row)
        st.download_button(
            "ONNX", lambda: onnx(row.name, branch), file_name=f"{name}.onnx", mime="application/octet-stream",
            icon=":material/deployed_code:", on_click="ignore", key="download_onnx", disabled=bool(reason),
            help=reason or None,
        )  # fmt: skip
        with st.popover("Model card", icon=":material/article:"):
            st.markdown(card(row, branch))


def no_onnx(row: ModelRow) -> str:
    """Why a model cannot be had as ONNX here; empty when it can."""
    if find_spec("onnxscript") is None:
        return "It needs extra packages: pip install 'pellucid[onnx]'"
    exact = store.base_model(ui.workspace(), row.name).exact
    return "" if exact else "Its scores are inferred step by step, which ONNX cannot hold."


def report(model: str, branch: str) -> bytes:
    """The bytes of the HTML report, made when it is asked for."""
    with tempfile.TemporaryDirectory() as folder:
        return exports.write_report(ui.workspace(), model, Path(folder) / "report.html", branch=branch).read_bytes()


def onnx(model: str, branch: str) -> bytes:
    """The bytes of the ONNX file, made when it is asked for."""
    with tempfile.TemporaryDirectory() as folder:
        return exports.write_onnx(ui.workspace(), model, Path(folder) / "model.onnx", branch=branch).path.read_bytes()


def card(row: ModelRow, branch: str) -> str:
    """The card that the bundle holds, without its header for the hub."""
    return exports.card_of(ui.workspace(), row.name, branch=branch).split("\n---\n", 1)[1]


def edits(done: exports.Exported) -> None:
    """What was changed since the model was fitted; it travels in the bundle."""
    st.subheader("Edits it holds", anchor=False)
    if not done.edits:
        st.caption("None: the model is as it was fitted.")
        return
    st.markdown("\n".join(f"{number}. {ui.escape(text, 300)}" for number, text in enumerate(done.edits, start=1)))
    st.caption(
        "Its card has no figures yet: those here are of the model before these edits. `pellucid export hf` measures it."
    )


def to_server(row: ModelRow, branch: str) -> None:
    """Write the bundle to a path on the server."""
    with st.popover("Write to the server", icon=":material/save:"):
        st.text_input("Path", key="bundle_path", placeholder="/data/models/final.zip", width=420)
        st.caption("A folder, or a zip when it ends in .zip. A bundle that is there is replaced, anything else is not.")
        st.button("Write", type="primary", key="write_bundle", on_click=write, args=(row.name, branch))


@ui.callback
def write(model: str, branch: str) -> None:
    """Write the bundle where the person says."""
    path = server_paths.permitted(ui.workspace().settings, str(st.session_state.get("bundle_path") or ""))
    done = exports.write_bundle(ui.workspace(), model, path, branch=branch)
    st.toast(f"written to {ui.escape(str(done.path), 200)}", icon=":material/save:")


def explanations(row: ModelRow, branch: str) -> None:
    """Every image's decision with scores and contributions, as CSV."""
    st.subheader("Explanations as a table", anchor=False)
    if row.dataset is None:
        st.caption("The model belongs to no data set of this workspace.")
        return
    dataset = store.dataset_row(ui.workspace(), row.dataset)
    st.caption(
        "CSV, one row an image: the decision, and every concept's score and contribution; contributions and rest add up to "
        "the logit. Text that a spreadsheet would compute gets an apostrophe in front."
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        split = st.selectbox("Images", ["All", *dataset.splits], key="csv_split", width=180)
        images = dataset.size if split == "All" else dataset.splits[split]
        value = store.base_model(ui.workspace(), row.name)
        cells = images * (7 + 2 * len(value.concepts))
        wanted = None if split == "All" else split
        if cells > MOST_CELLS:
            st.caption(f"{cells:,} cells are too many for the browser; use the command under “Copy as”.")
        else:
            st.download_button(
                f"Download {ui.plural(images, 'row')}", lambda: table(row.name, branch, wanted),
                file_name=f"{file_name(row.name, branch)}-{split.lower()}.csv", mime="text/csv", icon=":material/download:",
                on_click="ignore", key="download_csv",
            )  # fmt: skip


def table(model: str, branch: str, split: str | None) -> bytes:
    """The bytes of the CSV file, made when it is asked for."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "explained.csv"
        exports.write_explanations(ui.workspace(), model, path, branch=branch, split=split)
        return path.read_bytes()


def file_name(model: str, branch: str) -> str:
    """A file name that every system takes."""
    both = model if branch == "main" else f"{model}-{branch}"
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in both).strip("-.") or "model"


def bring_in() -> None:
    """A bundle from this computer becomes a model of the workspace."""
    st.markdown(
        "A bundle is read only if every file in it is known, whole and of a plain kind. Anything else is refused, and nothing "
        "in it is ever executed."
    )
    limit = ui.workspace().settings.max_upload
    sent = st.file_uploader("Bundle", type=["zip"], key=_FILE, max_upload_size=limit, label_visibility="collapsed")
    labelfree()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        stem = Path(sent.name).stem[:100] if sent else ""
        st.text_input("Name of the model", value=stem, key=f"import_as_{stem}", max_chars=120, width=320)
        st.button(
            "Import the model", type="primary", icon=":material/upload:", key="import_bundle", disabled=sent is None,
            on_click=import_, args=(f"import_as_{stem}",),
        )  # fmt: skip


def labelfree() -> None:
    """What a model of the Label-free CBM project needs beside its files."""
    with st.expander("A model that the Label-free CBM project saved", icon=":material/folder_zip:", type="compact"):
        st.caption(
            "Send its folder as a zip file: W_c.pt, W_g.pt, b_g.pt, proj_mean.pt, proj_std.pt and concepts.txt. Tensors are read "
            "as numbers only. The folder does not say which classes and which encoder it is for; say it here."
        )
        st.text_area("Classes, one a line, in the order of the model's outputs", key=_CLASSES, height=120, width=480)
        st.text_input("Encoder whose embeddings it reads", key=_ENCODER, placeholder="open_clip:RN50/openai", width=480)


@ui.callback
def import_(field: str) -> None:
    """Read the uploaded bundle and select the model that it holds."""
    sent, name = st.session_state.get(_FILE), str(st.session_state.get(field) or "").strip()
    if sent is None:
        raise UsageError("there is no file", hint="send a bundle as a zip file")
    classes = [line.strip() for line in str(st.session_state.get(_CLASSES) or "").splitlines() if line.strip()]
    encoder = str(st.session_state.get(_ENCODER) or "").strip()
    path = uploads.receive(ui.workspace(), [sent])
    try:
        row = exports.import_bundle(ui.workspace(), path, name or path.stem, classes=classes or None, encoder=encoder)
    finally:
        uploads.forget(ui.workspace(), path)
    ui.select(**({"dataset": row.dataset} if row.dataset else {}), model=row.name)
    st.session_state["show"] = AWAY
    st.toast(f"{ui.escape(row.name)} is here", icon=":material/check:")
    if row.dataset is None:
        st.toast("No data set here has its classes and embeddings; import and embed one to explain it.")


def header(row: ModelRow | None, branch: str, view: str) -> None:
    """Title and what reproduces the screen."""
    command = ui.command("import", "FILE.zip", "--name", "NAME")
    python = "import cbm\n\nmodel = cbm.load('FILE.zip')"
    if row is not None and view == AWAY:
        named = row.name if branch == "main" else f"{row.name}@{branch}"
        out = file_name(row.name, branch)
        command = "\n".join(
            [
                ui.command("export", "bundle", named, "-o", f"{out}.zip"),
                ui.command("export", "hf", named, "-o", f"{out}-hf"),
                ui.command("export", "onnx", named, "-o", f"{out}.onnx"),
                ui.command("export", "html", named, "-o", f"{out}.html"),
                ui.command("export", "csv", named, "-o", f"{out}.csv"),
            ]
        )
        python = (
            "import os\n\nimport cbm\nfrom app import store\nfrom app.settings import Settings\n\n"
            "ws = store.open_workspace(Settings.from_environment(os.environ))\n"
            f"cbm.save(store.model(ws, {row.name!r}, branch={branch!r}), {out + '.zip'!r})"
        )
    lead = f"Take **{ui.escape(row.name)}** away, with its edits." if row and view == AWAY else "Bring a model in."
    ui.header("Export", lead, command=command, python=python)


row = ui.current_model()
views = [AWAY, IN] if row else [IN]
if st.session_state.get("show") not in (None, *views):
    del st.session_state["show"]
branch = ui.selection().version or "main"
top = st.container()
view = st.segmented_control(
    "What to do", views, default=views[0], required=True, key="show", bind="query-params", label_visibility="collapsed"
)
with top:
    header(row, branch, view)
if row is None:
    ui.empty("No model yet", "Build one, or bring one in below.", screen="build", action="Build a model")
if row is not None and view == AWAY:
    take_away(row, branch)
else:
    bring_in()
