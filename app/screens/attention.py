"""Attention: what every head of the encoder looks at, which of them matter, and at which layer concepts appear."""

import streamlit as st

from app import ui
from app.ui.attention_desk import attends, attention_desk
from app.ui.head_measures import head_measures
from app.ui.layer_probes import layer_probes

IMAGE, HEADS, LAYERS = "One image", "Heads", "Layers"


def reproduced(scene: ui.Scene, view: str) -> None:
    """What reproduces the screen."""
    concept, model = ui.selection().concept, ui.reference(scene)
    named = ["--concept", concept] if concept in scene.model.concepts else []
    image = scene.data.ids[scene.image]
    commands = {
        IMAGE: ui.command("probe", "attention", model, image, *named, "--out", "heads.png"),
        HEADS: ui.command(
            "probe", "heads", model, *(named if st.session_state.get("matters") == "One concept" else [])
        ),
        LAYERS: ui.command("probe", "layers", model, *named),
    }
    opening = [
        "from cbm.images import open_image", "import torch", "",
        f"encoder = store.load_encoder(ws, {scene.row.encoder!r})",
    ]  # fmt: skip
    some = [
        f"rows = store.images_by_id(ws, {scene.dataset.name!r}, images.split('test').ids[:96])",
        "pixels = torch.stack([torch.from_numpy(encoder.preprocessing(open_image(row.path))) for row in rows])",
    ]
    scripts = {
        IMAGE: [
            "from probes.head_effects import look",
            f"[row] = store.images_by_id(ws, {scene.dataset.name!r}, [{image!r}])",
            "look(encoder, torch.from_numpy(encoder.preprocessing(open_image(row.path)))).attention()",
        ],
        HEADS: ["from probes import ablate_heads, statistics_of_heads", *some, "statistics_of_heads(encoder, pixels)",
                "ablate_heads(encoder, pixels)"],
        LAYERS: ["from probes.layer_tokens import layer_features", *some, "layer_features(encoder, pixels)"],
    }  # fmt: skip
    ui.reproduce(commands[view], ui.script(scene, *opening, *scripts[view]))


copy = ui.heading("Attention", "What every head looks at, which heads matter, and where concepts appear.")
scene = ui.scene()
ui.need_concepts(scene)
if not attends(scene):
    ui.empty(
        "This encoder has no attention to look into",
        f"{scene.row.encoder} is not a vision transformer that is known here; choose a model on another encoder.",
        icon=":material/visibility_off:",
    )
    st.stop()
view = st.segmented_control(
    "What to look at", [IMAGE, HEADS, LAYERS], default=IMAGE, required=True, key="look", bind="query-params",
    label_visibility="collapsed",
)  # fmt: skip
with copy:
    reproduced(scene, str(view))
if view == HEADS:
    head_measures(scene)
else:
    ui.browse(scene)
    st.space("xsmall")
    if view == IMAGE:
        attention_desk(scene)
    else:
        layer_probes(scene)
