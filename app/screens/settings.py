"""Settings: where things are kept, what is used, and whether everything is as it should be. Nothing secret is shown."""

from dataclasses import fields

import streamlit as st
from sqlalchemy import make_url

from app import store, ui
from app.settings import PREFIX, Settings
from app.ui.text import escape

ICONS = {
    "ok": (":material/check:", "green"),
    "note": (":material/info:", "gray"),
    "problem": (":material/error:", "orange"),
}


@st.cache_data(show_spinner="Looking at versions, devices and folders …", ttl="10m", max_entries=2)
def findings(key: str, _settings: Settings) -> list[tuple[str, str, str, str]]:
    """What `pellucid doctor` finds."""
    from app.commands.health import examine

    return [(found.state, found.name, found.detail, found.hint) for found in examine(_settings)]


def health(settings: Settings) -> None:
    """Everything that was looked at, problems first."""
    found = findings(str(sorted(public(settings).items())), settings)
    problems = [line for line in found if line[0] == "problem"]
    if problems:
        st.warning(f"{ui.plural(len(problems), 'problem')} found.", icon=":material/error:")
    with st.container(border=True, gap="xsmall"):
        for state, name, detail, hint in sorted(found, key=lambda line: ("problem", "note", "ok").index(line[0])):
            icon, colour = ICONS[state]
            with st.container(horizontal=True, vertical_alignment="center", gap="small"):
                st.badge(state, icon=icon, color=colour)
                st.markdown(f"**{escape(name)}**  {escape(detail, 400)}")
            if hint:
                st.caption(escape(hint, 400))
    st.button("Look again", icon=":material/refresh:", on_click=findings.clear, type="tertiary", key="look_again")


def public(settings: Settings) -> dict[str, str]:
    """Every setting as text, with the database's password taken out."""
    values = {f.name: str(getattr(settings, f.name)) for f in fields(settings)}
    values["database_url"] = make_url(settings.url).render_as_string(hide_password=True)
    return values


def listing(settings: Settings) -> None:
    """Every setting with its value, the variable that sets it, and what it is for."""
    rows = [
        (f.name.replace("_", " "), public(settings)[f.name], PREFIX + f.name.upper(), f.metadata.get("help", ""))
        for f in fields(settings)
    ]
    st.dataframe(
        ui.table(rows, ["setting", "value", "variable", "what it is"]),
        hide_index=True, height="content", alt=f"{len(rows)} settings with their environment variables",
        column_config={
            "value": st.column_config.TextColumn(width=240),
            "what it is": st.column_config.TextColumn(width="large"),
        },
    )  # fmt: skip
    st.caption("Settings are read once, from the environment, when Pellucid starts.")


def contents() -> None:
    """How much the workspace holds."""
    ws = ui.workspace()
    datasets = store.datasets(ws)
    with st.container(horizontal=True, gap="large"):
        st.metric("Data sets", f"{len(datasets):,}", width="content")
        st.metric("Images", f"{sum(row.size for row in datasets):,}", width="content")
        st.metric("Concept banks", f"{len(store.banks(ws)):,}", width="content")
        st.metric("Models", f"{len(store.models(ws)):,}", width="content")
    st.caption(
        f"In {escape(str(ws.settings.home), 300)}. To move a workspace, stop Pellucid and move the whole folder."
    )


ui.header(
    "Settings",
    "Where things are kept, what is used, and whether all is well.",
    command=ui.command("doctor"),
    python="import os\n\nfrom app.commands.health import examine\nfrom app.settings import Settings\n\n"
    "list(examine(Settings.from_environment(os.environ)))",
)
st.subheader("Workspace", anchor=False)
contents()
st.subheader("Health", anchor=False)
health(ui.workspace().settings)
st.subheader("Settings", anchor=False)
listing(ui.workspace().settings)
st.subheader("Appearance", anchor=False)
st.markdown("Light, dark, or as the system: in the menu :material/more_vert: at the top right, under *Settings*.")
