"""Which parts in the masks each concept is about: a JSON file that lies beside a data set's masks.

    {"parts": ["background", "bill", "wing"], "concepts": {"red bill": {"parts": ["bill"]}}}

`parts` names the numbers in the masks, from 0. The demo's `truth.json` has the same two keys.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from cbm.data import ImageDataset
from cbm.errors import DataError

FILES = ("parts.json", "truth.json")
FOLDERS_UP = 3  # from a mask, in which the file is looked for


def parts_file(dataset: ImageDataset) -> Path | None:
    """The file in the folder of the first mask, or up to two folders above it; or `None`."""
    first = next((mask for mask in dataset.masks or () if mask is not None), None)
    folders = [] if first is None else list(first.parents)[:FOLDERS_UP]
    return next((folder / name for folder in folders for name in FILES if (folder / name).is_file()), None)


def read_parts(path: Path) -> Mapping[str, Mapping[int, str]]:
    """Concept to the numbers and names of its parts.

    Raises
    ------
    DataError
        If the file is not of that form, or names a part that it does not list.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        number = {str(name): i for i, name in enumerate(content["parts"])}
        return {
            str(concept): {number[str(name)]: str(name) for name in told["parts"]}
            for concept, told in content["concepts"].items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path.name} does not say which parts the concepts are about: {type(error).__name__} {error}",
            hint='write {"parts": ["background", "bill"], "concepts": {"red bill": {"parts": ["bill"]}}}',
        ) from error
