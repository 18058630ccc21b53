"""The pieces that every screen is made of: headings, error boxes, pictures, charts with their tables, commands to copy."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import streamlit as st

from app.charts import sankey_nodes
from app.ui.selection import parameters, select
from app.ui.text import badge, escape
from cbm.errors import PellucidError

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go
    from streamlit.delta_generator import DeltaGenerator

log = logging.getLogger(__name__)
P, R = ParamSpec("P"), TypeVar("R")
FOLDER = Path(__file__).parents[1] / "screens"
_PROBLEM, _NEWS = "pellucid_problem", "pellucid_news"


def header(title: str, lead: str, *, command: str = "", python: str = "") -> None:
    """The top of a screen: its name, one sentence on what it is for, and what reproduces it."""
    place = heading(title, lead)
    if command or python:
        with place:
            reproduce(command, python)


def heading(title: str, lead: str) -> "DeltaGenerator":
    """The same without the last, for a screen that loads something first; the place where `reproduce` then goes."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        with st.container(width="stretch", gap=None):
            st.title(title, anchor=False)
            st.caption(lead)
        return st.container(width="content")


def reproduce(command: str, python: str) -> None:
    """The command line and the Python that give what the screen shows."""
    with st.popover("Copy as", icon=":material/content_copy:", type="tertiary", help="What reproduces this screen"):
        if command:
            st.caption("Copy as command")
            st.code(command, language="bash", wrap_lines=True, width=560)
        if python:
            st.caption("Copy as Python")
            st.code(python, language="python", wrap_lines=True, width=560)


def problem(error: PellucidError) -> None:
    """What went wrong and what to do about it."""
    hint = f"\n\n{escape(error.hint, 2000)}" if error.hint else ""
    st.error(f"**{escape(error.message, 2000)}**{hint}", icon=":material/error:")


@contextmanager
def edge() -> Iterator[None]:
    """The outermost edge of a page or fragment: an error is shown in words and never as a traceback."""
    try:
        yield
    except PellucidError as error:
        problem(error)
    except Exception:
        log.exception("a page failed")
        st.error(
            "**This screen stopped on an error of ours.**\n\nThe log of the server has the details. "
            "Reload the page; if it stays, please report it.",
            icon=":material/bug_report:",
        )


def guarded(function: Callable[P, None]) -> Callable[P, None]:
    """A fragment whose errors, and those of its callbacks, are shown inside it."""

    @wraps(function)
    def within(*args: P.args, **kwargs: P.kwargs) -> None:
        show_problems()
        with edge():
            function(*args, **kwargs)

    return within


def callback(function: Callable[P, None]) -> Callable[P, None]:
    """A widget's callback whose error is shown at the top of the next run."""

    @wraps(function)
    def within(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except PellucidError as error:
            st.session_state[_PROBLEM] = error

    return within


def announce(text: str) -> None:
    """Tell at the next run, briefly, what a callback has done; callbacks of fragments may not write themselves."""
    st.session_state[_NEWS] = text


def filled(params: Mapping[str, Any], **fields: str) -> dict[str, Any]:
    """Parameters of a callback with what fields of the page hold now, by parameter and the key of its field.

    Whoever types and then presses a button at once sends both together: the button's own arguments are from before.
    """
    return {**params, **{name: st.session_state[key] for name, key in fields.items() if key in st.session_state}}


def show_problems() -> None:
    """Show what a callback has done or ran into, once."""
    news = st.session_state.pop(_NEWS, None)
    if news is not None:
        st.toast(news, icon=":material/check:")
    error = st.session_state.pop(_PROBLEM, None)
    if error is not None:
        problem(error)


def empty(message: str, detail: str, *, screen: str = "", action: str = "", icon: str = ":material/inbox:") -> None:
    """A screen or panel that has nothing to show yet: what is missing, and where to get it."""
    with st.container(border=True, horizontal_alignment="center", gap="xsmall"):
        st.space("small")
        st.markdown(f"### {icon}", width="content")
        st.markdown(f"**{message}**", width="content")
        st.caption(detail, width="content", text_alignment="center")
        if screen:
            go_to(screen, action)
        st.space("small")


def screen_exists(screen: str) -> bool:
    """Whether a screen ("explain") is part of this version, for links that would otherwise lead nowhere."""
    return (FOLDER / f"{screen}.py").is_file()


def go_to(screen: str, label: str, *, icon: str | None = ":material/arrow_forward:", **changes: str) -> None:
    """A link to another screen ("explain") with the current selection and some changes."""
    if screen_exists(screen):
        st.page_link(FOLDER / f"{screen}.py", label=label, icon=icon, query_params=parameters(**changes))


def verdict_badge(right: bool, label: str) -> None:
    """Whether a decision is right, and what would have been."""
    if right:
        st.badge("right", icon=":material/check:", color="blue")
    else:
        st.badge(f"wrong, it is {badge(label)}", icon=":material/close:", color="orange")


def chart(
    figure: "go.Figure",
    *,
    alt: str,
    key: str,
    table: "pd.DataFrame | None" = None,
    note: str = "",
    on_select: str = "ignore",
) -> Sequence[dict[str, object]]:
    """A figure with a note (Markdown) and its table twin; returns the clicked points if `on_select` is "rerun"."""
    settings = {"displayModeBar": False, "scrollZoom": False, "doubleClick": False}
    state = st.plotly_chart(figure, key=key, alt=alt, config=settings, on_select=on_select, selection_mode="points")
    if table is not None or note:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
            st.caption(note, width="stretch")
            if table is not None:
                twin(table, key=key, alt=alt)
    return state.selection.points if on_select == "rerun" else ()


def beside(left: int, right: int, *, narrowest: int = 150) -> "tuple[DeltaGenerator, DeltaGenerator]":
    """Two places side by side, as wide as `left` to `right`; on a narrow screen one below the other."""
    grid = st.grid(left + right, min_column_width=narrowest, gap="large")
    return grid.cell(column_span=left), grid.cell(column_span=right)


def table(rows: Iterable[Sequence[object]], columns: Sequence[str]) -> "pd.DataFrame":
    """Rows as a table, for the twin of a chart."""
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(columns))


def twin(table: "pd.DataFrame", *, key: str, alt: str) -> None:
    """The numbers of a chart as a table, one click away."""
    with st.popover("Table", icon=":material/table:", type="tertiary", key=f"{key}_table"):
        st.dataframe(table, hide_index=True, width=560, alt=f"Table: {alt}")


def follow(selected: Sequence[dict[str, object]], links: Sequence[tuple[str, str, float]]) -> None:
    """Make what was clicked in a Sankey the selected concept and class."""
    nodes = sankey_nodes(links)
    for group in selected:
        indices = [int(str(i)) for i in group.get("data_indices", [])]
        if group.get("data_type") == "edge":
            picked = {(kind, links[i][j]) for i in indices if i < len(links) for j, kind in ((0, "k:"), (1, "c:"))}
        else:
            picked = {nodes[i] for i in indices if i < len(nodes)}
        for kind, name in picked:
            select(**{"concept" if kind == "k:" else "class_": name})
