"""Screens that show no model's answers open without torch: they are there before the libraries are."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from shore import fill
from streamlit.testing.v1 import AppTest

from app.workspace import Workspace

MAIN = Path(__file__).parents[3] / "app" / "main.py"
OPENED = """
import sys
from streamlit.testing.v1 import AppTest
for name in {names}:
    page = AppTest.from_file({main!r}, default_timeout=60).switch_page(f"screens/{{name}}.py").run()
    print(name, page.title[0].value, *[error.value for error in page.error], "torch" in sys.modules)
"""


def opened(workspace: Workspace, *names: str) -> list[str]:
    """What a fresh process says of these screens: title, errors, and whether torch is there by then."""
    code = OPENED.format(names=names, main=str(MAIN))
    environment = {**os.environ, **workspace.settings.to_environment()}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()


def test_data_and_jobs_open_without_torch(shore: Workspace) -> None:
    assert opened(shore, "data", "jobs") == ["data Data False", "jobs Jobs False"]


def test_home_opens_without_torch_once_its_story_was_told(
    open_screen: Callable[..., AppTest], workspace: Workspace, tmp_path: Path, words: Callable[[AppTest], str]
) -> None:
    fill(workspace, tmp_path / "shore", each=8, place="the far shore")
    first = open_screen("home")

    assert opened(workspace, "home") == ["home Pellucid False"]
    assert words(open_screen("home")) == words(first)
    assert "right on 100 % of the shore where it was fitted" in words(first)
