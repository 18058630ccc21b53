"""Intervene: change your mind about some concepts of one image and watch the decision follow."""

import streamlit as st
import torch

from app import charts, store, ui
from app.casebook import KEPT, Entry, record
from app.ui import case_desk
from app.ui.conditional_tables import conditional_tables, has_joint
from app.ui.many_images import TYPICAL, answers, asked_how, many_images
from app.ui.several_concepts import several
from cbm.bottleneck import Clamp, clamp_of
from cbm.edits import SetScore
from cbm.errors import PellucidError
from cbm.explanations import explain, rank_changes
from probes.corrections import TrueScores
from probes.interventions import Question, ask_next

SHOWN, CLASSES, QUESTIONS = 8, 6, 3
SLIGHT = 0.001  # expected change of a probability that is not worth a question
IMAGE, MANY, GENERAL = "One image", "Many images", "Conditionals"
LEAST, FOLLOWED = 0.01, 8  # a probability that moved by less is not worth a line; lines shown


@st.fragment
@ui.guarded
def desk(scene: ui.Scene) -> None:
    """The picture and what becomes of the decision at the left, the concepts to move at the right."""
    image = scene.data.ids[scene.image]
    moved = known_draft(scene, image)
    looks, moves = ui.beside(2, 3, narrowest=115)
    with moves:
        ask(scene, image, moved)
        followed(scene, moved)
        sliders(scene, image, moved)
    with looks:
        consequences(scene, image, moved)
    case_desk.your_case(scene, image, moved)
    case_desk.case_log(scene)


def where(scene: ui.Scene) -> None:
    """Where the model sees the concepts that can be moved: a reason to contradict it."""
    if not ui.has_maps(scene):
        return
    label = "Where the model sees these concepts"
    with st.expander(label, icon=":material/map:", on_change="rerun", key="where") as box:
        if box.open:  # the encoder takes seconds to load
            why = explain(scene.model, scene.data.x[scene.image])
            moved = known_draft(scene, scene.data.ids[scene.image])
            ui.concept_maps(scene, [*moved, *(c.name for c in why.concepts[:SHOWN])])


def known_draft(scene: ui.Scene, image: str) -> dict[str, float]:
    """What the person said of this image so far, for the concepts that the model still has."""
    kept = store.draft(scene.ws, scene.row.name, image)
    return {name: value for name, value in kept.items() if name in scene.model.concepts}


def consequences(scene: ui.Scene, image: str, moved: dict[str, float]) -> None:
    """The picture, the decision before and after, and every class that changed its rank."""
    at, classes = scene.image, scene.model.classes
    big = ui.thumbnails(scene, [at], 384)
    if at in big:
        st.image(big[at], width="stretch", alt=ui.spoken(scene, at), output_format="JPEG")
    before = scene.outcome.probabilities[at]
    after = scene.model.probabilities(scene.data.x[at][None], clamp(scene, moved))[0]
    old, new = int(before.argmax()), int(after.argmax())
    label = scene.data.classes[int(scene.data.labels[at])]
    with st.container(gap="xsmall"):
        if old == new:
            st.markdown(f"Still **{ui.escape(classes[new])}**, {ui.percent(float(after[new]))}" if moved else
                        f"**{ui.escape(classes[old])}**, {ui.percent(float(before[old]))}")  # fmt: skip
        else:
            st.markdown(
                f"**{ui.escape(classes[old])}** becomes **{ui.escape(classes[new])}**, {ui.percent(float(after[new]))}"
            )
        ui.verdict_badge(classes[new] == label, label)
    show_classes(scene, before, after)
    flips(classes, before, after)


