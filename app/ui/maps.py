"""Where in the image concepts are: one small map a concept and method, on one scale, beside what the encoder saw."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from app import store
from app.ui.loaded import Scene
from app.ui.pieces import guarded, reproduce, table, twin
from app.ui.recipes import command, reference, script
from app.ui.selection import selection
from app.ui.text import escape, signed

if TYPE_CHECKING:
    from PIL.Image import Image

    from cbm.encoders import TextEncoder
    from probes.decomposition import EmbeddingParts
    from probes.maps import ConceptMap

SHOWN, COMPARED, COLUMNS, PIXELS = 7, 3, 4, 288


def has_maps(scene: Scene) -> bool:
    """Whether concepts of this model can be followed back to places, judged without loading the encoder."""
    from probes.maps import mappable

    return mappable(scene.row.encoder)


@st.fragment
@guarded
def concept_maps(scene: Scene, concepts: Sequence[str]) -> None:
    """What the encoder saw and the maps of some concepts, the selected one first, by one method or several at a time."""
    from probes.maps import METHODS, common_scale, possible_methods, why_not_exact

    encoder = _encoder(scene.row.encoder, store.device(scene.ws), scene.ws)
    methods, opacity = _controls(possible_methods(encoder, scene.model))
    if told := why_not_exact(encoder, scene.model):
        st.caption(f":material/info: {told}")
    names = _names(scene, concepts)[: SHOWN if len(methods) == 1 else COMPARED]
    frame, found = _frame(_key(scene, encoder), scene.data.ids[scene.image], scene, encoder), []
    for method in methods:
        way, scale = METHODS[method], common_scale(scene.outcome.scores, method)
        if len(methods) > 1:
            st.markdown(f"**{way.label}** :gray[{way.says}; full colour at {_limits(method, scale)}]")
        place = st.empty()
        if way.slow:
            place.skeleton(height=140)
        maps = _maps(scene, encoder, method, names)
        with place.container():
            _row(frame, maps, scale, opacity)
        found += maps
    _legend(scene, found, methods)


def _controls(possible: Sequence[str]) -> tuple[list[str], float]:
    """Which methods to show, those that take long last, and how much the maps cover."""
    from probes.maps import METHODS

    chosen = st.pills(
        "Methods",
        possible,
        default=possible[0],
        selection_mode="multi",
        format_func=lambda name: METHODS[name].label,
        key="maps_by",
        bind="query-params",
        width="content",
        wrap=True,
        help="Each answers another question; choose several to see them one below the other.",
    )
    opacity = st.slider("Opacity of the maps", 0, 100, 80, step=5, format="%d %%", key="opacity", width=220)
    methods = [name for name in possible if name in chosen] or [possible[0]]
    return sorted(methods, key=lambda name: METHODS[name].slow), opacity / 100


def _names(scene: Scene, concepts: Sequence[str]) -> list[str]:
    """The selected concept, then the others, each once."""
    chosen = [name for name in (selection().concept,) if name in scene.model.concepts]
    return list(dict.fromkeys([*chosen, *concepts]))


def _row(frame: "Image", maps: "Sequence[ConceptMap]", scale: float, opacity: float) -> None:
    """What the encoder saw, and then a map each concept."""
    from probes.overlays import frame_png

    with st.grid(COLUMNS, min_column_width=104, gap="small"):
        with st.container(gap=None):
            st.image(frame_png(frame, size=PIXELS), width="stretch", alt="The part of the image that the encoder sees")
            st.caption("What the encoder sees")
        for one in maps:
            with st.container(gap=None):
                _map(one, frame, scale, opacity)


def _map(one: "ConceptMap", frame: "Image", scale: float, opacity: float) -> None:
    from probes.overlays import overlay_png

    row, column = _strongest(one)
    alt = f"{one.concept}, score {signed(one.score)}; strongest in row {row}, column {column} of the places"
    picture = overlay_png(one, frame, scale=scale, opacity=opacity, size=PIXELS)
    st.image(picture, width="stretch", alt=alt, output_format="PNG")
    st.markdown(f"**{escape(one.concept)}**")
    st.caption(f"score {signed(one.score)}")


def _strongest(one: "ConceptMap") -> tuple[int, int]:
    """Row and column, from one, of the place with the largest value in size."""
    row, column = divmod(int(one.values.abs().argmax()), one.values.shape[1])
    return row + 1, column + 1


def _limits(method: str, scale: float) -> str:
    from probes.maps import METHODS

    return f"{signed(scale)} or {signed(-scale)}" if METHODS[method].signed else signed(scale)


def _legend(scene: Scene, found: "Sequence[ConceptMap]", methods: Sequence[str]) -> None:
    from probes.maps import METHODS, common_scale

    columns = ["concept", "method", "score", "sum of places", "rest", "strongest row", "column"]
    rows = [(m.concept, METHODS[m.method].label, m.score, float(m.values.sum()), m.rest, *_strongest(m)) for m in found]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        if len(methods) > 1:
            means = "Each method has its own full colour, the same for every concept and every image."
        else:
            scale = _limits(methods[0], common_scale(scene.outcome.scores, methods[0]))
            means = f"A place's value is {METHODS[methods[0]].says}; at {scale} it has its full colour, on every map and every image."
        adds = (
            " All places, and a rest that belongs to no place, add up to the score exactly."
            if "decomposition" in methods
            else ""
        )
        blind = " Rollout knows no concepts: it cannot say that one is here." if "rollout" in methods else ""
        st.caption(
            f":blue[Blue] places speak for the concept, :orange[orange] places against it. {means}{adds}{blind} "
            "A map tells what the model used, not where the concept is."
        )
        twin(table(rows, columns), key="maps", alt="What the places add to each score")
        _copied(scene, list(dict.fromkeys(one.concept for one in found)), methods)


def _copied(scene: Scene, names: list[str], methods: Sequence[str]) -> None:
    image = scene.data.ids[scene.image]
    concepts = [word for name in names for word in ("--concept", name)]
    ways = [word for method in methods for word in ("--method", method)]
    python = script(
        scene,
        "from cbm.images import open_image",
        "from probes import concept_maps",
        "",
        f"encoder = store.load_encoder(ws, {scene.row.encoder!r})",
        f"[row] = store.images_by_id(ws, {scene.dataset.name!r}, [{image!r}])",
        *(f"concept_maps(model, encoder, open_image(row.path), {names!r}, method={method!r})" for method in methods),
    )
    reproduce(command("probe", "maps", reference(scene), image, *concepts, *ways, "--out", "maps.png"), python)


def _maps(scene: Scene, encoder: "TextEncoder", method: str, names: list[str]) -> "tuple[ConceptMap, ...]":
    """The maps of one method; a decomposition is kept once for all concepts of an image, others for these concepts."""
    from probes.maps import maps_from

    image = scene.data.ids[scene.image]
    if method == "decomposition":
        return maps_from(scene.model, _taken_apart(_key(scene, encoder), image, scene, encoder), names)
    return _made(scene.key, image, method, tuple(names), scene, encoder)


def _key(scene: Scene, encoder: "TextEncoder") -> str:
    return f"{scene.ws.settings.home}|{scene.dataset.fingerprint}|{encoder.contract}"


def seeing_encoder(scene: Scene) -> "TextEncoder":
    """The encoder behind the model, loaded once for all screens."""
    return _encoder(scene.row.encoder, store.device(scene.ws), scene.ws)


def place_values(scene: Scene, place: int) -> list[float]:
    """What one place of the selected image adds to the score of every concept; raises as `concept_maps`."""
    encoder = seeing_encoder(scene)
    found = _maps(scene, encoder, "decomposition", list(scene.model.concepts))
    return [float(one.values.flatten()[place]) for one in found]


@st.cache_resource(show_spinner="Loading the encoder …", max_entries=2)
def _encoder(id: str, device: str, _ws: store.Workspace) -> "TextEncoder":
    return store.load_encoder(_ws, id)


@st.cache_resource(show_spinner=False, max_entries=16)
def _frame(key: str, image: str, _scene: Scene, _encoder: "TextEncoder") -> "Image":
    """The part of an image that the encoder sees."""
    return _encoder.preprocessing.frame(_picture(_scene, image))


@st.cache_resource(show_spinner="Looking at the image …", max_entries=16)
def _taken_apart(key: str, image: str, _scene: Scene, _encoder: "TextEncoder") -> "EmbeddingParts":
    """What each place of an image adds to the embedding; good for every concept."""
    from cbm.encoders import check_contract
    from probes.decomposition import decompose

    check_contract(_encoder, _scene.model.recipe.contract)
    return decompose(_encoder, _picture(_scene, image))


@st.cache_resource(show_spinner=False, max_entries=64)
def _made(
    key: str, image: str, method: str, names: tuple[str, ...], _scene: Scene, _encoder: "TextEncoder"
) -> "tuple[ConceptMap, ...]":
    from probes.maps import concept_maps as make

    return make(_scene.model, _encoder, _picture(_scene, image), names, method=method)


def _picture(scene: Scene, image: str) -> "Image":
    from cbm.images import open_image

    return open_image(store.images_by_id(scene.ws, scene.dataset.name, [image])[0].path)
