"""Where in the image the scores come from: one small map a concept, all on one scale, beside what the encoder saw."""

from typing import TYPE_CHECKING

import streamlit as st

from app import store
from app.ui.loaded import Scene
from app.ui.pieces import guarded, reproduce, table, twin
from app.ui.recipes import command, reference, script
from app.ui.selection import selection
from app.ui.text import escape, signed
from cbm.bottleneck import LinearBottleneck
from cbm.explanations import Explanation

if TYPE_CHECKING:
    from PIL.Image import Image

    from cbm.encoders import TextEncoder
    from probes.maps import ConceptMap, EmbeddingParts

SHOWN, COLUMNS, PIXELS = 7, 4, 288


def has_maps(scene: Scene) -> bool:
    """Whether the scores of this model can be followed back to places, judged without loading the encoder."""
    from probes.maps import mappable

    return mappable(scene.row.encoder) and isinstance(scene.model.bottleneck, LinearBottleneck)


@st.fragment
@guarded
def concept_maps(scene: Scene, why: Explanation) -> None:
    """What the encoder saw and the maps of the concepts that decided, with a slider for how much they cover."""
    from probes.maps import common_scale, maps_from
    from probes.overlays import frame_png

    frame, parts = _seen(scene)
    names = _names(scene, why)
    scale = common_scale(scene.outcome.scores)
    opacity = st.slider("Opacity of the maps", 0, 100, 80, step=5, format="%d %%", key="opacity", width=320) / 100
    found = maps_from(scene.model, parts, names)
    with st.grid(COLUMNS, min_column_width=104, gap="small"):
        with st.container(gap=None):
            st.image(frame_png(frame, size=PIXELS), width="stretch", alt="The part of the image that the encoder sees")
            st.caption("What the encoder sees")
        for one in found:
            with st.container(gap=None):
                _map(one, frame, scale, opacity)
    _legend(scene, found, scale)


def _names(scene: Scene, why: Explanation) -> list[str]:
    """The selected concept, then those that added most, but each once."""
    chosen = [name for name in (selection().concept,) if name in scene.model.concepts]
    used = [part.name for part in why.concepts if part.contribution] or [part.name for part in why.concepts]
    return list(dict.fromkeys([*chosen, *used]))[:SHOWN]


def _map(one: "ConceptMap", frame: "Image", scale: float, opacity: float) -> None:
    from probes.overlays import overlay_png

    top, left = divmod(int(one.values.abs().argmax()), one.values.shape[1])
    alt = f"{one.concept}, score {signed(one.score)}; strongest in row {top + 1}, column {left + 1} of the places"
    picture = overlay_png(one, frame, scale=scale, opacity=opacity, size=PIXELS)
    st.image(picture, width="stretch", alt=alt, output_format="PNG")
    st.markdown(f"**{escape(one.concept)}**")
    st.caption(f"score {signed(one.score)}")


def _legend(scene: Scene, found: "tuple[ConceptMap, ...]", scale: float) -> None:
    rows = [(one.concept, float(one.values.sum()), one.rest, one.score) for one in found]
    with st.container(horizontal=True, vertical_alignment="center", gap="small"):
        st.caption(
            f":blue[Blue] places raise the score, :orange[orange] places lower it. A place has its full colour when it alone "
            f"adds {signed(scale)} or {signed(-scale)}, on every map and every image. All places, and a rest that "
            "belongs to no place, add up to the score exactly. A map tells what the model used, not where the concept is."
        )
        twin(
            table(rows, ["concept", "added by places", "rest", "score"]),
            key="maps",
            alt="What the places add to each score",
        )
        _copied(scene, [one.concept for one in found])


def _copied(scene: Scene, names: list[str]) -> None:
    image = scene.data.ids[scene.image]
    concepts = [word for name in names for word in ("--concept", name)]
    python = script(
        scene,
        "from cbm.images import open_image",
        "from probes import concept_maps",
        "",
        f"encoder = store.load_encoder(ws, {scene.row.encoder!r})",
        f"[row] = store.images_by_id(ws, {scene.dataset.name!r}, [{image!r}])",
        f"concept_maps(model, encoder, open_image(row.path), {names!r})",
    )
    reproduce(command("probe", "maps", reference(scene), image, *concepts, "--out", "maps.png"), python)


def _seen(scene: Scene) -> "tuple[Image, EmbeddingParts]":
    encoder = _encoder(scene.row.encoder, store.device(scene.ws), scene.ws)
    key = f"{scene.ws.settings.home}|{scene.dataset.fingerprint}|{encoder.contract}"
    return _taken_apart(key, scene.data.ids[scene.image], scene, encoder)


@st.cache_resource(show_spinner="Loading the encoder …", max_entries=2)
def _encoder(id: str, device: str, _ws: store.Workspace) -> "TextEncoder":
    return store.load_encoder(_ws, id)


@st.cache_resource(show_spinner="Looking at the image …", max_entries=16)
def _taken_apart(key: str, image: str, _scene: Scene, _encoder: "TextEncoder") -> "tuple[Image, EmbeddingParts]":
    """What the encoder sees of an image, and what each place adds to the embedding; good for every concept."""
    from cbm.encoders import check_contract
    from cbm.images import open_image
    from probes.maps import decompose

    check_contract(_encoder, _scene.model.recipe.contract)
    picture = open_image(store.images_by_id(_scene.ws, _scene.dataset.name, [image])[0].path)
    return _encoder.preprocessing.frame(picture), decompose(_encoder, picture)
