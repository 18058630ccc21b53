"""Which files of the server a person may name by typing a path.

On one's own machine any; on a server that others reach none, unless whoever runs it names folders. Symbolic links and
`..` are followed before the folders are compared.
"""

import os
from pathlib import Path

from app.settings import Settings
from cbm.errors import UsageError

ANY, NONE = "any", "none"


def are_offered(settings: Settings) -> bool:
    """Whether any path may be typed at all."""
    return settings.server_paths != NONE


def permitted(settings: Settings, given: str) -> Path:
    """The absolute path that somebody typed.

    Raises
    ------
    UsageError
        If there is none, or it lies outside the folders that may be used.
    """
    if not given.strip():
        raise UsageError("there is no path", hint="give a path on the machine that runs Pellucid")
    path = Path(given.strip()).expanduser().absolute()
    if settings.server_paths == ANY:
        return path
    roots = [] if settings.server_paths == NONE else settings.server_paths.split(os.pathsep)
    if not any(path.resolve().is_relative_to(Path(root).resolve()) for root in roots):
        raise UsageError(
            "this path lies outside the folders that may be used here",
            hint="upload the files, or ask whoever runs this server to set PELLUCID_SERVER_PATHS",
        )
    return path
