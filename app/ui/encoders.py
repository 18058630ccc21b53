"""Which encoders there are, for forms: those that are installed, and why another is not."""

from typing import Any

import streamlit as st

from app.ui.loaded import workspace
from app.ui.text import escape

OTHER = "another one …"


@st.cache_data(show_spinner="Looking for encoders …", ttl="10m", max_entries=2)
def _listed() -> list[tuple[str, bool, str]]:
    from cbm.encoders import list_encoders

    return [(info.id, info.installed, info.note) for info in list_encoders()]


def available() -> tuple[str, ...]:
    """Ids of the encoders that load without a network."""
    return tuple(id for id, installed, _ in _listed() if installed)


def text_limits(encoder: str) -> None:
    """What this encoder cannot do from text alone, where that is known."""
    from cbm.encoders import limits_of_text

    if told := limits_of_text(encoder):
        st.info(escape(told, 300), icon=":material/info:")


def choose_encoder(*, key: str) -> str:
    """A choice among the installed encoders, or any other by its id; empty while there is none."""
    known = {id: note for id, installed, note in _listed() if installed}
    missing = {id: note for id, installed, note in _listed() if not installed}
    usual = workspace().settings.encoder
    options = [*known, OTHER]
    picked = st.radio(
        "Encoder", options, index=options.index(usual) if usual in options else 0, key=key, bind="query-params",
        captions=[escape(known.get(id, "by its id, such as open_clip:ViT-B-32/openai"), 200) for id in options],
        label_visibility="collapsed",
    )  # fmt: skip
    for id, why in missing.items():
        st.caption(f":material/block: {escape(id)} is not installed: {escape(why, 300)}")
    return picked if picked != OTHER else _other(key)


PRECISIONS = {
    "fp32": "single precision: the reference",
    "auto": "bf16 where the processor has it, and where it is faster and agrees on these images",
    "bf16": "several times faster on processors and devices that have it",
    "int8": "8-bit products, by onnxruntime on the processor",
}


def precision(*, key: str) -> dict[str, Any]:
    """Parameters of a job that embeds, for what is not as usual: precision and decoding."""
    with st.container(horizontal=True, gap="large", vertical_alignment="bottom"):
        chosen = st.segmented_control(
            "Precision", list(PRECISIONS), default="fp32", required=True, key=key, bind="query-params",
            help="Fewer bits make other embeddings, of another encoder. How far they are from fp32 is measured on some of your "
            "images before all are embedded, and shown; where they agree too little they are refused.",
        )  # fmt: skip
        fast = st.toggle(
            "Fast decode", key=f"{key}_decode", bind="query-params",
            help="Decode JPEGs of a thousand pixels and more at a fraction of their size: twice as fast, and pixels differ by a "
            "hundredth of their deviation. Embeddings made so are those of another encoder, too.",
        )  # fmt: skip
    st.caption(PRECISIONS[str(chosen)])
    return {**({"precision": chosen} if chosen != "fp32" else {}), **({"fast_decode": True} if fast else {})}


def _other(key: str) -> str:
    may = workspace().settings.allow_download
    st.text_input("Id of the encoder", key=f"{key}_id", placeholder="hf:ORG/NAME", width=420)
    st.caption(
        "Missing weights may be downloaded." if may else
        "`open_clip:`, `hf:` (CLIP and SigLIP of transformers), and the backbones `timm:` and `torchvision:`, which read no text. "
        "Weights must be on this machine: a folder such as `hf:local-dir:PATH`, or a model that was downloaded before. "
        "The settings do not allow downloads."
    )  # fmt: skip
    return str(st.session_state.get(f"{key}_id") or "").strip()
