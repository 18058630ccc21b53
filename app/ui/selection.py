"""What a person is looking at: one selection for all screens, kept in the address of the page.

A link restores the view. Streamlit forgets the address's parameters when a person goes to another page, so the last
selection is also kept in the session and written back; what the address says always wins.
"""

from dataclasses import asdict, dataclass, fields, replace

import streamlit as st

_KEPT = "pellucid_selection"
_BELOW = {
    "dataset": ("model", "version", "class_", "concept", "image"),
    "model": ("version",),
}


@dataclass(frozen=True)
class Selection:
    """Names of what is selected; empty where nothing is."""

    dataset: str = ""
    model: str = ""
    version: str = ""
    class_: str = ""
    concept: str = ""
    image: str = ""


def selection() -> Selection:
    """The current selection."""
    return Selection(**st.session_state.get(_KEPT, {}))


def keep() -> None:
    """Take the selection over from the address, and write what the address lacks back to it; once a run, first."""
    before = selection()
    seen = {f.name: st.query_params.get(_parameter(f.name), "") for f in fields(Selection)}
    changed = {name: value for name, value in seen.items() if value and value != getattr(before, name)}
    _store(_changed(before, changed))


def select(**changes: str) -> None:
    """Change the selection; an empty name takes it away.

    A change of the data set forgets what lies inside the old one, unless it is given too.
    """
    _store(_changed(selection(), changes))


def parameters(**changes: str) -> dict[str, str]:
    """The address's parameters for the current selection with some changes, for links to other screens."""
    return _parameters(_changed(selection(), changes))


def _changed(before: Selection, changes: dict[str, str]) -> Selection:
    forgotten = {
        below: ""
        for above, names in _BELOW.items()
        for below in names
        if changes.get(above, getattr(before, above)) != getattr(before, above)
    }
    return replace(before, **{**forgotten, **changes})


def _store(wanted: Selection) -> None:
    st.session_state[_KEPT] = asdict(wanted)
    parameters = _parameters(wanted)
    for f in fields(Selection):
        name = _parameter(f.name)
        if name in parameters and st.query_params.get(name) != parameters[name]:
            st.query_params[name] = parameters[name]
        elif name not in parameters and name in st.query_params:
            del st.query_params[name]


def _parameters(wanted: Selection) -> dict[str, str]:
    return {_parameter(name): value for name, value in asdict(wanted).items() if value}


def _parameter(name: str) -> str:
    return name.rstrip("_")
