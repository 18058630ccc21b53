"""Jobs: all long work, with how far it is, what it printed, and what it led to."""

import streamlit as st

from app import jobs, ui
from app.ui.work import EVERY, job_line

SHOWN = 12
WHICH = {"All": None, "Active": True, "Ended": False}


@ui.guarded
def listing(which: str, only: int | None, page: int, live: bool) -> None:
    """One page of jobs, newest first; the whole page runs again, and then rests, when the last active one has ended."""
    ws = ui.workspace()
    if live and not jobs.jobs(ws, active=True, limit=1):
        st.rerun()
    rows = [jobs.job(ws, only)] if only is not None else _page(which, page)
    if not rows:
        ui.empty(
            "No job here" if which != "All" else "No job yet",
            "Imports, embeddings, concepts and models are made by jobs; they go on when this page is closed.",
            screen="data",
            action="Import a data set",
        )
    for row in rows:
        job_line(row, key="job")


def _page(which: str, page: int) -> list[jobs.JobRow]:
    rows = jobs.jobs(ui.workspace(), active=WHICH[which], limit=page * SHOWN)
    return rows[(page - 1) * SHOWN :]


def chosen() -> int | None:
    """The job that the address names."""
    named = st.query_params.get("job", "")
    return int(named) if named.isdigit() else None


def leave_one() -> None:
    """Show all jobs again."""
    st.query_params.pop("job", None)


only = chosen()
ui.header(
    "Jobs",
    "Work that takes its time. It goes on when you close this page.",
    command=ui.command("jobs", *(["show", str(only)] if only is not None else ["list"])),
    python="import os\n\nfrom app import jobs, store\nfrom app.settings import Settings\n\n"
    "ws = store.open_workspace(Settings.from_environment(os.environ))\njobs.jobs(ws)",
)
which, page = "All", 1
if only is None:
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        which = st.segmented_control(
            "Which jobs", list(WHICH), default="All", required=True, key="which", bind="query-params",
            label_visibility="collapsed",
        )  # fmt: skip
        count = len(jobs.jobs(ui.workspace(), active=WHICH[which], limit=SHOWN * 40))
        if count > SHOWN:
            page = st.pagination(-(-count // SHOWN), key="page", bind="query-params", max_visible_pages=5)
else:
    st.button("All jobs", icon=":material/arrow_back:", on_click=leave_one, type="tertiary")
live = bool(jobs.jobs(ui.workspace(), active=True, limit=1))
st.fragment(run_every=EVERY if live else None)(listing)(which, only, page, live)
