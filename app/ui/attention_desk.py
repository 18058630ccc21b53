"""One image through the encoder's attention: what every head looks at, and the decision when some are switched off."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import charts, store
from app.ui.gallery import concept_choice
from app.ui.loaded import Scene
from app.ui.maps import place_values, seeing_encoder
from app.ui.pieces import beside, callback, chart, guarded, table
from app.ui.text import escape, percent, plural, signed
from cbm.errors import EncoderError, PellucidError

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from cbm.encoders import TextEncoder
    from probes.head_effects import HeadEffects, Look

LOOKS, ADDS = "What it looks at", "What it adds to the concept"
MEANS, CLASSES, CONCEPTS = 32, 5, 6


def attends(scene: Scene) -> bool:
    """Whether the encoder has attention that can be looked into."""
    from probes.gated import head_count

    try:
        return head_count(seeing_encoder(scene))[0] > 0
    except EncoderError:
        return False


def one_image(scene: Scene) -> "tuple[Image, Tensor, tuple[int, int]]":
    """What the encoder sees of the selected image, its pixels, and its patches from top to bottom and left to right."""
    encoder, image = seeing_encoder(scene), scene.data.ids[scene.image]
    frame, seen = _seen(_key(scene, encoder), image, scene, encoder)
    return frame, _pixels(scene, encoder, [image]), seen.grid


@st.fragment
@guarded
def attention_desk(scene: Scene) -> None:
    """The grid of heads at the left, the chosen head and what its switch does at the right; below, places and rollout."""
    from probes.gated import head_count

    encoder = seeing_encoder(scene)
    blocks, heads = head_count(encoder)
    names = [[f"{b + 1}.{h + 1}" for h in range(heads)] for b in range(blocks)]
    every = [name for row in names for name in row]
    frame, seen = _seen(_key(scene, encoder), scene.data.ids[scene.image], scene, encoder)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        with st.container(width=340):
            concept = concept_choice(scene, "Concept")
        effects = _effects(scene, encoder, seen, concept)
        shown = st.segmented_control(
            "Draw", [LOOKS, ADDS], default=LOOKS, required=True, key="draw", bind="query-params", disabled=effects is None
        )  # fmt: skip
    attending = shown == LOOKS or effects is None
    values = seen.attention() if attending or effects is None else effects.places[0]
    off = [name for name in st.session_state.get("off", st.query_params.get_all("off")) if name in every]
    chosen = st.session_state.get("head", st.query_params.get("head"))
    chosen = chosen if chosen in every else every[int(values.flatten(2).abs().amax(2).argmax())]
    grid, one = beside(3, 2, narrowest=110)
    with grid:
        _grid(values, frame, names, chosen, off, attending)
    with one:
        _head(scene, seen, effects, values, frame, every, chosen, concept, attending, chosen in off)
    _decision(scene, encoder, every, heads, concept)
    st.divider()
    _places(scene, seen, frame)


def _grid(
    values: "Tensor", frame: "Image", names: list[list[str]], chosen: str, off: Sequence[str], attending: bool
) -> None:
    from probes.head_pictures import EVEN, heads_png, strength

    scale, (b, h) = strength(values, attending), values.shape[:2]
    sums = values.sum((2, 3)).tolist()
    told = {name: _amount(sums[i][j], attending) for i, row in enumerate(names) for j, name in enumerate(row)}
    clicked = chart(
        charts.clickable(
            heads_png(values, frame, scale=scale), names, height=min(760, 60 + 104 * b), told=told, chosen=chosen, crossed=off,
            rows=[f"layer {i + 1}" for i in range(b)], columns=[f"head {i + 1}" for i in range(h)],
            ratio=frame.height / frame.width,
        ),
        alt=f"{b} layers of {h} heads; the strongest is head {max(told, key=lambda name: abs(_flat(names, sums, name)))}",
        key="heads",
        table=table(((name, _flat(names, sums, name)) for name in told), ["head", "sum over the image"]),
        note=(
            f"Full colour: {scale * 100:.0f} % of the attention on one place, {EVEN} times an even share."
             if attending else f":blue[Blue] adds to the score, :orange[orange] takes away; full colour at {signed(scale)}."
        ),
        on_select="rerun",
    )  # fmt: skip
    _take(clicked, "head")


def _flat(names: list[list[str]], sums: list[list[float]], name: str) -> float:
    b, h = (int(part) - 1 for part in name.split("."))
    return sums[b][h]


def _amount(value: float, attending: bool) -> str:
    return f"{percent(min(value, 1.0))} on the image" if attending else f"adds {signed(value)}"


def _take(clicked: Sequence[dict[str, object]], key: str) -> None:
    """Let a new click choose; one that was taken already must not undo what was chosen since."""
    name = next((str(_first(point["customdata"])) for point in clicked if "customdata" in point), "")
    if name and name != st.session_state.get(f"{key}_clicked"):
        st.session_state[f"{key}_clicked"] = st.session_state[key] = name
        st.rerun(scope="fragment")


def _first(data: Any) -> object:
    return data[0] if isinstance(data, list | tuple) else data


def _head(
    scene: Scene, seen: "Look", effects: "HeadEffects | None", values: "Tensor", frame: "Image", every: list[str],
    chosen: str, concept: str, attending: bool, off: bool,
) -> None:  # fmt: skip
    """The chosen head enlarged, in numbers, and its switch."""
    from probes.head_pictures import head_png, strength

    st.session_state["head"] = chosen
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.selectbox("Head", every, key="head", bind="query-params", width=120, help="Layer and head")
        st.button(
            "Switch on" if off else "Switch off", icon=":material/toggle_on:" if off else ":material/toggle_off:",
            type="secondary" if off else "primary", key="switch", on_click=_switch, args=(chosen,),
            help="It then gives what it gives on average over 32 images, whatever it sees",
        )  # fmt: skip
    b, h = (int(part) - 1 for part in chosen.split("."))
    picture = head_png(values[b, h], frame, scale=strength(values, attending))
    y, x = divmod(int(values[b, h].abs().argmax()), values.shape[3])
    st.image(picture, width="stretch", alt=f"{_spelled(chosen)}, strongest in row {y + 1}, column {x + 1}")
    share = seen.attention()[b, h]
    lines = [
        f"Of its attention {percent(min(float(share.sum()), 1.0))} is on the image, {percent(float(share.max()))} on one place."
    ]
    if effects is not None:
        lines.append(f"It adds **{signed(float(effects.heads[0, b, h]))}** to the score of {escape(concept)}.")
    st.markdown(" ".join(lines))


def _spelled(name: str) -> str:
    b, h = name.split(".")
    return f"layer {b}, head {h}"


@callback
def _switch(name: str) -> None:
    off = list(st.session_state.get("off", ()))
    st.session_state["off"] = [n for n in off if n != name] if name in off else [*off, name]


@callback
def _all_on() -> None:
    st.session_state["off"] = []


def _decision(scene: Scene, encoder: "TextEncoder", every: list[str], heads: int, concept: str) -> None:
    """The decision and the concepts' scores with the switched-off heads, beside those of the whole encoder."""
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        off = st.multiselect(
            "Switched off",
            every,
            key="off",
            bind="query-params",
            placeholder="no head",
            width=560,
        )
        st.button("All on", icon=":material/restart_alt:", disabled=not off, key="all_on", on_click=_all_on)
    if not off:
        st.caption("Switch heads off to see what the decision and the concepts' scores lose.")
        return
    x = _without(scene, encoder, tuple(off), heads)
    model, at = scene.model, scene.data.x[scene.image][None]
    before, after = model.probabilities(at)[0], model.probabilities(x)[0]
    old, new = int(before.argmax()), int(after.argmax())
    said = (
        f"Still **{escape(model.classes[new])}**" if old == new
        else f"**{escape(model.classes[old])}** becomes **{escape(model.classes[new])}**"
    )  # fmt: skip
    st.markdown(f"{said}, {percent(float(after[new]))} :gray[with {plural(len(off), 'head')} off]")
    left, right = beside(1, 1, narrowest=300)
    with left:
        order = before.maximum(after).topk(min(CLASSES, len(before))).indices.tolist()
        names, was, now = [model.classes[c] for c in order], before[order].tolist(), after[order].tolist()
        chart(
            charts.before_after(names, was, now, axis="probability"),
            alt="; ".join(f"{n} {percent(w)} to {percent(v)}" for n, w, v in zip(names, was, now, strict=True)),
            key="without", table=table(zip(names, was, now, strict=True), ["class", "all heads", "without"]),
            note="Open circle: all heads. Filled: without.",
        )  # fmt: skip
    with right:
        _scores(scene, at, x, concept)


