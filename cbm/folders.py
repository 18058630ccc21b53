"""Walking through folders of other people: what is hidden is left out, links to folders are told and not followed."""

import os
from collections.abc import Iterator
from pathlib import Path

from cbm.errors import DataError
from cbm.rows import Problem

MAX_FILES = 5_000_000


def is_hidden(name: str) -> bool:
    """Whether a name is of a hidden file, or of one that macOS and Windows add by themselves."""
    return name.startswith((".", "__MACOSX")) or name.lower() in {"thumbs.db", "desktop.ini"}


def files_below(top: Path) -> tuple[list[str], list[Problem]]:
    """Every file below a folder as a relative path, hidden ones left out, and the links that were not followed."""
    files: list[str] = []
    problems: list[Problem] = []
    for folder, names, leaves in os.walk(top):
        names[:] = sorted(name for name in names if not is_hidden(name))
        inside = os.path.relpath(folder, top)
        prefix = "" if inside == "." else inside.replace(os.sep, "/") + "/"
        files += [prefix + leaf for leaf in leaves if not is_hidden(leaf)]
        if len(files) > MAX_FILES:
            raise DataError(f"{top.name!r} holds more than {MAX_FILES} files", hint="import it in parts")
        links = [name for name in names if os.path.islink(os.path.join(folder, name))]
        problems += [
            Problem("link", prefix + name, "is a link to a folder and is left out", "warning") for name in links
        ]
    return files, problems


def wrappers(top: Path) -> Iterator[Path]:
    """The folder itself, and as long as it holds nothing but one folder, that one."""
    for _ in range(8):
        yield top
        entries = [entry for entry in top.iterdir() if not is_hidden(entry.name)]
        if len(entries) != 1 or not entries[0].is_dir() or entries[0].is_symlink():
            return
        top = entries[0]


def find(top: Path, *names: str) -> Path | None:
    """The first file or folder of one of these relative names, in a folder itself and then in the folders inside it."""
    with os.scandir(top) as entries:
        children = sorted(entry.name for entry in entries if entry.is_dir() and not is_hidden(entry.name))
    for folder in (top, *(top / child for child in children)):
        for name in names:
            if (folder / name).exists():
                return folder / name
    return None
