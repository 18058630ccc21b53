"""Jobs as the screens show them: a title, how far they are, what they led to; and panels that follow them live."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import streamlit as st

from app import jobs
from app.jobs import JobRow
from app.ui.learning import training_curves
from app.ui.loaded import workspace
from app.ui.pieces import FOLDER, callback, edge, screen_exists
from app.ui.selection import parameters, select
from app.ui.text import escape

EVERY = "2s"
STATES = {
    "queued": ("waiting", ":material/schedule:", "gray"),
    "running": ("running", ":material/play_arrow:", "blue"),
    "succeeded": ("done", ":material/check:", "green"),
    "failed": ("failed", ":material/error:", "orange"),
    "cancelled": ("cancelled", ":material/block:", "gray"),
}
_SEEN, _STARTED, _TURNED = "pellucid_seen_jobs", "pellucid_started_jobs", "pellucid_turned"
CURRENT = "pellucid_screen"  # name of the screen that is shown; `app/main.py` keeps it


def job_title(row: JobRow) -> str:
    """What a job does, in words, as plain text.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> job_title(SimpleNamespace(kind="embed", params={"dataset": "birds", "encoder": "builtin:demo"}))
    'Embed birds with builtin:demo'
    """
    say = {name: str(value) for name, value in row.params.items() if value is not None}
    titles: Mapping[str, Callable[[], str]] = {
        "check": lambda: f"Check {say['path'].rstrip('/').rpartition('/')[2]}",
        "import": lambda: f"Import {say['name']}",
        "embed": lambda: f"Embed {say['dataset']} with {say['encoder']}",
        "embed-part": lambda: (
            f"Embed part {int(say['part']) + 1} of {say['parts']} of {say['dataset']} with {say['encoder']}"
        ),
        "bank": lambda: f"Build the concepts {say['name']} from {say['source']}",
        "measure": lambda: f"Measure {say['model']} on {say['split']}",
        "trust": lambda: f"Look whether {say['model']} can be trusted on {say['split']}",
        "fit": lambda: f"Fit {say['method']} on {say['dataset']} as {say['name']}",
        "heads": lambda: f"Measure the heads behind {say['model']}{' for ' + say['concept'] if say['concept'] else ''}",
        "layers": lambda: f"Probe the layers behind {say['model']} for {say['concept']}",
    }
    try:
        return titles[row.kind]()
    except KeyError:  # a kind that an extension added, or one whose parameters are of another version
        return " ".join([row.kind, *(say[key] for key in ("method", "dataset", "name") if key in say)])


def link(
    screen: str, label: str, *, icon: str = ":material/arrow_forward:", extra: Mapping[str, str], **selection: str
) -> None:
    """A link to a screen with the selection and parameters of that screen's own; nothing if it is not there.

    A link to the screen that is shown would leave its controls as they are, so there it is a button that sets them.
    """
    if st.session_state.get(CURRENT) == screen:
        turn = {"on_click": _turn, "args": (dict(extra), selection)}
        st.button(label, icon=icon, type="tertiary", key=f"turn_{sorted(extra.items())}_{selection}", **turn)
    elif screen_exists(screen):
        query = {**parameters(**selection), **extra}
        st.page_link(FOLDER / f"{screen}.py", label=label, icon=icon, query_params=query)


def _turn(extra: Mapping[str, str], selection: Mapping[str, str]) -> None:
    select(**selection)
    for name, value in extra.items():
        if name in st.session_state:
            st.session_state[name] = value
        else:
            st.query_params[name] = value
    st.session_state[_TURNED] = True


def result_link(row: JobRow) -> None:
    """The way to what a job made, once it is made."""
    if row.state != "succeeded":
        return
    result = row.result or {}
    if row.kind == "check":
        link("data", "Read the report", extra={"show": "Import", "check": str(row.id)})
    elif row.kind in ("import", "embed") and "dataset" in result:
        link("data", "Open the data set", extra={"show": "Images"}, dataset=str(result["dataset"]))
    elif row.kind == "bank" and "bank" in result:
        link(
            "concepts",
            "Open the concepts",
            extra={"bank": str(result["bank"]), "show": "Concepts"},
            dataset=str(row.params["dataset"]),
        )
    elif row.kind == "measure" and "model" in result:
        link("compare", "Compare it", extra={"on": str(row.params["split"])}, model=str(result["model"]))
    elif row.kind in ("heads", "layers"):
        here = {
            "model": str(row.params["model"]),
            **({"concept": row.params["concept"]} if row.params["concept"] else {}),
        }
        link("attention", "Look at it", extra={"look": row.kind.capitalize()}, **here)
    elif row.kind == "trust" and "model" in result:
        link("trust", "Read the verdicts", extra={"on": str(row.params["split"])}, model=str(result["model"]))
    elif row.kind == "fit" and "model" in result:
        here = {"dataset": str(row.params["dataset"]), "model": str(result["model"])}
        link("explain", "Explain images with it", extra={}, **here)


def job_line(row: JobRow, *, key: str, detail: bool = True) -> None:
    """A job in a frame: state, title, progress with the time left, and what can be done about it."""
    word, icon, colour = STATES[row.state]
    with st.container(border=True, gap="xsmall"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute", gap="small"):
            with st.container(horizontal=True, vertical_alignment="center", gap="small", width="stretch"):
                stopping = row.active and row.cancel_requested
                st.badge("stopping" if stopping else word, icon=icon, color=colour)
                st.markdown(f"**{escape(job_title(row), 120)}** :gray[job {row.id}]")
            _actions(row, key=key)
        _progress(row)
        if row.state == "running":
            training_curves(row.id, key=key)
        if detail:
            _detail(row, key=key)


def _actions(row: JobRow, *, key: str) -> None:
    if row.active:
        st.button(
            "Cancel", icon=":material/close:", key=f"{key}_cancel_{row.id}", on_click=_cancel, args=(row.id,),
            disabled=row.cancel_requested, help="What is finished is kept",
        )  # fmt: skip
    elif row.state in ("failed", "cancelled"):
        st.button(
            "Retry", icon=":material/refresh:", key=f"{key}_retry_{row.id}", on_click=_retry, args=(row.id,),
            help="Goes on from what was finished",
        )  # fmt: skip
    else:
        result_link(row)


def _progress(row: JobRow) -> None:
    left = f", about {duration(row.eta)} left" if row.eta else ""
    message = escape(row.message, 160)
    if row.state == "queued" and row.progress:  # its parts have begun
        st.progress(row.progress, message)
    elif row.state == "queued":
        st.caption(message or "Waits for its turn; `pellucid worker` starts another worker.")
    elif row.state == "running":
        st.progress(min(max(row.progress, 0.0), 1.0), f"{message or 'starting'}{'' if ' left' in message else left}")
    elif row.state == "failed" and row.error:
        hint = f"  \n{escape(str(row.error.get('hint', '')), 600)}" if row.error.get("hint") else ""
        st.error(f"**{escape(str(row.error.get('message', '')), 600)}**{hint}", icon=":material/error:")
    else:
        took = f", {duration(row.seconds)}" if row.seconds is not None else ""
        st.caption(f"{message or STATES[row.state][0]}{took}")


def _detail(row: JobRow, *, key: str) -> None:
    opened = st.expander("Log and parameters", icon=":material/notes:", type="compact", on_change="rerun",
                         key=f"{key}_log_{row.id}")  # fmt: skip
    if opened.open:
        with opened:
            if row.state != "running":
                training_curves(row.id, key=key)
            lines = jobs.log_tail(workspace(), row.id, 40)
            st.code("\n".join(lines) or "nothing printed yet", language=None, wrap_lines=True, height=240)
            st.json(row.params, expanded=True)
            tries = f"attempt {row.attempt} of {row.max_attempt}"
            st.caption(f"{tries}{f', worker {escape(row.worker)}' if row.worker else ''}")


@callback
def _cancel(id: int) -> None:
    jobs.cancel(workspace(), id)


@callback
def _retry(id: int) -> None:
    jobs.retry(workspace(), id)


def following(kinds: Sequence[str], *, about: Mapping[str, str] | None = None, key: str) -> None:
    """The active jobs of these kinds, live, and how the last one ended; the page runs again when one has ended.

    Parameters
    ----------
    about
        Only jobs with these parameters.
    """
    active = [row.id for row in _chosen(kinds, about or {}) if row.active]
    st.session_state[_SEEN + key] = active
    st.fragment(run_every=EVERY if active else None)(_follow)(tuple(kinds), dict(about or {}), key)


def _follow(kinds: Sequence[str], about: Mapping[str, str], key: str) -> None:
    with edge():
        if st.session_state.pop(_TURNED, False):
            st.rerun()  # the whole page; the button alone would only draw this panel again
        rows = _chosen(kinds, about)
        active = [row for row in rows if row.active]
        before = set(st.session_state.get(_SEEN + key, ()))
        if before - {row.id for row in active}:
            st.rerun()
        running, waiting = ([row for row in reversed(active) if row.state == state] for state in jobs.ACTIVE[::-1])
        for row in [*running, *waiting[: 0 if running else 1]]:
            job_line(row, key=key, detail=False)
        rest = waiting if running else waiting[1:]
        if rest:
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                more = f" and {len(rest) - 3} more" if len(rest) > 3 else ""
                st.caption(f"Then {', '.join(escape(job_title(row), 60) for row in rest[:3])}{more}.", width="content")
                link("jobs", "All jobs", extra={})
        mine = st.session_state.get(_STARTED, ())
        if rows and not active and (rows[0].state == "failed" or rows[0].id in mine):
            job_line(rows[0], key=key, detail=False)


def _chosen(kinds: Sequence[str], about: Mapping[str, str]) -> list[JobRow]:
    """Jobs of these kinds and about this, newest first."""
    rows = jobs.jobs(workspace(), limit=50)
    return [row for row in rows if row.kind in kinds and all(row.params.get(k) == v for k, v in about.items())]


def start(kind: str, params: Mapping[str, Any]) -> JobRow:
    """Queue a job, say so with a word, and remember that it is this session's."""
    row = jobs.enqueue(workspace(), kind, params)
    st.session_state[_STARTED] = [*st.session_state.get(_STARTED, ())[-20:], row.id]
    st.toast(f"{escape(job_title(row), 80)}: job {row.id}", icon=":material/pending_actions:")
    return row


def duration(seconds: float | None) -> str:
    """A time in words.

    Examples
    --------
    >>> duration(7.2), duration(130), duration(8000)
    ('7 s', '2 min', '2.2 h')
    """
    if seconds is None:
        return ""
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 5400
        else f"{seconds / 3600:.1f} h"
    )
