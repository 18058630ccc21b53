"""What was computed once and is told again, as JSON: a file for each name, which holds as long as its key does."""

import hashlib
import json
from typing import Any

from app.workspace import Workspace
from cbm.whole_files import write_bytes


def kept(ws: Workspace, name: str, key: str) -> Any:
    """What was last kept under a name, if it followed from the same things; otherwise `None`.

    Parameters
    ----------
    key
        All that the value follows from: fingerprints, a script of edits.
    """
    path = ws.folder("kept") / _file(name)
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found["value"] if found.get("key") == key else None


def keep(ws: Workspace, name: str, key: str, value: Any) -> None:
    """Keep a JSON value in place of what there was under this name."""
    write_bytes(ws.folder("kept") / _file(name), json.dumps({"key": key, "value": value}, allow_nan=False).encode())


def _file(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32] + ".json"