def followed(scene: ui.Scene, moved: dict[str, float]) -> None:
    """The concepts that moved although nobody touched them; only a model that infers its scores has any."""
    if not moved or not has_joint(scene):
        return
    before = scene.outcome.scores[scene.image]
    after = scene.model.scores(scene.data.x[scene.image][None], clamp(scene, moved))[0]
    rows = sorted(
        zip(scene.model.concepts, before.tolist(), after.tolist(), strict=True), key=lambda r: -abs(r[2] - r[1])
    )
    shown = [row for row in rows if row[0] not in moved and abs(row[2] - row[1]) >= LEAST][:FOLLOWED]
    with st.container(border=True, gap="xsmall"):
        st.markdown("**Moved with your changes**", help="Inferred again: what depends on the concepts that you set")
        if not shown:
            st.caption("No other concept depends on your changes by as much as 1 % here; the image shows them well.")
        for name, old, new in shown:
            arrow = ":material/arrow_upward:" if new > old else ":material/arrow_downward:"
            st.markdown(f"{arrow} {ui.escape(name)} :gray[{ui.percent(old)} to {ui.percent(new)}]")


def show_classes(scene: ui.Scene, before: torch.Tensor, after: torch.Tensor) -> None:
    """The most probable classes, before and after."""
    classes = scene.model.classes
    top = torch.maximum(before, after).topk(min(CLASSES, len(classes))).indices
    order = top[after[top].argsort(descending=True)].tolist()
    names, old, new = [classes[c] for c in order], before[order].tolist(), after[order].tolist()
    ui.chart(
        charts.before_after(names, old, new, axis="probability"),
        alt="Probabilities now: " + ", ".join(f"{n} {ui.percent(p)}" for n, p in zip(names[:3], new, strict=False)),
        key="classes",
        table=ui.table(zip(names, old, new, strict=True), ["class", "model", "with your changes"]),
        note="Open circle: the model. Filled: with your changes.",
    )


def flips(classes: tuple[str, ...], before: torch.Tensor, after: torch.Tensor) -> None:
    """Classes that changed places among the first five."""
    named = [dict(zip(classes, p.tolist(), strict=True)) for p in (before, after)]
    moves = [m for m in rank_changes(*named) if min(m[1], m[2]) <= 3][:4]
    for name, old, new in moves:
        arrow = ":material/arrow_upward:" if new < old else ":material/arrow_downward:"
        st.caption(f"{arrow} {ui.escape(name)}: place {old} to {new}")


def clamp(scene: ui.Scene, moved: dict[str, float]) -> Clamp | None:
    """What the person said, as the library wants it."""
    return clamp_of(scene.model.concepts, moved) if moved else None


def ask(scene: ui.Scene, image: str, moved: dict[str, float]) -> None:
    """The concepts whose answer would change this decision most; nothing where annotations do not say what yes means."""
    try:
        known = answers(scene)
        questions = ask_next(scene.model, scene.data.x[scene.image], known, said=moved, count=QUESTIONS)
    except PellucidError:  # the view of many images says why
        return
    worth = [question for question in questions if question.change >= SLIGHT]
    if not questions:
        return
    with st.container(border=True, gap="xsmall"):
        st.markdown(
            "**Ask next**",
            help="The concepts whose answer is expected to change the decision's probability most: both answers count, "
            "each as probable as the concept's calibrated score says.",
        )
        if not worth:
            st.caption("No single answer is expected to change this decision.")
        for asked in worth:
            question(scene, image, asked, known)


def question(scene: ui.Scene, image: str, asked: Question, known: TrueScores) -> None:
    """A concept to ask about: how likely it is, what an answer would do, and the two answers."""
    j = known.concepts.index(asked.concept)
    told = f"{ui.percent(asked.probability)} likely, moves it by {ui.percent(asked.change)}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.markdown(f"**{ui.escape(asked.concept)}** :gray[{told}]", width="stretch")
        for word, end, then in (("Yes", known.present, asked.if_present), ("No", known.absent, asked.if_absent)):
            st.button(
                word, key=f"{word}|{image}|{asked.concept}", type="tertiary", help=f"Then it is {ui.escape(then)}",
                on_click=say, args=(scene, image, [asked.concept], round(float(end[j]), 4)),
            )  # fmt: skip


