"""What reproduces a screen: the command for a shell and the script for Python, with every name quoted."""

import shlex

from app.history import MAIN
from app.ui.loaded import Scene

_OPENING = """\
import os

import cbm
from app import store
from app.settings import Settings

ws = store.open_workspace(Settings.from_environment(os.environ))
model = store.model(ws, {model!r}{branch})
images = store.training_set(ws, {dataset!r}, {encoder!r})
"""


def command(*words: str) -> str:
    """A `pellucid` command, safe to paste.

    Examples
    --------
    >>> command("explain", "my model")
    "pellucid explain 'my model'"
    """
    return shlex.join(["pellucid", *words])


def reference(scene: Scene) -> str:
    """The model as commands name it: with its branch unless that is the main one."""
    return scene.row.name if scene.history.branch == MAIN else f"{scene.row.name}@{scene.history.branch}"


def script(scene: Scene, *lines: str) -> str:
    """Python that opens what the screen looks at and then runs the lines."""
    branch = "" if scene.history.branch == MAIN else f", branch={scene.history.branch!r}"
    names = {"model": scene.row.name, "dataset": scene.dataset.name, "encoder": scene.row.encoder}
    return _OPENING.format(branch=branch, **names) + "\n".join(lines)
