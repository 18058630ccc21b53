"""The form for an autoencoder whose atoms become a concept bank."""

from typing import Any

import streamlit as st

from app.ui.text import escape
from cbm.errors import UsageError


def atom_form() -> dict[str, Any]:
    """Options of the autoencoder; the widths as they are typed."""
    from cbm.sae import KINDS

    st.caption(
        "A sparse autoencoder finds directions of which few add up to each training image; words name them afterwards: the "
        "phrases below, or else the annotated names, or else the attribute words that ship."
    )
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        widths = st.text_input(
            "Atoms", key="sae_widths", width=200, placeholder="one for every 20 images",
            help="One number, or several with commas: all are learned in one pass, and each gives a bank",
        )  # fmt: skip
        kind = st.selectbox(
            "Codes", KINDS, index=KINDS.index("batchtopk"), key="sae_kind", width=150,
            help="Keep the k largest of each image (topk) or on average (batchtopk), or all with an L1 penalty (relu)",
        )  # fmt: skip
        epochs = st.number_input("Epochs", 1, 10_000, 60, key="sae_epochs", width=140)
        names = st.selectbox(
            "Names from", ("images", "direction"), key="sae_names", width=150,
            help="The word that suits the images which use an atom, or the one closest to its direction, as published",
        )  # fmt: skip
    return {"widths": widths, "kind": kind, "epochs": int(epochs), "names": names}


def given_widths(text: str) -> list[int]:
    """Numbers of atoms, from what was typed.

    Examples
    --------
    >>> given_widths("256, 512"), given_widths("")
    ([256, 512], [])
    """
    numbers = text.replace(",", " ").split()
    if not all(number.isdigit() and 2 <= int(number) <= 65_536 for number in numbers):
        raise UsageError(f"{escape(text, 40)} are no numbers of atoms", hint="write such as 256, or 256, 512")
    return [int(number) for number in numbers]
