"""Test-time fixes in a workspace: labelled images of a new place, the fix they call for, and the branch it is kept on.

A fix is kept as a *profile*: a branch of the model's edits, named for the place. The branch it started from stays as it
is, so the accuracy at the source is untouched for as long as the source is served from there.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from app import store
from app.history import History
from app.workspace import Workspace
from cbm.errors import DataError, StoreError, UsageError

if TYPE_CHECKING:
    from cbm.edits import Edit
    from cbm.training_set import TrainingSet

KNOWN = ("train", "val", "test")
MOST_LOST = 0.01  # share of the source's images; a fix that would lose more there is kept only when asked twice


def place_of(data: "TrainingSet") -> str | None:
    """The split that comes from a new place: the first that is none of train, val and test."""
    return next((name for name in data.split_names if name not in KNOWN), None)


def place_name(data: "TrainingSet", split: str) -> str:
    """What a profile for a split is called: the group that all its images belong to, or else the split."""
    groups = set(data.split(split).groups or ("",))
    return split if len(groups) > 1 or "" in groups else groups.pop()


def drawn_support(data: "TrainingSet", split: str | None, *, per_class: int, seed: int) -> "TrainingSet":
    """Images of every class, drawn from a split of the data set.

    Raises
    ------
    UsageError
        If no split is named and none is known to come from a new place.
    DataError
        If a class has too few images.
    """
    from probes.fixes import draw_support

    if split is None:
        raise UsageError("which images come from the new place?", hint="name them with --support or --split")
    return data.where(draw_support(data, split, per_class=per_class, seed=seed))


def listed_support(ws: Workspace, dataset: str, data: "TrainingSet", manifest: Path) -> "TrainingSet":
    """The labelled images that a manifest lists.

    An image that is in the data set, by the bytes of its file or else by its id, is taken from there; the others are
    embedded now, by the encoder that embedded the data.

    Raises
    ------
    DataError
        If the manifest or an image cannot be read, or a label is not a class of the data set.
    """
    from cbm.manifests import list_manifest

    listing = list_manifest(manifest)
    errors = [problem for problem in listing.problems if problem.level == "error"]
    if errors:
        raise DataError(f"{manifest.name}: {errors[0].detail}", hint="give a CSV with the columns path and label")
    if not listing.rows:
        raise DataError(f"{manifest.name} lists no image", hint="list a few labelled images of every class")
    for row in listing.rows:
        if row.label not in data.classes:
            raise DataError(
                row.says(f"{row.label!r} is not a class"), hint=f"the classes are {', '.join(data.classes)}"
            )
    files = [listing.root / row.path for row in listing.rows]
    names = [row.name for row in listing.rows]
    return _gathered(ws, dataset, data, names, files, [data.classes.index(row.label) for row in listing.rows])


def _gathered(
    ws: Workspace, dataset: str, data: "TrainingSet", names: Sequence[str], files: Sequence[Path], labels: list[int]
) -> "TrainingSet":
    import numpy as np
    import torch

    from cbm.embeddings import encode_image
    from cbm.encoders import check_contract
    from cbm.training_set import TrainingSet

    places = {id: at for at, id in enumerate(data.ids)}
    there = store.dataset(ws, dataset)
    by_bytes = {digest: places[id] for id, digest in zip(there.ids, there.hashes, strict=True) if id in places}
    at = [_place(name, file, by_bytes, places) for name, file in zip(names, files, strict=True)]
    encoder = store.load_encoder(ws, data.encoder_id) if None in at else None
    if encoder is not None:
        check_contract(encoder, data.contract)
    rows = []
    for place, file in zip(at, files, strict=True):
        if place is None:
            assert encoder is not None
            rows.append(encode_image(encoder, file))
        else:
            rows.append(data.x[place])
    ids = tuple(name if place is None else data.ids[place] for name, place in zip(names, at, strict=True))
    if len(set(ids)) < len(ids):
        raise DataError("the manifest lists an image twice", hint="an image may count only once")
    splits = np.array(["support"] * len(ids))
    return TrainingSet(torch.stack(rows), torch.tensor(labels), data.classes, splits, ids, encoder_id=data.encoder_id)


def _place(name: str, file: Path, by_bytes: dict[str, int], places: dict[str, int]) -> int | None:
    if file.is_file():
        return by_bytes.get(hashlib.sha256(file.read_bytes()).hexdigest())
    if name in places:
        return places[name]
    raise DataError(f"{file} is neither a file nor an image of the data set", hint="paths are relative to the manifest")


def keep_profile(ws: Workspace, model: str, branch: str, edits: "Sequence[Edit]", *, source: str = "main") -> History:
    """Keep a fix on a new branch that starts with the edits of another one.

    Raises
    ------
    StoreError
        If the branch exists, or there is nothing to keep.
    """
    if not edits:
        raise StoreError("there is nothing to keep: no change was found to help")
    started = store.new_branch(ws, model, branch, source=source)
    return store.append(ws, model, edits, branch=branch, expect_version=started.version)


def keep_as_model(ws: Workspace, model: str, name: str, edits: "Sequence[Edit]", *, source: str = "main") -> History:
    """Keep a fix as a model of its own, with the edits of the branch before it.

    Raises
    ------
    StoreError
        If the name is taken, or there is nothing to keep.
    """
    if not edits:
        raise StoreError("there is nothing to keep: no change was found to help")
    row, base = store.model_row(ws, model), store.base_model(ws, model)
    before = store.history(ws, model, source).edits
    store.add_model(ws, name, base, dataset=row.dataset, bank=row.bank)
    return store.append(ws, name, (*before, *edits))


def free_branch(ws: Workspace, model: str, wanted: str) -> str:
    """The wanted name, or the first like it that no branch of the model has."""
    taken = set(store.branches(ws, model))
    return next(name for name in (wanted, *(f"{wanted}-{i}" for i in range(2, 10_000))) if name not in taken)
