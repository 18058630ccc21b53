"""Build: choose a method, set its options, fit it by a job; and the models that came of it, each beside its controls."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import store, ui
from app.datasets import DatasetRow
from app.models import ModelRow
from app.ui.candidates import candidates_form, given_candidates
from app.ui.encoders import text_limits
from app.ui.form import as_settings, option_form, options_held, title_of
from app.ui.learning import curves_of_model
from app.ui.loaded import embedded
from app.ui.measured import against_controls, all_metrics, measured_on, summary, verdict
from app.ui.word_form import own_words, own_words_form
from app.ui.work import following, start
from cbm.errors import UsageError

if TYPE_CHECKING:
    from cbm.methods import Method
    from cbm.training_set import TrainingSet

MODELS, BUILD, NO_BANK = "Models", "Build a model", "none"
SENTENCES, OWN_WORDS = "fit_sentences", "fit_words"


def reason_against(method: "Method", data: "TrainingSet", *, given: bool = False) -> str:
    """Why a method cannot be fitted on these images with their bank; empty when it can. The text encoder itself is loaded by the job only.

    With `given`, candidate sentences are not asked for, because a person can still give them.
    """
    from cbm.encoders import reads_text
    from cbm.methods import Need, missing

    reads = reads_text(data.encoder_id)
    there = {Need.TEXT_ENCODER: reads, Need.TEXT_OR_ATOMS: reads, Need.CANDIDATES: given}
    needs = tuple(need for need in method.needs if not there.get(need))
    return missing(needs, data)


def build(dataset: DatasetRow) -> None:
    """Encoder and bank, the methods with what each needs, the options of the chosen one, and the button."""
    from cbm.methods import methods

    if not dataset.encoders:
        ui.empty(
            f"{dataset.name} is not embedded yet",
            "A model is fitted on embeddings.",
            screen="data",
            action="Embed the images",
        )
        return
    encoder, bank = inputs(dataset)
    data = embedded(dataset.name, encoder)
    data = replace(data, bank=store.bank(ui.workspace(), bank)) if bank else data
    offered = methods()
    reasons = {method.name: reason_against(method, data) for method in offered}
    lacking = {method.name: reason_against(method, data, given=True) for method in offered}
    chosen = choose_method(offered, lacking)
    params = {"dataset": dataset.name, "encoder": encoder}
    with st.container(border=True):
        st.subheader(ui.escape(chosen.title), anchor=False)
        st.caption(ui.escape(chosen.paper, 300))
        if chosen.reads_text:
            text_limits(encoder)
        wrong = lacking[chosen.name] or words_of(chosen, dataset, data)
        options = option_form(chosen.config, key=f"option_{chosen.name}")
        changed = ", ".join(f"{title_of(name)} {value}" for name, value in options.items())
        st.caption(f"Changed: {ui.escape(changed, 300)}." if changed else "All options at their defaults.")
        with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
            name = st.text_input(
                "Name of the model", value=free_name(f"{dataset.name}-{chosen.name}"), max_chars=120, width=320,
                key=name_key(chosen.name, dataset.name),
            )  # fmt: skip
            wanted = {**params, "method": chosen.name, "bank": bank or None, "name": name, "options": options}
            st.button(
                "Fit the model", type="primary", icon=":material/play_arrow:", key="fit", on_click=fit, args=(wanted,),
                disabled=bool(wrong), help=wrong or None,
            )  # fmt: skip
    possible = [method.name for method in offered if not reasons[method.name]]
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        st.button(
            f"Fit all {len(possible)} methods on this data set", icon=":material/playlist_play:", key="fit_all",
            on_click=fit_all, args=(params, bank, possible), disabled=not possible,
        )  # fmt: skip
        st.caption("Every method that can be fitted, with its defaults, one job each.")


def words_of(method: "Method", dataset: DatasetRow, data: "TrainingSet") -> str:
    """Where a person gives a method its sentences or words; why it cannot be fitted with them, or nothing."""
    from cbm.methods import Need

    if Need.CANDIDATES in method.needs:
        with st.expander("Candidate sentences", expanded=not data.candidates, icon=":material/notes:"):
            return candidates_form(dataset.classes, key=SENTENCES, shipped=data.candidates)
    if method.name == "v2c":
        with st.expander("Words", icon=":material/notes:"):
            own_words_form(OWN_WORDS)
    return ""


def inputs(dataset: DatasetRow) -> tuple[str, str]:
    """Which embeddings and which concepts; an empty bank is none."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        encoder = st.selectbox("Embeddings", dataset.encoders, key="with", bind="query-params", width=280)
        rows = store.banks(ui.workspace(), encoder=encoder)
        rows.sort(key=lambda row: (row.dataset != dataset.name, row.name))
        names = [*(row.name for row in rows), NO_BANK]
        if st.session_state.get("bank") not in (None, *names):
            del st.session_state["bank"]
        bank = st.selectbox("Concept bank", names, key="bank", bind="query-params", width=280)
        if not rows:
            ui.go_to("concepts", "Build a concept bank", dataset=dataset.name)
    return encoder, "" if bank == NO_BANK else bank