def _scores(scene: Scene, at: "Tensor", x: "Tensor", concept: str) -> None:
    """The concepts whose scores the heads move most, the selected one among them."""
    model, ranges = scene.model, scene.ranges
    was, now = model.scores(at)[0], model.scores(x)[0]
    width = (ranges.high - ranges.low).clamp(min=1e-8)
    order = ((now - was) / width).abs().argsort(descending=True).tolist()
    chosen = list(dict.fromkeys([model.concept(concept), *order]))[:CONCEPTS]
    rows = [(model.concepts[k], float(now[k] - was[k])) for k in chosen]
    chart(
        charts.bars(rows, axis="change of the score",
                    details=[f"{signed(float(was[k]))} with all heads, {signed(float(now[k]))} without" for k in chosen]),
        alt=f"Change of scores: {charts.spoken(rows)}", key="moved",
        table=table(((model.concepts[k], float(was[k]), float(now[k])) for k in chosen), ["concept", "all heads", "without"]),
        note="The selected concept, then those that change most for their range.",
    )  # fmt: skip


def _places(scene: Scene, seen: "Look", frame: "Image") -> None:
    """The image to click for a place's concepts, and the rollout beside it."""
    from probes.head_pictures import head_png

    y, x = seen.grid
    names = [[f"row {r + 1}, column {c + 1}" for c in range(x)] for r in range(y)]
    flow = seen.rollout()
    top = divmod(int(flow.argmax()), x)
    usual = names[top[0]][top[1]]
    chosen = st.session_state.get("place", st.query_params.get("place", usual))
    picture, told = beside(2, 3, narrowest=110)
    with picture:
        st.markdown("**Click a place**")
        scale = 8 / (y * x) * float(flow.sum())
        clicked = chart(
            charts.clickable(head_png(flow, frame, scale=scale), names, height=330, chosen=chosen, ratio=_cell(frame, y, x)),
            alt=f"Rollout of the attention, strongest in {names[top[0]][top[1]]}", key="picture", on_select="rerun",
            note="Shaded: rollout, where information can come from through all layers; the same for every concept.",
            table=table(((names[r][c], float(flow[r, c])) for r in range(y) for c in range(x)), ["place", "rollout"]),
        )  # fmt: skip
        _take(clicked, "place")
    with told:
        _concepts_at(scene, chosen, [name for row in names for name in row])