def sliders(scene: ui.Scene, image: str, moved: dict[str, float]) -> None:
    """One slider a concept: those that weigh most, the selected one, those already moved, and any that is searched."""
    why = explain(scene.model, scene.data.x[scene.image])
    chosen = ui.selection().concept
    also = st.multiselect(
        "Move another concept", scene.model.concepts, key="also", bind="query-params", placeholder="Search concepts"
    )
    wanted = [chosen, *also, *moved, *(c.name for c in why.concepts[:SHOWN])]
    names = [name for name in dict.fromkeys(wanted) if name in scene.model.concepts]
    toolbar(scene, image, moved)
    with st.container(gap="xsmall"):
        for name in names:
            slider(scene, image, name, moved)


def toolbar(scene: ui.Scene, image: str, moved: dict[str, float]) -> None:
    """What was changed, reset of everything, and the way to make it last."""
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(
            f"{ui.plural(len(moved), 'concept')} changed; kept until you reset." if moved else "Nothing changed yet."
        )
        with st.container(horizontal=True, width="content", gap="small"):
            st.button(
                "Reset all", icon=":material/restart_alt:", disabled=not moved, key="reset_all", shortcut="Alt+Backspace",
                on_click=say, args=(scene, image, list(moved), None),
            )  # fmt: skip
            with st.popover("Set several", icon=":material/checklist:"):
                several(scene, image, say_each)
            with st.popover("Keep as edit", icon=":material/bookmark_add:", disabled=not moved):
                keeping(scene, image, moved)


def keeping(scene: ui.Scene, image: str, moved: dict[str, float]) -> None:
    """What keeping the changes means, and the button for it."""
    if not moved:
        st.caption("Nothing changed yet.")
        return
    st.markdown("An edit gives these concepts the same score on **every** image, whatever it shows:")
    st.markdown("\n".join(f"- {ui.escape(name)}: {charts.signed(value)}" for name, value in moved.items()))
    st.button("Keep", type="primary", on_click=keep, args=(scene, image, moved), key="keep")


def slider(scene: ui.Scene, image: str, name: str, moved: dict[str, float]) -> None:
    """A concept: its slider, "unknown", and reset. The database has the truth, so every run starts from there."""
    k = scene.model.concept(name)
    model = float(scene.outcome.scores[scene.image, k])
    low, high, mean = limits(scene, k)
    value = min(max(moved.get(name, model), low), high)
    key = f"{scene.row.name}|{image}|{name}"
    unknown = name in moved and abs(moved[name] - mean) < 1e-6
    st.session_state[f"score|{key}"], st.session_state[f"unknown|{key}"] = value, unknown
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        with st.container(gap=None, width="stretch"):
            mark = ":material/edit: " if name in moved else ""
            st.markdown(f"{mark}**{ui.escape(name)}** :gray[model {charts.signed(model)}]")
            st.slider(
                f"{name}, model {charts.signed(model)}",  # read aloud as it is, Markdown included
                low,
                high,
                step=(high - low) / 200,
                format="%+.2f",
                key=f"score|{key}",
                on_change=slid,
                args=(scene, image, name, f"score|{key}"),
                label_visibility="collapsed",
            )
            st.image(
                charts.tick((model - low) / (high - low)), width="stretch", alt=f"The model says {charts.signed(model)}"
            )
        st.toggle(
            "unknown", key=f"unknown|{key}", help="As if nobody had looked: the mean of the training images",
            on_change=say, args=(scene, image, [name], None if unknown else mean),
        )  # fmt: skip
        st.button(
            "Reset", icon=":material/undo:", type="tertiary", disabled=name not in moved, key=f"reset|{key}",
            help="Back to what the model says", on_click=say, args=(scene, image, [name], None),
        )  # fmt: skip


