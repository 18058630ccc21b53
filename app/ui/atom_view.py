"""What only atoms have: words to choose a name from, and how often and how strongly images use them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from app import activations, charts
from app.banks import rename_concept
from app.ui.loaded import workspace
from app.ui.pieces import callback, chart, table
from app.ui.selection import select, selection
from app.ui.text import escape

if TYPE_CHECKING:
    from cbm.bank import ConceptBank


def choose_name(bank_name: str, bank: "ConceptBank", k: int) -> None:
    """The words that an atom may stand for, with how close each is; a click gives it that name."""
    concept, words = bank.names[k], dict(bank.origin[k].words)
    now = concept.partition(" #")[0]
    st.pills(
        "It may be called", list(words), default=now if now in words else None, key=f"called_{bank_name}_{concept}",
        format_func=lambda word: f"{escape(word, 60)} :gray[{words[word]:.2f}]",
        on_change=_called, args=(bank_name, concept, k),
        help="The words that suit the images which use it, the closest first. Choosing one renames the atom.",
    )  # fmt: skip


@callback
def _called(bank_name: str, concept: str, k: int) -> None:
    word = st.session_state.get(f"called_{bank_name}_{concept}")
    if word is None:
        return
    from app import store

    taken = set(store.bank(workspace(), bank_name).names) - {concept}
    name = free_word(str(word), taken)
    if name != concept:
        rename_concept(workspace(), bank_name, concept, name)
        select(concept=name)


def free_word(word: str, taken: set[str]) -> str:
    """The word, or with the first number behind it that no other atom has.

    Examples
    --------
    >>> free_word("red", {"red", "red #2"}), free_word("blue", {"red"})
    ('red #3', 'blue')
    """
    names = (word, *(f"{word} #{i}" for i in range(2, len(taken) + 3)))
    return next(name for name in names if name not in taken)


def use_chart(bank: "ConceptBank", uses: "Sequence[activations.Use]") -> None:
    """How many images use each atom, against how much of it they have; a click selects one."""
    rows = [(name, use.share, use.size) for name, use in zip(bank.names, uses, strict=True)]
    chosen = selection().concept if selection().concept in bank.names else bank.names[0]
    often = sorted(rows, key=lambda row: -row[1])
    points = chart(
        charts.atom_use(rows, chosen=chosen),
        alt=f"Atoms by use: most often {', '.join(name for name, _, _ in often[:3])}",
        key="atom_use",
        table=table(often, ["atom", "share of images", "mean code where used"]),
        note="Far left: used by few images, perhaps a single thing. Far right: in most images, seldom a concept. "
        "Click one to look at it.",
        on_select="rerun",
    )
    clicked = [str(np.ravel(point["customdata"])[0]) for point in points if point.get("customdata") is not None]
    if clicked and clicked[0] in bank.names and clicked[0] != chosen:
        select(concept=clicked[0])
        st.rerun()