def choose_method(offered: "tuple[Method, ...]", reasons: dict[str, str]) -> "Method":
    """A card a method; those that lack something are grey and say what."""
    names = [method.name for method in offered]
    usable = next((name for name in names if not reasons[name]), names[0])
    chosen = st.query_params.get("method", usable)
    chosen = chosen if chosen in names else usable
    st.markdown("**Method**")
    with st.grid(4, min_column_width=190, gap="small"):
        for method in offered:
            with st.container(border=True, height="stretch", gap="xsmall"):
                st.button(
                    ui.escape(method.title), key=f"method_{method.name}", width="stretch", on_click=pick, args=(method.name,),
                    type="primary" if method.name == chosen else "secondary", disabled=bool(reasons[method.name]),
                    icon=":material/check:" if method.name == chosen else None,
                )  # fmt: skip
                st.caption(ui.escape(method.summary, 220))
                if reasons[method.name]:
                    st.caption(f":material/block: {ui.escape(ui.title(reasons[method.name]), 300)}")
    return offered[names.index(chosen)]


def pick(name: str) -> None:
    """Choose a method."""
    st.query_params["method"] = name


def free_name(wanted: str) -> str:
    """The name, or the first with a number that no model has."""
    taken = {row.name for row in store.models(ui.workspace())}
    return next(name for name in (wanted, *(f"{wanted}-{i}" for i in range(2, 10_000))) if name not in taken)


def name_key(method: str, dataset: str) -> str:
    """Key of the field for the model's name."""
    return f"model_name_{method}_{dataset}"


@ui.callback
def fit(params: dict[str, Any]) -> None:
    """Queue one fit."""
    from cbm.methods import method

    params = ui.filled(params, name=name_key(params["method"], params["dataset"]))
    params["options"] = options_held(method(params["method"]).config, key=f"option_{params['method']}")
    if not str(params["name"]).strip():
        raise UsageError("the model needs a name", hint="a short one, such as birds-posthoc")
    start("fit", {**params, **given_words(params["method"])})


def given_words(name: str) -> dict[str, Any]:
    """Sentences or words that a person gave for this method, for its job."""
    from cbm.methods import Need, method

    if Need.CANDIDATES in method(name).needs:
        candidates = given_candidates(SENTENCES)
        return {"candidates": candidates} if candidates else {}
    words = own_words(OWN_WORDS) if name == "v2c" else []
    return {"vocabulary": words} if words else {}


@ui.callback
def fit_all(params: dict[str, Any], bank: str, names: list[str]) -> None:
    """Queue a fit for each method that can be fitted."""
    for name in names:
        free = free_name(f"{params['dataset']}-{name}")
        start("fit", {**params, "method": name, "bank": bank or None, "name": free, "options": {}})


