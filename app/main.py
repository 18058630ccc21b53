"""The web app's entry: what every screen needs first (title, selection, sidebar), then the screen of the address.

The screens lie in `screens`, not in `pages`: beside a folder of that name Streamlit would run the screen of a deep link
without this file.
"""

from pathlib import Path

import streamlit as st

from app import ui

SCREENS = {
    "": [("home", "Home", ":material/home:")],
    "Prepare": [
        ("data", "Data", ":material/photo_library:"),
        ("concepts", "Concepts", ":material/category:"),
        ("build", "Build", ":material/build:"),
    ],
    "Understand": [
        ("explain", "Explain", ":material/search_insights:"),
        ("intervene", "Intervene", ":material/tune:"),
        ("attention", "Attention", ":material/center_focus_strong:"),
        ("trust", "Trust", ":material/verified:"),
        ("compare", "Compare", ":material/compare_arrows:"),
    ],
    "Correct": [
        ("edit", "Edit", ":material/edit_note:"),
        ("fix", "Test-time fix", ":material/healing:"),
        ("export", "Export", ":material/ios_share:"),
    ],
    "Workspace": [
        ("jobs", "Jobs", ":material/pending_actions:"),
        ("settings", "Settings", ":material/settings:"),
        ("help", "Help", ":material/help:"),
    ],
}

ICON = Path(__file__).with_name("icon.png")
st.set_page_config(page_title="Pellucid", page_icon=str(ICON), layout="wide")
st.logo(str(ICON), size="large")
page = st.navigation(
    {
        group: [
            st.Page(Path(ui.FOLDER, f"{name}.py"), title=title, icon=icon, url_path=name, default=name == "home")
            for name, title, icon in screens
        ]
        for group, screens in SCREENS.items()
    },
    expanded=True,
)
st.session_state["pellucid_screen"] = page.url_path
with ui.edge():
    ui.keep()
    ui.sidebar()
    ui.show_problems()
    page.run()
