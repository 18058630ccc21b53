"""Home: what is here, and the way from a decision to a corrected model in a few steps."""

from types import SimpleNamespace
from typing import Any

import streamlit as st

from app import jobs, store, ui
from app.datasets import DatasetRow
from app.models import ModelRow
from app.ui.new_place import new_place

SHOWN = 8  # mistakes


def steps(tour: dict[str, Any]) -> None:
    """The guided path: each step says what to look at and leads to the screen, with the right things selected."""
    here = {"image": tour["image"], "concept": tour["concept"], "class_": ""}
    label, said = tour["label"], tour["said"]
    taken = f"The model takes this {ui.escape(label)} for a {ui.escape(said)}. " if said != label else ""
    name, split = ui.escape(tour["concept"]), ui.escape(tour["split"])
    path = [
        ("explain", "See what decided", f"{taken}Which concepts say so? Look for **{name}**.", "Explain this image"),
        ("intervene", "Change your mind about one", f"Move **{name}** and watch the decision follow.", "Move it"),
        ("edit", "Take the reason away", f"Prune **{name}** for every class. The preview shows what that does on {split}.",
         "Prune it"),
        ("edit", "Take it back, and again", "Undo and redo are on the same screen, and stay after a refresh.", "Undo or redo"),
        ("export", "Take the model away", "As a bundle of plain files, with its edits written down.", "Export"),
    ]  # fmt: skip
    path = [step for step in path if ui.screen_exists(step[0])]
    grid = st.grid(len(path), min_column_width=165, gap="small", border=True)
    for number, (screen, title, body, action) in enumerate(path, start=1):
        with grid.cell(), st.container(gap="small"):
            st.markdown(f":gray[{number}]  **{title}**")
            st.markdown(body)
            ui.go_to(screen, action, **here)


def found_tour(dataset: DatasetRow, row: ModelRow, branch: str) -> dict[str, Any]:
    """What the tour tells, for the model as fitted and as it is now; nothing when no split stands out."""
    from app import cases

    scene = ui.scene()
    fitted = ui.outcome(scene, ())
    first = cases.tour(scene.fitted, scene.data, fitted)
    if first is None:
        return {}
    now = cases.tour(scene.model, scene.data, scene.outcome) if scene.history.edits else first
    tour, model = (first, scene.fitted) if now is None else (now, scene.model)
    at = scene.data.splits == first.split
    mistakes = [tour.image, *(int(p) for p in (at & fitted.wrong).nonzero()[0] if p != tour.image)][:SHOWN]
    return {
        "split": tour.split, "concept": model.concepts[tour.concept], "image": scene.data.ids[tour.image],
        "label": scene.data.classes[int(scene.data.labels[tour.image])],
        "said": scene.model.classes[int(scene.outcome.predictions[tour.image])],
        "accuracy": tour.accuracy, "elsewhere": tour.elsewhere, "stands_out": now is not None,
        "edited": bool(scene.history.edits), "first": {"split": first.split, "accuracy": first.accuracy},
        "now": float(1 - scene.outcome.wrong[at].mean()),
        "better": bool(scene.outcome.wrong[at].sum() < fitted.wrong[at].sum()),
        "mistakes": [
            {"id": scene.data.ids[p], "alt": ui.spoken(scene, p), "wrong": bool(scene.outcome.wrong[p]),
             "said": scene.model.classes[int(scene.outcome.predictions[p])]}
            for p in mistakes
        ],
    }  # fmt: skip