def models(rows: list[ModelRow]) -> None:
    """Every model of the data set in a frame: accuracy beside its controls, and what can be done with it."""
    for row in rows:
        with st.container(border=True, gap="xsmall"):
            with st.container(
                horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"
            ):
                edits = f", {ui.plural(row.edits, 'edit')}" if row.edits else ""
                bank = f", concepts {ui.escape(row.bank)}" if row.bank else ""
                st.markdown(
                    f"**{ui.escape(row.name)}** &ensp; {summary(row)}  \n"
                    f":gray[{ui.escape(row.method)}, {ui.escape(row.encoder)}{bank}{edits}]"
                )
                actions(row)
            if measured_on(row):
                left, right = st.columns([1.3, 1], gap="large")
                with left:
                    against_controls(row, key=f"model_{row.fingerprint[:10]}_{row.name}")
                with right:
                    told = verdict(row)
                    if told:
                        st.caption(f":material/info: {told}")
                    for note in row.recipe.get("notes", ())[:3]:
                        st.caption(ui.escape(ui.title(str(note)), 300))
            more = st.expander(
                "All measurements and options", type="compact", key=f"more_{row.name}", on_change="rerun"
            )
            if more.open:
                with more:
                    all_metrics(row)
                    curves_of_model(row.name, row.dataset or "", key=f"curves_{row.fingerprint[:10]}")
                    options = row.recipe.get("options", {})
                    st.caption("Options: " + (", ".join(f"{title_of(k)} {v}" for k, v in options.items()) or "none"))
                    st.caption(f"Fitted on {row.recipe.get('images', 0):,} images; fingerprint {row.fingerprint[:16]}")


def actions(row: ModelRow) -> None:
    """Explain, rename, delete."""
    with st.container(horizontal=True, width="content", gap="xsmall", vertical_alignment="center"):
        ui.go_to("explain", "Explain", icon=":material/search_insights:", model=row.name, dataset=row.dataset or "")
        with st.popover("Rename", icon=":material/edit:", type="tertiary"):
            st.text_input("Name", value=row.name, key=f"rename_{row.name}", max_chars=120)
            st.button("Rename", type="primary", key=f"rename_go_{row.name}", on_click=rename, args=(row.name,))
        with st.popover("Delete", icon=":material/delete:", type="tertiary"):
            st.markdown(f"**Delete {ui.escape(row.name)}** with {ui.plural(row.edits, 'edit')} and all branches?")
            st.button("Delete for good", type="primary", key=f"delete_{row.name}", on_click=delete, args=(row.name,))


@ui.callback
def rename(name: str) -> None:
    """Give the model another name."""
    row = store.rename_model(ui.workspace(), name, str(st.session_state.get(f"rename_{name}") or "").strip())
    if ui.selection().model == name:
        ui.select(model=row.name)


@ui.callback
def delete(name: str) -> None:
    """Delete the model."""
    store.delete_model(ui.workspace(), name)
    if ui.selection().model == name:
        ui.select(model="")
    st.toast(f"{ui.escape(name)} is deleted", icon=":material/delete:")


def header(dataset: DatasetRow | None) -> None:
    """Title and what reproduces the screen."""
    command = python = ""
    if dataset is not None:
        method = st.query_params.get("method", "posthoc")
        bank = str(st.session_state.get("bank") or st.query_params.get("bank") or "BANK")
        encoder = (dataset.encoders or ("builtin:demo",))[0]
        config = {
            key.removeprefix(f"option_{method}_"): value
            for key, value in st.session_state.items()
            if str(key).startswith(f"option_{method}_") and value is not None
        }
        command = ui.command(
            "train", method, dataset.name, "--encoder", encoder, "--concepts", bank, *as_settings(config)
        )
        python = (
            "import os\n\nimport cbm\nfrom app import store\nfrom app.settings import Settings\n\n"
            "ws = store.open_workspace(Settings.from_environment(os.environ))\n"
            f"images = store.training_set(ws, {dataset.name!r}, {encoder!r})\n"
            f"model = cbm.fit({method!r}, images, bank=store.bank(ws, {bank!r}))"
        )
    ui.header("Build", "Fit a model on concepts, and see what its accuracy is worth.", command=command, python=python)


ws = ui.workspace()
dataset = ui.current_dataset()
header(dataset)
if dataset is None:
    ui.empty("No data set yet", "A model is fitted on images.", screen="data", action="Import a data set")
    st.stop()
rows = sorted(store.models(ws, dataset=dataset.name), key=lambda row: -row.created)
views = [MODELS, BUILD] if rows else [BUILD]
if st.session_state.get("show") not in (None, *views):
    del st.session_state["show"]
shown = st.segmented_control(
    "What to see", views, default=views[0], required=True, key="show", bind="query-params", label_visibility="collapsed"
)
following(["fit"], about={"dataset": dataset.name}, key="fits")
if shown == MODELS:
    models(rows)
else:
    build(dataset)