def limits(scene: ui.Scene, k: int) -> tuple[float, float, float]:
    """Range of a concept's slider, 98 % of what occurs and the model's own value, and the training mean."""
    model, ranges = float(scene.outcome.scores[scene.image, k]), scene.ranges
    if has_joint(scene):  # a probability
        return 0.0, 1.0, round(float(ranges.mean[k]), 4)
    low, high = min(float(ranges.low[k]), model), max(float(ranges.high[k]), model)
    return low, high, round(min(max(float(ranges.mean[k]), low), high), 4) + 0.0  # no minus before a zero


@ui.callback
def slid(scene: ui.Scene, image: str, name: str, key: str) -> None:
    """Take a slider's value over, kept within its range whatever the browser sent."""
    low, high, _ = limits(scene, scene.model.concept(name))
    say(scene, image, [name], round(min(max(float(st.session_state[key]), low), high), 4))


@ui.callback
def say(scene: ui.Scene, image: str, names: list[str], value: float | None) -> None:
    """Set these concepts' scores on the image, or give them back to the model."""
    kept = store.draft(scene.ws, scene.row.name, image)
    rest = {name: old for name, old in kept.items() if name not in names}
    told(scene, image, kept, rest if value is None else {**rest, **dict.fromkeys(names, value)})


def say_each(scene: ui.Scene, image: str, scores: dict[str, float]) -> None:
    """Set each concept's own score on the image."""
    kept = store.draft(scene.ws, scene.row.name, image)
    told(scene, image, kept, {**kept, **scores})


def told(scene: ui.Scene, image: str, before: dict[str, float], after: dict[str, float]) -> None:
    """Keep what is set now, and log what changed."""
    store.save_draft(scene.ws, scene.row.name, image, after)
    case_desk.moved(scene, image, before, after)


@ui.callback
def keep(scene: ui.Scene, image: str, moved: dict[str, float]) -> None:
    """Make the changes an edit of the model, for every image."""
    past = scene.history
    edits = [SetScore(name, value) for name, value in moved.items()]
    store.append(scene.ws, scene.row.name, edits, branch=past.branch, expect_version=past.version)
    store.save_draft(scene.ws, scene.row.name, image, {})
    record(scene.ws, scene.row.name, [
        Entry(image, KEPT, branch=past.branch, version=past.version, concept=name, after=value)
        for name, value in moved.items()
    ])  # fmt: skip
    ui.announce(f"{ui.plural(len(edits), 'edit')} kept; undo on the screen Edit.")
    st.rerun()  # the whole page, since the model is another one now


def reproduced(scene: ui.Scene, view: str) -> None:
    """What reproduces the screen."""
    if view == MANY:
        ui.reproduce(
            ui.command("intervene", ui.reference(scene), "--policy", "coop", "--edge", str(TYPICAL),
                               *asked_how().options()),
            ui.script(
                scene,
                "from probes import intervention_curve",
                f'intervention_curve(model, images, policy="coop", edge={TYPICAL})',
            ),
        )  # fmt: skip
        return
    image = scene.data.ids[scene.image]
    if view == GENERAL:
        asked = ui.script(
            scene, "from probes import conditional_probabilities", "conditional_probabilities(model, images)"
        )
        ui.reproduce("", asked)
        return
    moved = known_draft(scene, image)
    ui.reproduce(
        ui.command("explain", ui.reference(scene), image),
        ui.script(
            scene,
            "from cbm.bottleneck import clamp_of",
            f"x = images.x[images.ids.index({image!r})]",
            f"cbm.explain(model, x, clamp=clamp_of(model.concepts, {moved!r}))",
        ),
    )


copy = ui.heading("Intervene", "What would the model say if it saw this concept as you do?")
scene = ui.scene()
ui.need_concepts(scene)
view = st.segmented_control(
    "What to change", [IMAGE, MANY, *([GENERAL] if has_joint(scene) else [])], default=IMAGE, required=True, key="scope", bind="query-params",
    label_visibility="collapsed",
)  # fmt: skip
with copy:
    reproduced(scene, str(view))
if view == MANY:
    many_images(scene)
elif view == GENERAL:
    conditional_tables(scene)
else:
    ui.browse(scene)
    st.space("xsmall")
    desk(scene)
    where(scene)