def guided(dataset: DatasetRow, row: ModelRow, branch: str) -> None:
    """A mistake with its picture, and the steps that lead from it to a better model."""
    tour = ui.told(f"tour {branch}", dataset, row, branch, lambda: found_tour(dataset, row, branch))
    if not tour:
        return
    st.subheader("From a mistake to a better model", anchor=False)
    if tour["edited"]:
        st.success(
            f"On **{ui.escape(tour['first']['split'])}** the fitted model is right on "
            f"{ui.percent(tour['first']['accuracy'])} of the images, yours on {ui.percent(tour['now'])}.",
            icon=":material/trending_up:" if tour["better"] else ":material/info:",
        )
    if tour["stands_out"]:
        st.markdown(
            f"On the split **{ui.escape(tour['split'])}** the model is right on {ui.percent(tour['accuracy'])} of the "
            f"images, and on {ui.percent(tour['elsewhere'])} elsewhere. One concept is to blame more than any other: "
            f"**{ui.escape(tour['concept'])}**."
        )
    pictures = ui.thumbnails_by_id(dataset, [mistake["id"] for mistake in tour["mistakes"]])
    with st.grid(SHOWN, min_column_width=86, gap="small"):
        for mistake in tour["mistakes"]:
            with st.container(gap="xsmall"):
                if mistake["id"] in pictures:
                    st.image(pictures[mistake["id"]], width="stretch", alt=mistake["alt"], output_format="JPEG")
                icon = ":material/close:" if mistake["wrong"] else None
                ui.go_to("explain", ui.escape(mistake["said"], 18), icon=icon, image=mistake["id"])
    steps(tour)


def card(name: str, lines: list[str], screen: str, action: str, **changes: str) -> None:
    """A named thing, what is known of it, and the way in at the right."""
    with st.container(border=True, horizontal=True, vertical_alignment="center", wrap=False):
        with st.container(gap=None, width="stretch"):
            st.markdown(f"**{ui.escape(name)}**")
            for line in lines:
                st.caption(line)
        ui.go_to(screen, action, **changes)


def model_card(row: ModelRow) -> None:
    """A model, with the accuracy that it was measured to have."""
    edits = ui.plural(row.edits, "edit") if row.edits else "no edits"
    lines = [f"{ui.escape(row.method)} on {ui.escape(row.dataset or 'no data set')}, {edits}"]
    for split, measured in row.metrics.items():
        accuracy = measured.get("metrics", {}).get("accuracy") if isinstance(measured, dict) else None
        if accuracy:
            lines.append(f"as fitted, {ui.estimate(SimpleNamespace(**accuracy))} right on {ui.escape(split)}")
    card(row.name, lines, "explain", "Explain", dataset=row.dataset or "", model=row.name)


def dataset_card(row: DatasetRow) -> None:
    """A data set, with its splits."""
    splits = ", ".join(f"{n:,} {ui.escape(name)}" for name, n in row.splits.items())
    lines = [f"{ui.plural(row.size, 'image')} of {ui.plural(len(row.classes), 'class', 'classes')}: {splits}"]
    card(row.name, lines, "data", "Look", dataset=row.name)


@st.fragment(run_every="3s")
@ui.guarded
def running() -> None:
    """Jobs that wait or run, with how far they are."""
    for job in jobs.jobs(ui.workspace(), active=True)[:5]:
        left = f", about {job.eta:.0f} s left" if job.eta else ""
        st.progress(min(max(job.progress, 0.0), 1.0), f"{ui.escape(job.kind)}: {ui.escape(job.message, 120)}{left}")


def overview() -> None:
    """Data sets and models, side by side."""
    ws = ui.workspace()
    left, right = ui.beside(1, 1, narrowest=330)
    with left:
        st.subheader("Models", anchor=False)
        models = store.models(ws)
        for row in models[:8]:
            model_card(row)
        if not models:
            ui.empty(
                "No model yet", "Build one from a data set and a bank of concepts.", screen="build", action="Build"
            )
    with right:
        st.subheader("Data sets", anchor=False)
        for row in store.datasets(ws)[:8]:
            dataset_card(row)


ui.header(
    "Pellucid",
    "See which concepts decided, change your mind about one, keep the change, take the model away.",
    command=ui.command("models", "list"),
)
if jobs.jobs(ui.workspace(), active=True):
    running()
chosen, stories = ui.chosen(), st.container()
overview()
with stories:  # they may have to be looked for, once
    guided(*chosen)
    new_place()