def _cell(frame: "Image", y: int, x: int) -> float:
    return (frame.height / y) / (frame.width / x)


def _concepts_at(scene: Scene, place: str, places: list[str]) -> None:
    """What one place adds to the scores of concepts."""
    st.session_state["place"] = place if place in places else places[0]
    st.selectbox("Concepts of the place in", places, key="place", bind="query-params", width=280)
    try:
        values = place_values(scene, places.index(st.session_state["place"]))
    except PellucidError as error:
        st.caption(escape(f"{error.message}.", 300))
        return
    rows = sorted(zip(scene.model.concepts, values, strict=True), key=lambda pair: -abs(pair[1]))[: CONCEPTS + 2]
    chart(
        charts.bars(rows, axis="added to the score by this place"), alt=f"This place adds: {charts.spoken(rows)}",
        key="at_place", table=table(rows, ["concept", "added"]),
        note="From the exact decomposition: all places and a rest sum to each score.",
    )  # fmt: skip


def _effects(scene: Scene, encoder: "TextEncoder", seen: "Look", concept: str) -> "HeadEffects | None":
    """What heads add to the concept, where that is known."""
    from probes.head_effects import effects_of_heads

    try:
        return effects_of_heads(scene.model, encoder, seen, [concept])
    except PellucidError as error:
        st.caption(escape(f"{error.message}.", 300))
        return None


def _without(scene: Scene, encoder: "TextEncoder", off: tuple[str, ...], heads: int) -> "Tensor":
    """The image's embedding with these heads at their mean."""
    import torch

    from probes.gated import embedded, head_count

    gates = torch.ones(head_count(encoder))
    for name in off:
        b, h = (int(part) - 1 for part in name.split("."))
        gates[b, h] = 0
    pixels = _pixels(scene, encoder, [scene.data.ids[scene.image]])
    return embedded(encoder, pixels, gates, instead=_means(_key(scene, encoder), scene, encoder))


def _key(scene: Scene, encoder: "TextEncoder") -> str:
    return f"{scene.ws.settings.home}|{scene.dataset.fingerprint}|{encoder.contract}"


def _pixels(scene: Scene, encoder: "TextEncoder", ids: Sequence[str]) -> "Tensor":
    import torch

    from cbm.images import open_image

    rows = store.images_by_id(scene.ws, scene.dataset.name, list(ids))
    return torch.stack([torch.from_numpy(encoder.preprocessing(open_image(row.path))) for row in rows])


@st.cache_resource(show_spinner="Looking at the image …", max_entries=16)
def _seen(key: str, image: str, _scene: Scene, _encoder: "TextEncoder") -> "tuple[Image, Look]":
    from cbm.encoders import check_contract
    from cbm.images import open_image
    from probes.head_effects import look

    check_contract(_encoder, _scene.model.recipe.contract or _encoder.contract)
    picture = open_image(store.images_by_id(_scene.ws, _scene.dataset.name, [image])[0].path)
    pixels = _pixels(_scene, _encoder, [image])
    return _encoder.preprocessing.frame(picture), look(_encoder, pixels[0])


@st.cache_resource(show_spinner="Looking at some images …", max_entries=2)
def _means(key: str, _scene: Scene, _encoder: "TextEncoder") -> "list[Tensor]":
    from probes.gated import mean_outputs

    step = max(1, len(_scene.data) // MEANS)
    return mean_outputs(_encoder, _pixels(_scene, _encoder, _scene.data.ids[::step][:MEANS]))
