"""How a workspace keeps what it knows about a data set: a JSON file for texts and a safetensors file for numbers.

The folder is named by its content. Paths below the workspace are stored relative to it, so a workspace can be moved.
"""

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cbm.errors import StoreError
from cbm.whole_files import replacing

if TYPE_CHECKING:
    from cbm.data import ImageDataset

FORMAT = 1
TEXTS = "dataset.json"
NUMBERS = "dataset.safetensors"


def save(dataset: "ImageDataset", folder: Path, home: Path) -> str:
    """Write a data set below `folder` and return the name of its content."""
    from safetensors.numpy import save as to_bytes

    texts = json.dumps(_texts(dataset, home), sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    numbers = to_bytes(_numbers(dataset))
    name = hashlib.sha256(hashlib.sha256(texts).digest() + hashlib.sha256(numbers).digest()).hexdigest()
    if not (folder / name).exists():
        with replacing(folder / name) as temporary:
            temporary.mkdir()
            (temporary / TEXTS).write_bytes(texts)
            (temporary / NUMBERS).write_bytes(numbers)
    return name


def load(folder: Path, home: Path) -> "ImageDataset":
    """The data set in a folder that `save` wrote.

    Raises
    ------
    StoreError
        If the folder is missing or damaged, or written by a newer version.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load as from_bytes

    from cbm.data import ImageDataset

    try:
        texts = json.loads((folder / TEXTS).read_bytes().decode("utf-8", "surrogatepass"))
        numbers = from_bytes((folder / NUMBERS).read_bytes())
    except (OSError, ValueError, SafetensorError) as error:
        raise StoreError(
            f"the manifest {folder.name} cannot be read: {error}", hint="import the data set again"
        ) from error
    if texts["format"] != FORMAT:
        raise StoreError(
            f"the manifest has format {texts['format']}; this version reads {FORMAT}", hint="update Pellucid"
        )
    masks = texts["masks"]
    return ImageDataset(
        name=texts["name"],
        ids=tuple(texts["ids"]),
        paths=tuple(home / path for path in texts["paths"]),
        labels=numbers["labels"],
        classes=tuple(texts["classes"]),
        splits=np.array(texts["splits"]),
        concepts=tuple(texts["concepts"]),
        concept_labels=numbers.get("concept_labels"),
        groups=None if texts["groups"] is None else tuple(texts["groups"]),
        masks=None if masks is None else tuple(None if path is None else home / path for path in masks),
        hashes=tuple(texts["hashes"]),
        meta={column: tuple(values) for column, values in texts["meta"].items()},
    )


def stored_path(path: Path, home: Path) -> str:
    """A path as it is stored: relative to the workspace when it is inside, absolute otherwise."""
    full = path.absolute()
    return full.relative_to(home).as_posix() if full.is_relative_to(home) else str(full)


def _texts(dataset: "ImageDataset", home: Path) -> dict[str, object]:
    masks = dataset.masks
    return {
        "format": FORMAT,
        "name": dataset.name,
        "ids": dataset.ids,
        "paths": [stored_path(path, home) for path in dataset.paths],
        "classes": dataset.classes,
        "splits": dataset.splits.tolist(),
        "concepts": dataset.concepts,
        "groups": dataset.groups,
        "masks": None if masks is None else [None if path is None else stored_path(path, home) for path in masks],
        "hashes": dataset.hashes,
        "meta": dict(dataset.meta),
    }


def _numbers(dataset: "ImageDataset") -> dict[str, np.ndarray]:
    numbers = {"labels": np.ascontiguousarray(dataset.labels, np.int64)}
    if dataset.concept_labels is not None:
        numbers["concept_labels"] = np.ascontiguousarray(dataset.concept_labels, np.float32)
    return numbers
