"""Candidate sentences from a person: a file, or what a language model printed, pasted; and what cleaning leaves of them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

from app.ui.pieces import problem
from app.ui.text import escape, plural, title
from cbm.errors import DataError

if TYPE_CHECKING:
    from cbm.vocabulary import Cleaned

Candidates = dict[str, tuple[str, ...]]
LONGEST_PASTE = 2_000_000  # characters
SHOWN = 200  # dropped sentences in the table
_PLACEHOLDER = '{"wren": ["short tail", "brown back"], ...}\n\nor\n\n## wren\n- short tail\n- brown back'


def candidates_form(classes: Sequence[str], *, key: str, shipped: Candidates | None = None, every: bool = True) -> str:
    """Places to paste or to send sentences, and what is left of them; why they cannot be used, or nothing."""
    with st.container(horizontal=True, gap="medium"):
        st.text_area(
            "Paste what a language model answered", key=f"{key}_paste", height=200, placeholder=_PLACEHOLDER,
            max_chars=LONGEST_PASTE,
            help="JSON with sentences by class, also in code fences or with small faults; or a heading for each class with a list below",
        )  # fmt: skip
        with st.container(width=320):
            st.file_uploader(
                "Or a file", type=["json", "txt", "md"], key=f"{key}_file", max_upload_size=8,
                help="The same in a file. What is pasted counts first",
            )  # fmt: skip
            _ask(classes)
    try:
        given = given_candidates(key)
        if given is None and shipped is None:
            return "paste sentences for every class, or send a file"
        if given is None:
            st.caption(f"Without any, the {plural(_count(shipped), 'sentence')} that ship for these classes are used.")
        _show(given or shipped or {}, classes, every)
    except DataError as error:
        problem(error)
        return error.message
    return ""


def given_candidates(key: str) -> Candidates | None:
    """What is pasted, or else sent, at this moment.

    Raises
    ------
    DataError
        If it cannot be read; it names the line.
    """
    from cbm.vocabulary import candidates_in

    pasted = str(st.session_state.get(f"{key}_paste") or "")
    file = st.session_state.get(f"{key}_file")
    if pasted.strip():
        return candidates_in(pasted)
    if file is None:
        return None
    try:
        return candidates_in(file.getvalue().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{file.name!r} is not UTF-8 text", hint="save it as UTF-8") from error


def _ask(classes: Sequence[str]) -> None:
    """What to ask a language model for, to be copied."""
    with st.popover("What to ask for", icon=":material/content_copy:", type="tertiary"):
        st.caption("Any language model will do. Nothing is sent from here.")
        names = ", ".join(classes[:60]) + (" ..." if len(classes) > 60 else "")
        st.code(
            "For each of the classes below, list 30 short phrases on how it looks in a photograph: colours, shapes, "
            "patterns, parts, surroundings. Do not name the class. Answer as JSON: "
            '{"class": ["phrase", ...]}.\n\n' + names,
            language=None, wrap_lines=True, width=480,
        )  # fmt: skip


def _show(candidates: Candidates, classes: Sequence[str], every: bool) -> None:
    from cbm.vocabulary import clean

    cleaned = clean(candidates, classes, every=every)
    known = {" ".join(name.replace("_", " ").replace("-", " ").casefold().split()) for name in classes}
    strange = [
        name
        for name in candidates
        if " ".join(name.replace("_", " ").replace("-", " ").casefold().split()) not in known
    ]
    st.markdown(f":material/rule: {escape(title(cleaned.summary()), 400)}.")
    if strange:
        more = " …" if len(strange) > 4 else ""
        st.caption(f"Not looked at, since no class is called so: {escape(', '.join(strange[:4]), 200)}{more}")
    if cleaned.dropped:
        _dropped(cleaned)


def _dropped(cleaned: "Cleaned") -> None:
    import pandas as pd

    rows = [(one.class_, one.sentence, one.reason) for one in cleaned.dropped[:SHOWN]]
    more = f", the first {SHOWN}" if len(cleaned.dropped) > SHOWN else ""
    with st.popover(
        f"The {plural(len(cleaned.dropped), 'sentence')} left out", icon=":material/table:", type="tertiary"
    ):
        table = pd.DataFrame(rows, columns=["class", "sentence", "left out: it is"])
        st.dataframe(table, hide_index=True, width=620, alt=f"Sentences left out{more}, each with the reason")


def _count(candidates: Candidates | None) -> int:
    return sum(len(sentences) for sentences in (candidates or {}).values())
