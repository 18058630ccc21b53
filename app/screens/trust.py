"""Trust: whether each concept is what its name says, where it belongs, used, and no more than itself."""

import streamlit as st

from app import ui
from app.trusting import kept_trust
from app.ui.verdicts import all_figures, curves, evidence, head_figures, summary, verdict_table
from app.ui.work import following, start


def split_choice(scene: ui.Scene) -> str:
    """Which images are asked."""
    names = [name for name in scene.data.split_names if name != "train"] or list(scene.data.split_names)
    default = "test" if "test" in names else names[0]
    if len(names) == 1:
        return names[0]
    return str(st.segmented_control("Images", names, default=default, required=True, key="on", bind="query-params"))


def ask(scene: ui.Scene, split: str) -> None:
    """Offer to look, which takes a minute."""
    params = {"model": scene.row.name, "branch": scene.history.branch, "split": split}
    with st.container(border=True, gap="small"):
        st.markdown(
            f"**Nobody has looked yet whether {ui.escape(scene.row.name)} can be trusted on {ui.escape(split)}.** It asks "
            f"of each of its {ui.plural(len(scene.model.concepts), 'concept')}: does it exist under its name, does it lie on its "
            "part, do decisions use it, does it tell of the class more than it names? It takes about a minute, and is kept "
            "until the model or the images change."
        )
        st.button("Look", type="primary", icon=":material/verified:", key="look", on_click=look, args=(params,))
    if scene.data.concept_labels is None:
        st.caption(
            ":material/info: These images are not annotated with concepts. Names can then only be compared with their texts, and "
            "leakage cannot be told from knowledge."
        )


@ui.callback
def look(params: dict[str, str]) -> None:
    """Queue the job."""
    start("trust", params)


copy = ui.heading(
    "Trust", "Whether each concept is what its name says, where it belongs, used, and no more than itself."
)
scene = ui.scene()
ui.need_concepts(scene)
split = split_choice(scene)
with copy:
    ui.reproduce(
        ui.command("trust", ui.reference(scene), "--split", split),
        ui.script(scene, "from probes import examine", "", f"found = examine(model, images, split={split!r})"),
    )
following(["trust"], about={"model": scene.row.name, "split": split}, key="trusting")
found = kept_trust(scene.ws, scene.row.name, split, branch=scene.history.branch)
if found is None:
    ask(scene, split)
    st.stop()
summary(found)
st.space("xsmall")
head_figures(found)
CONCEPTS, CURVES, FIGURES = st.tabs(["Concepts", "Faithfulness", "All figures"], key="part", bind="query-params")
with CONCEPTS:
    verdict_table(found, scene.row.fingerprint[:8])
    evidence(scene, found)
with CURVES:
    curves(found)
with FIGURES:
    all_figures(found)
