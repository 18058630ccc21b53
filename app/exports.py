"""Taking a model away and bringing one in: what the screen Export and the commands `export` and `import` both do."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import store
from app.glossary import title_of_metric
from app.workspace import Workspace
from cbm.errors import UsageError
from cbm.progress import OnProgress, silent
from cbm.whole_files import write_bytes

if TYPE_CHECKING:
    from cbm.onnx_file import OnnxFile


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


def write_bundle(
    ws: Workspace,
    model: str,
    path: Path,
    *,
    branch: str = "main",
    measure: bool = False,
    on_progress: OnProgress = silent,
) -> Exported:
    """Write a model with the edits of a branch as a bundle: a folder, or a zip file when `path` ends in `.zip`.

    With its card, its licences and BibTeX it is also a folder that the Hugging Face hub takes as it is.

    Parameters
    ----------
    measure
        Measure an edited model for its card; else the card of one has no figures.

    Raises
    ------
    UnknownName
        If there is no such model or branch.
    BundleError
        If something else has that path, or it cannot be written.
    """
    from app.report import works
    from cbm.card import licences, model_card
    from cbm.citations import bibtex
    from cbm.edits import describe
    from cbm.io import fingerprint, save

    value, row = store.model(ws, model, branch=branch), store.model_row(ws, model)
    metrics = measured(ws, model, branch=branch, measure=measure, on_progress=on_progress)
    card = model_card(
        value, _titled(model, branch), measured=metrics, title_of=title_of_metric, dataset=row.dataset or ""
    )
    contract, embeddings = value.recipe.contract, store.embedding_store(ws)
    known = contract in embeddings.contracts()
    written = save(
        value,
        path,
        metrics=metrics,
        preprocessing=embeddings.preprocessing(contract).to_dict() if known else None,
        card=card,
        licenses=licences(value),
        citation=bibtex(works(value)),
    )
    checksum = hashlib.sha256(written.read_bytes()).hexdigest() if written.is_file() else ""
    return Exported(written, fingerprint(value), checksum, tuple(describe(edit) for edit in value.edits))


def card_of(ws: Workspace, model: str, *, branch: str = "main") -> str:
    """The card that a bundle of this model holds; without figures where it is edited and not measured since."""
    from cbm.card import model_card

    value, row = store.model(ws, model, branch=branch), store.model_row(ws, model)
    found = measured(ws, model, branch=branch, measure=False)
    return model_card(
        value, _titled(model, branch), measured=found, title_of=title_of_metric, dataset=row.dataset or ""
    )


def write_onnx(
    ws: Workspace, model: str, path: Path, *, branch: str = "main", with_encoder: bool = False
) -> "OnnxFile":
    """Write a model with its edits as ONNX, from embeddings, or from prepared pixels when the encoder goes with it.

    Raises
    ------
    UnknownName
        If there is no such model or branch.
    ModelError, BundleError
        As `cbm.onnx_file.write_onnx`.
    """
    from cbm.onnx_file import write_onnx

    value = store.model(ws, model, branch=branch)
    encoder = store.load_encoder(ws, value.recipe.encoder_id) if with_encoder else None
    return write_onnx(value, path, encoder=encoder)


def write_report(
    ws: Workspace, model: str, path: Path, *, branch: str = "main", on_progress: OnProgress = silent
) -> Path:
    """Write one HTML file about a model with its edits; it needs nothing else to be read.

    Raises
    ------
    UnknownName
        If there is no such model or branch.
    """
    from app.report import report_page

    value, row = store.model(ws, model, branch=branch), store.model_row(ws, model)
    found = measured(ws, model, branch=branch, measure=True, on_progress=on_progress)
    data = None
    if row.dataset is not None and row.encoder in store.dataset_row(ws, row.dataset).encoders:
        whole = store.training_set(ws, row.dataset, row.encoder)
        data = whole.split(_measuring_split(whole.split_names))
    return write_bytes(path, report_page(ws, model, value, found, data, title=_titled(model, branch)).encode())


def measured(
    ws: Workspace, model: str, *, branch: str = "main", measure: bool = True, on_progress: OnProgress = silent
) -> dict[str, Any]:
    """What was measured of a model with the edits of a branch, by split; an edited model is measured now, if at all."""
    from probes.metrics import evaluate

    value, row = store.model(ws, model, branch=branch), store.model_row(ws, model)
    if not value.edits:
        return dict(row.metrics)
    if not measure or row.dataset is None or row.encoder not in store.dataset_row(ws, row.dataset).encoders:
        return {}
    data = store.training_set_of(ws, row.method, row.dataset, row.encoder)
    split = _measuring_split(data.split_names)
    return {split: evaluate(value, data, split=split, on_progress=on_progress).to_json()}


def _measuring_split(names: Sequence[str]) -> str:
    return next((name for name in ("test", "val") if name in names), names[-1])


def _titled(model: str, branch: str) -> str:
    return model if branch == "main" else f"{model}@{branch}"


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
