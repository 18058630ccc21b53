"""Explain: why one image was decided as it was, and what one class looks for."""

import numpy as np
import pandas as pd
import streamlit as st
import torch

from app import cases, charts, store, ui
from app.ui import case_desk
from cbm.counterfactuals import Counterfactual, smallest_change
from cbm.explanations import Explanation, Flip, class_weights, explain, nearest, smallest_flip

SHOWN = 10
IMAGE, CLASS = "One image", "One class"
LOW = " Where it says (low), the image shows the concept less than the average training image, and that is what counts."


def one_image(scene: ui.Scene) -> None:
    """Picture and verdict at the left, what decided at the right; then what would change it and what is alike."""
    ui.browse(scene)
    st.space("xsmall")
    looks, reasons = ui.beside(1, 2, narrowest=220)
    with looks:
        ui.verdict(scene)
    with reasons:
        why = explain(scene.model, scene.data.x[scene.image], target=ui.class_choice(scene, "Explain the logit of"))
        decided(scene, why)
        concept_images(scene, why)
    flip(scene)
    alike(scene)


def decided(scene: ui.Scene, why: Explanation) -> None:
    """The concepts behind one class's logit: as bars, as a sum, and where in the image their scores come from."""
    used = [c for c in why.concepts if c.contribution] or list(why.concepts[:1])
    shown, others = used[:SHOWN], why.concepts[min(SHOWN, len(used)) :]
    parts, rest = [(c.name, c.contribution) for c in shown], sum(c.contribution for c in others)
    low = [name for name in scene.model.concepts if below_average(scene, name)]
    views = ["What each concept adds", "How it adds up", *(["Where"] if ui.has_maps(scene) else [])]
    bars, adds_up, *where = st.tabs(views, key="why", bind="query-params")
    with bars:
        clicked = ui.chart(
            charts.bars(
                parts,
                axis=f"added to the logit of {charts.label(why.target)}",
                details=[
                    f"score on this image {charts.signed(c.score)}" + (", below the average" if c.name in low else "")
                    for c in shown
                ],
                low=low,
            ),
            alt=f"What speaks for and against {why.target}: {charts.spoken(parts)}",
            key="contributions",
            table=pd.DataFrame(
                [(c.name, c.score, c.contribution) for c in why.concepts], columns=["concept", "score", "contribution"]
            ),
            note=f"The other {len(others)} concepts add {charts.signed(rest)} together. Click a bar to see its concept."
            + (LOW if any(c.name in low for c in shown) else ""),
            on_select="rerun",
        )
        if clicked and clicked[0].get("customdata") in scene.model.concepts:
            ui.select(concept=str(clicked[0]["customdata"]))
    with adds_up:
        sums = [("bias", why.bias), *parts, ("other concepts", rest), ("residual", why.residual), ("logit", why.logit)]
        ui.chart(
            charts.waterfall(
                why.bias, parts, rest=rest, residual=why.residual, logit=why.logit, target=why.target, low=low
            ),
            alt=f"The logit {charts.signed(why.logit)} of {why.target} as a sum that starts at the bias",
            key="waterfall",
            table=ui.table(sums, ["part", "adds"]),
            note="The parts add up to the logit exactly." if why.exact else "A part is what is lost without it.",
        )
    for tab in where:
        with tab:
            if tab.open:  # the encoder takes seconds to load
                ui.concept_maps(scene, [c.name for c in used])


def below_average(scene: ui.Scene, name: str) -> bool:
    """Whether the image shows a concept less than the training images do on average."""
    k = scene.model.concept(name)
    return float(scene.outcome.scores[scene.image, k]) < float(scene.ranges.mean[k])


def concept_images(scene: ui.Scene, why: Explanation) -> None:
    """The images on which the selected concept is strongest."""
    name = ui.selection().concept
    name = name if name in scene.model.concepts else why.concepts[0].name
    scores = scene.outcome.scores[:, scene.model.concept(name)]
    here = scores[scene.image]
    below = float((scores < here).float().mean())
    st.markdown(f"**{ui.escape(name)}**: stronger here than on {ui.percent(below)} of all images. It is strongest on")
    ui.strip(scene, scores.topk(min(6, len(scores))).indices.tolist(), key="concept", columns=6)


