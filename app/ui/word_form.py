"""A form for words: those that ship, by part of speech and group, or a list of one's own; and what the filters leave."""

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app.ui.pieces import problem
from app.ui.text import escape, plural, title
from cbm.errors import DataError, UsageError

OWN = "my own"
LISTS = {"attributes": "Attributes", "visual": "Visual words", "all": "Both", OWN: "My own words"}
PARTS = ("adjective", "noun")
MOST = 20_000


def word_form(classes: Sequence[str], *, key: str) -> None:
    """List, filters, and how many words they leave of it."""
    from cbm.words import sift

    chosen = st.segmented_control(
        "Words", list(LISTS), default="attributes", required=True, key=f"{key}_list", format_func=LISTS.__getitem__,
        help="Attributes say how things look: colour, texture, shape, material, part, setting. Visual words are eleven thousand nouns "
        "and adjectives for what can be seen, the commonest first.",
    )  # fmt: skip
    if chosen == OWN:
        _boxes(key)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.pills("Parts of speech", PARTS, selection_mode="multi", key=f"{key}_parts", help="None chosen keeps all")
        st.multiselect(
            "Groups", _groups(chosen), key=f"{key}_groups", width=360, placeholder="all groups",
            help="What kind of word it is, where the list says so",
        )  # fmt: skip
        st.number_input(
            "At most", 1, MOST, 2000, key=f"{key}_most", width=140, help="The first ones, which are the commonest"
        )
    st.toggle(
        "Leave out words that name a class", value=True, key=f"{key}_names",
        help="They would make the concept the answer. Obscene and insulting words, and such as name nothing visible, always go",
    )  # fmt: skip
    try:
        params = word_params(key)
        sifted = sift(_words(params), names=classes if params["names"] else (), **_filters(params))
    except (DataError, UsageError) as error:
        st.caption(f":material/info: {escape(title(error.message), 300)}. {escape(title(error.hint), 300)}.")
        return
    few = ", ".join(word.text for word in sifted.words[:12])
    st.markdown(f":material/rule: {escape(title(sifted.summary()), 400)}.")
    if sifted.words:
        st.caption(f"{escape(few, 300)} … Those that the encoder cannot read are left out too, when the bank is built.")


def word_params(key: str) -> dict[str, Any]:
    """What the job is told, from the controls at this moment.

    Raises
    ------
    UsageError
        If words of one's own are asked for, and there are none.
    DataError
        If the file cannot be read.
    """
    held = st.session_state
    chosen = held.get(f"{key}_list") or "attributes"
    params: dict[str, Any] = {
        "list": None if chosen == OWN else chosen,
        "words": own_words(key) if chosen == OWN else None,
        "parts": list(held.get(f"{key}_parts") or ()),
        "groups": list(held.get(f"{key}_groups") or ()),
        "most": int(held.get(f"{key}_most") or MOST),
        "names": bool(held.get(f"{key}_names", True)),
    }
    if chosen == OWN and not params["words"]:
        raise UsageError("there is no word", hint="write one a line, or send a file")
    return params


def own_words(key: str) -> list[str]:
    """The words of the box and of the file."""
    from cbm.words import as_words, read_words

    typed = str(st.session_state.get(f"{key}_own") or "").splitlines()
    file = st.session_state.get(f"{key}_own_file")
    sent = read_words(file.name, file.getvalue()) if file else ()
    words = [word.text for word in as_words([*(line for line in typed if not line.lstrip().startswith("#")), *sent])]
    if len(words) > MOST:
        raise UsageError(f"there are {len(words):,} words; the limit here is {MOST:,}", hint="give fewer")
    return words


def own_words_form(key: str) -> None:
    """Places for a list of one's own, instead of the words that ship."""
    _boxes(key)
    try:
        words = own_words(key)
    except (DataError, UsageError) as error:
        problem(error)
        return
    st.caption(f"{plural(len(words), 'word')} of your own." if words else "Without any, the words that ship are used.")


def _boxes(key: str) -> None:
    with st.container(horizontal=True, gap="medium"):
        st.text_area(
            "Words, one a line",
            key=f"{key}_own",
            height=150,
            max_chars=MOST * 40,
            placeholder="striped\nbeak\nred crown",
        )
        with st.container(width=320):
            st.file_uploader(
                "Or a file", type=["txt", "csv", "json"], key=f"{key}_own_file", max_upload_size=5,
                help="Text: one a line. CSV: the column `concept` or `word`, or else the first one. JSON: a list",
            )  # fmt: skip


def _groups(chosen: str | None) -> list[str]:
    from cbm.words import shipped

    listed = shipped("all" if chosen in (None, OWN) else chosen)
    return list(dict.fromkeys(word.group for word in listed if word.group))


def _words(params: dict[str, Any]) -> Any:
    from cbm.words import as_words, shipped

    return as_words(params["words"]) if params["words"] else shipped(params["list"])


def _filters(params: dict[str, Any]) -> dict[str, Any]:
    return {name: params[name] for name in ("parts", "groups", "most") if params[name]}
