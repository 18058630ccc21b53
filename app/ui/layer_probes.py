"""At which layer a concept can be read off, beside control tasks, and where in the selected image a probe reads it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import streamlit as st

from app import charts
from app.probing import layers_params, probed
from app.ui.attention_desk import one_image
from app.ui.gallery import concept_choice
from app.ui.loaded import Scene
from app.ui.maps import seeing_encoder
from app.ui.pieces import beside, chart, guarded, table
from app.ui.text import escape, signed
from app.ui.work import following, start

if TYPE_CHECKING:
    from torch import Tensor

PROBES = {"class": "class token", "patches": "mean patch", "attentive": "attentive probe"}


def layer_probes(scene: Scene) -> None:
    """Choose a concept; then the probes of all layers, or the button that trains them."""
    with st.container(width=340):
        concept = concept_choice(scene, "Concept")
    params = layers_params(scene.row.name, scene.history.branch, concept)
    found = probed(scene.ws, "layers", params)
    if found is None:
        st.button(
            "Probe the layers", type="primary", icon=":material/play_arrow:", key="probe_layers", on_click=start,
            args=("layers", params), help="Linear and attentive probes of every layer with control tasks",
        )  # fmt: skip
        st.caption("This concept is not probed yet. Results are kept; the same question is never computed twice.")
    following(["layers"], about={"model": scene.row.name, "concept": concept}, key="layer_jobs")
    if found is not None:
        _curves(found)
        where(scene, found)


def _curves(found: Mapping[str, Any]) -> None:
    from probes.intervals import Estimate

    probes = {PROBES[name]: rows for name, rows in found["probes"].items()}
    kind = st.segmented_control(
        "Probe", [*probes, "All"], default=next(iter(probes)), required=True, key="probe", bind="query-params"
    )
    chosen = probes if kind == "All" or kind not in probes else {kind: probes[kind]}
    series, controls = {}, []
    for name, rows in chosen.items():
        series[name] = [(row["layer"], Estimate(**row["auroc"])) for row in rows]
        controls.append(f"{name}, control")
        series[controls[-1]] = [(row["layer"], Estimate(**row["control"])) for row in rows]
    st.markdown(_said(found, chosen))
    chart(
        charts.layer_probes(series, controls=controls),
        alt="; ".join(f"{name}: best {max(p.value for _, p in points):.2f}" for name, points in series.items()),
        key="by_layer",
        table=table(
            ((name, row["layer"], *row["auroc"].values(), row["control"]["value"], row["auroc"]["value"] - row["control"]["value"])
             for name, rows in chosen.items() for row in rows),
            ["probe", "layer", "AUROC", "low", "high", "images", "control", "selectivity"],
        ),
        note="Layer 0 is what enters the first block. Bars are 95 % intervals; those of the controls are the range of their draws.",
    )  # fmt: skip
    labels = (
        "annotations"
        if found["source"] == "annotation"
        else "the model's own score above its median, for want of annotations"
    )
    task = (
        "whole classes that have nothing in common"
        if found["by_class"]
        else "images at random, as there are few classes"
    )
    st.caption(
        f"{found['train']} training and {found['test']} test images, {found['present']} of these with the concept; labels from "
        f"{labels}. The control task asks the same probe for {task}, {found['draws']} draws: what it does as well there is the "
        "probe's doing and not the concept's (Hewitt and Liang 2019)."
    )


def _said(found: Mapping[str, Any], chosen: Mapping[str, list[dict[str, Any]]]) -> str:
    """From which layer on the concept can be read, and what the control says to it."""
    name, rows = max(chosen.items(), key=lambda pair: max(row["auroc"]["value"] for row in pair[1]))
    best = max(row["auroc"]["value"] for row in rows)
    first = next(row for row in rows if row["auroc"]["value"] >= best - 0.01)
    gap = first["auroc"]["value"] - first["control"]["value"]
    told = (
        f"From the {name}, **{escape(found['concept'])}** is read with an AUROC of {first['auroc']['value']:.2f} at **layer "
        f"{first['layer']}**, the earliest within 0.01 of the best; the control task reaches {first['control']['value']:.2f}"
    )
    weak = f": a difference of {signed(gap)} only. Such a probe would find almost any grouping of the classes here"
    return told + (f", a selectivity of {signed(gap)}." if gap >= 0.05 else f"{weak}.")


@st.fragment
@guarded
def where(scene: Scene, found: Mapping[str, Any]) -> None:
    """The selected image, and what each of its places adds to the attentive probe's logit at a layer."""
    from probes.head_pictures import head_png

    st.markdown("**Where the attentive probe reads it on the selected image**")
    layers = len(found["attentive"])
    layer = st.slider("Layer", 0, layers - 1, layers - 1, key="probed_layer", bind="query-params", width=320)
    frame, places, attention, logit, bias = _read(scene, found, layer)
    scale = max(abs(logit - bias) / 4, 1.0)
    left, right = beside(1, 1, narrowest=220)
    for side, values, most, title in (
        (left, places, scale, "adds to the logit"),
        (right, attention, 0.25, "is looked at"),
    ):
        y, x = divmod(int(values.abs().argmax()), values.shape[1])
        with side:
            st.image(
                head_png(values, frame, scale=most),
                width=320,
                alt=f"What {title}, most in row {y + 1}, column {x + 1}",
            )
            st.caption(f"What {title}; full colour at {most:.2g}.")
    st.caption(
        f"All places add {signed(logit - bias)}, which with the bias {signed(bias)} is the logit {signed(logit)}. It tells where "
        "the concept can be read, learned from labels of whole images; not what the model makes of it."
    )


def _read(scene: Scene, found: Mapping[str, Any], layer: int) -> "tuple[Any, Tensor, Tensor, float, float]":
    import torch

    from probes.attentive import AttentiveProbe
    from probes.layer_tokens import patch_tokens

    frame, pixels, grid = one_image(scene)
    query, direction, bias = found["attentive"][layer]
    probe = AttentiveProbe(torch.tensor([query]), torch.tensor([direction]), torch.tensor([bias]))
    [patches] = patch_tokens(seeing_encoder(scene), pixels, [layer])
    adds = probe.contributions(patches.float())[0, 0]
    looks = probe.attention(patches.float())[0, 0]
    return frame, adds.view(grid), looks.view(grid), float(adds.sum() + bias), bias