def flip(scene: ui.Scene) -> None:
    """The smallest change of one concept that changes the decision, and the smallest set where one does not do."""
    limits, x = scene.ranges, scene.data.x[scene.image]
    found = smallest_flip(scene.model, x, low=limits.low, high=limits.high)
    with st.container(border=True, gap="small"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(_flip_said(found), width="stretch")
            if found is not None:
                ui.go_to("intervene", "Try it", icon=":material/tune:", concept=found.concept, image=image_id(scene))
        searching = not scene.model.exact  # takes seconds
        label = "Search for a set of changes"
        if searching and not st.button(label, icon=":material/search:", type="tertiary", key="search_set"):
            return
        fewest = smallest_change(scene.model, x, low=limits.low, high=limits.high, spread=limits.deviation)
        if fewest is None:
            st.caption("The search found no set." if searching else "No set of concepts does either.")
        elif len(fewest.changes) > 1 or found is None:
            together(scene, fewest)


def _flip_said(found: Flip | None) -> str:
    """The single change in words, as Markdown."""
    if found is None:
        return "No single concept, moved within what occurs in the data, changes this decision."
    verb = "more" if found.to > found.score else "less"
    return (
        f"**Smallest change that flips it:** {verb} **{ui.escape(found.concept)}**, from {charts.signed(found.score)} "
        f"to {charts.signed(found.to)}. Then it is **{ui.escape(found.becomes)}**."
    )


def together(scene: ui.Scene, found: Counterfactual) -> None:
    """The concepts that turn the decision together, and a button that sets them on Intervene."""
    counted = ui.plural(len(found.changes), "change")
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(
            f"**{counted} together** make it **{ui.escape(found.becomes)}**"
            + (", and fewer cannot:" if found.exact else "; a search found them, fewer may do:"),
            width="stretch",
            help="Each concept stays within 98 % of what the training images show. The order is how far it has to move, "
            "in standard deviations of its score.",
        )
        if ui.screen_exists("intervene") and st.button(
            "Try them", icon=":material/tune:", key="try_together", type="tertiary",
            help="Set these scores on Intervene; what was set on this image before is replaced",
        ):  # fmt: skip
            try_together(scene, {change.concept: change.to for change in found.changes})
    arrows = {True: ":material/arrow_upward:", False: ":material/arrow_downward:"}
    with st.container(horizontal=True, gap="medium"):
        for change in found.changes:
            st.markdown(
                f"{arrows[change.to > change.score]} **{ui.escape(change.concept)}** "
                f":gray[{charts.signed(change.score)} to {charts.signed(change.to)}]",
                width="content",
            )


def try_together(scene: ui.Scene, scores: dict[str, float]) -> None:
    """Set the scores on the image and go to the screen where they can be moved."""
    image = image_id(scene)
    before = store.draft(scene.ws, scene.row.name, image)
    store.save_draft(scene.ws, scene.row.name, image, scores)
    case_desk.moved(scene, image, before, scores)
    st.switch_page(ui.FOLDER / "intervene.py", query_params=ui.parameters(image=image))


def alike(scene: ui.Scene) -> None:
    """The training images whose concepts are most like this one's."""
    train = np.flatnonzero((scene.data.splits == "train") & (np.arange(len(scene.data)) != scene.image))
    if not len(train):
        return
    scores, spread = scene.outcome.scores, scene.ranges.deviation.clamp(min=1e-6)
    found = nearest(scores[torch.as_tensor(train)], scores[scene.image], count=8, importance=1 / spread)
    st.subheader("Training images with the most similar concepts", anchor=False)
    ui.strip(scene, train[found].tolist(), key="alike")


def one_class(scene: ui.Scene) -> None:
    """What a class looks for, which classes it is mixed up with, and what tells them apart."""
    target = ui.class_choice(scene, "Class")
    place = scene.model.class_(target)
    counts = confusion(scene)
    mixed = cases.confused_pairs(counts, place)[:3]
    weights, flows = ui.beside(1, 1, narrowest=330)
    with weights:
        used = class_weights(scene.model, target)
        st.subheader(f"What {ui.escape(target)} looks for", anchor=False)
        more = f", the {min(14, len(used))} largest are shown" if len(used) > 14 else ""
        ui.chart(
            charts.bars(used[:14], axis=f"weight for {charts.label(target)}"),
            alt=f"Weights of {target}: {charts.spoken(used)}",
            key="weights",
            table=ui.table(used, ["concept", "weight"]),
            note=f"It uses {len(used)} of {len(scene.model.concepts)} concepts{more}.",
        )
    with flows:
        st.subheader("Shared with the classes it is taken for", anchor=False)
        links_chart(scene, [place, *(other for other, _, _ in mixed)])
    separate(scene, place, mixed)
    st.subheader(f"Images of {ui.escape(target)}, the surest first", anchor=False)
    of_class = np.flatnonzero(scene.outcome.labels == place)
    sure = scene.outcome.probabilities[torch.as_tensor(of_class), place].argsort(descending=True)[:8].numpy()
    ui.strip(scene, of_class[sure].tolist(), key="examples")
    with st.expander(
        "Confusion matrix of all classes", icon=":material/grid_on:", on_change="rerun", key="matrix"
    ) as box:
        if box.open:
            whole_confusion(scene, counts)


def confusion(scene: ui.Scene) -> np.ndarray:
    """Counts of labels and predictions on everything but the training images."""
    held_out = scene.data.splits != "train"
    use = held_out if held_out.any() else ~held_out
    return cases.confusion_counts(scene.outcome.labels[use], scene.outcome.predictions[use], len(scene.model.classes))


def links_chart(scene: ui.Scene, classes: list[int]) -> None:
    """Concepts flowing into a few classes; a click on a concept or class selects it."""
    per_class = max(4, 18 // len(classes))
    names = [scene.model.classes[c] for c in classes]
    links = [(concept, name, w) for name in names for concept, w in class_weights(scene.model, name)[:per_class]]
    alt = f"The {per_class} largest weights into {', '.join(names)}"
    state = st.echarts_chart(charts.sankey(links), height=430, key="sankey", on_select="rerun", alt=alt)
    ui.follow(state.selection.selected, links)
    ui.twin(ui.table(links, ["concept", "class", "weight"]), key="sankey", alt=alt)


def separate(scene: ui.Scene, place: int, mixed: list[tuple[int, int, int]]) -> None:
    """For each class that this one is mixed up with, the concepts that tell the two apart."""
    if not mixed:
        st.info("No image outside the training split is mixed up with this class.", icon=":material/check:")
        return
    st.subheader("Mixed up with", anchor=False)
    weight = scene.model.head.effects()
    train = scene.data.splits == "train"
    use = train if train.any() else ~train
    grid = st.grid(3, min_column_width=230, gap="medium")
    for other, lost, gained in mixed:
        parts = cases.separating(
            weight, scene.outcome.scores[torch.as_tensor(use)], scene.outcome.labels[use], place, other
        )
        order = np.argsort(-np.abs(parts))[:6]
        rows = [(scene.model.concepts[k], float(parts[k])) for k in order]
        name = scene.model.classes[other]
        with grid.cell(), st.container(border=True):
            st.markdown(f"**{ui.escape(name)}**")
            st.caption(f"{ui.plural(lost, 'image')} taken for it, {gained:,} the other way")
            ui.chart(
                charts.bars(rows, axis="adds to the margin between them"),
                alt=f"What tells them apart: {charts.spoken(rows)}",
                key=f"separate_{other}",
                table=ui.table(rows, ["concept", "adds to the margin"]),
            )


def whole_confusion(scene: ui.Scene, counts: np.ndarray) -> None:
    """All classes against all."""
    classes = scene.model.classes
    ui.chart(
        charts.confusion(classes, counts.tolist()),
        alt=f"{int(counts.trace())} of {int(counts.sum())} images on the diagonal",
        key="confusion",
        table=pd.DataFrame(counts, columns=classes, index=classes).reset_index(names="label"),
    )


def image_id(scene: ui.Scene) -> str:
    """Id of the image that is shown."""
    return scene.data.ids[scene.image]


def reproduced(scene: ui.Scene) -> None:
    """What reproduces the screen."""
    target = ui.selection().class_
    chosen = ["--class", target] if target else []
    ui.reproduce(
        ui.command("explain", ui.reference(scene), image_id(scene), *chosen, "--top", str(SHOWN)),
        ui.script(
            scene,
            f"x = images.x[images.ids.index({image_id(scene)!r})]",
            f"cbm.explain(model, x{f', target={target!r}' if target else ''})",
        ),
    )


copy = ui.heading("Explain", "Which concepts decided, and by how much.")
scene = ui.scene()
with copy:
    reproduced(scene)
ui.need_concepts(scene)
view = st.segmented_control(
    "What to explain", [IMAGE, CLASS], default=IMAGE, required=True, key="view", bind="query-params",
    label_visibility="collapsed",
)  # fmt: skip
if view == CLASS:
    one_class(scene)
else:
    one_image(scene)
