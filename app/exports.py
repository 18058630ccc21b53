"""Taking a model away and bringing one in: what the screen Export and the commands `export` and `import` both do."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from app import store
from app.workspace import Workspace
from cbm.errors import UsageError
from cbm.progress import OnProgress, silent


@dataclass(frozen=True)
class Exported:
    """A file or folder that was written.

    Attributes
    ----------
    fingerprint
        Of the model with its edits; the same wherever it is.
    sha256
        Checksum of the zip file's bytes; empty for a folder, which has one a file inside.
    edits
        What was changed since the model was fitted, one sentence each.
    """

    path: Path
    fingerprint: str
    sha256: str
    edits: tuple[str, ...]


def write_bundle(ws: Workspace, model: str, path: Path, *, branch: str = "main") -> Exported:
    """Write a model with the edits of a branch as a bundle: a folder, or a zip file when `path` ends in `.zip`.

    Raises
    ------
    UnknownName
        If there is no such model or branch.
    BundleError
        If something else has that path, or it cannot be written.
    """
    from cbm.edits import describe
    from cbm.io import fingerprint, save

    value, row = store.model(ws, model, branch=branch), store.model_row(ws, model)
    metrics = None if value.edits else dict(row.metrics)  # the metrics are of the model before its edits
    contract, embeddings = value.recipe.contract, store.embedding_store(ws)
    known = contract in embeddings.contracts()
    preprocessing = embeddings.preprocessing(contract).to_dict() if known else None
    written = save(value, path, metrics=metrics, preprocessing=preprocessing)
    checksum = hashlib.sha256(written.read_bytes()).hexdigest() if written.is_file() else ""
    return Exported(written, fingerprint(value), checksum, tuple(describe(edit) for edit in value.edits))


def write_explanations(
    ws: Workspace,
    model: str,
    path: Path,
    *,
    branch: str = "main",
    dataset: str | None = None,
    split: str | None = None,
    on_progress: OnProgress = silent,
) -> int:
    """Write the explanation of every image of a data set (the model's own by default) as CSV; how many they are.

    Raises
    ------
    UnknownName
        If there is no such model, branch, data set or split.
    UsageError
        If the model belongs to no data set and none is named.
    StoreError
        If the data set is not embedded with the model's encoder.
    """
    from cbm.export import write_explanations

    row = store.model_row(ws, model)
    if dataset is None and row.dataset is None:
        raise UsageError(f"{model} does not belong to a data set here", hint="name the data set to explain it on")
    data = store.training_set(ws, dataset or str(row.dataset), row.encoder)
    chosen = data if split is None else data.split(split)
    write_explanations(store.model(ws, model, branch=branch), chosen, path, on_progress=on_progress)
    return len(chosen)


def import_bundle(
    ws: Workspace, path: Path, name: str, *, classes: Sequence[str] | None = None, encoder: str = ""
) -> store.ModelRow:
    """Bring in a bundle as the model `name`; it is shown on a data set of the same classes, embedded alike.

    A folder that the Label-free CBM project saved, or a zip file of it, will do too; it lacks the names of `classes` and of the `encoder`.

    Raises
    ------
    BundleError
        If it is damaged, unsafe, or made by a newer version.
    StoreError
        If another model has that name.
    """
    from cbm.io import load
    from cbm.labelfree_files import is_saved, read_saved

    model = read_saved(path, classes=classes, encoder_id=encoder) if is_saved(path) else load(path)
    fitting = (
        row.name
        for row in store.datasets(ws)
        if model.recipe.encoder_id in row.encoders and set(row.classes) == set(model.classes)
    )
    return store.add_model(ws, name, model, dataset=next(fitting, None))
