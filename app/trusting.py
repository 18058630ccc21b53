"""Whether a model can be trusted, as a job: what was found is kept under the model's and the images' content.

So an edit, a renamed concept or another data set asks again, and the same question is answered at once.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app import store
from app.workspace import Workspace
from cbm.edits import dumps
from cbm.errors import EncoderError, ModelError, PellucidError, UsageError
from cbm.progress import OnProgress, part
from cbm.whole_files import write_bytes

if TYPE_CHECKING:
    from cbm.encoders import Encoder
    from cbm.model import ConceptModel
    from cbm.training_set import TrainingSet
    from probes.intervals import Estimate
    from probes.parts import Place

FORMAT = 1  # of what is kept; a newer one asks again
IMAGES = 120  # whose maps are compared with masks
MAIN = "main"


def kept_trust(ws: Workspace, model: str, split: str, *, branch: str = MAIN) -> dict[str, Any] | None:
    """What was found about this model on these images, if somebody asked already."""
    path = ws.folder("trust") / f"{_key(ws, model, split, branch)}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def trust_model(ws: Workspace, params: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Give every concept of `model` (on `branch`, with its edits) a verdict on the images of `split`, and keep it.

    Raises
    ------
    UsageError
        If the model belongs to no data set.
    """
    from probes.trust import examine

    name, split, branch = params["model"], params["split"], params.get("branch") or MAIN
    row = store.model_row(ws, name)
    if row.dataset is None:
        raise UsageError(f"{row.name} does not belong to a data set here", hint="import its data set and embed it")
    key = _key(ws, name, split, branch)
    model, data = store.model(ws, name, branch=branch), store.training_set_of(ws, row.method, row.dataset, row.encoder)
    data.split(split)
    on_progress(0.0, f"loading {row.encoder}")
    encoder, reason = _encoder(ws, row.encoder)
    names = None if encoder is None else _names(encoder, model)
    places: dict[str, Place] = {}
    if encoder is not None:
        places, reason = _places(ws, row.dataset, encoder, model, split, part(on_progress, 0.02, 0.3))
    known = _controls(ws, row, model, data, split)
    found = examine(
        model, data, split=split, names=names, places=places, controls=known, on_progress=part(on_progress, 0.3, 1.0)
    ).to_json()
    if reason:
        found["not_computed"] = {**found["not_computed"], "relevance_mass": reason}  # type: ignore[dict-item]
    answer = {"model": name, "branch": branch, **found}
    write_bytes(ws.folder("trust") / f"{key}.json", json.dumps(answer, allow_nan=False).encode())
    return answer


def _key(ws: Workspace, model: str, split: str, branch: str) -> str:
    """Names the model with its edits, the images, and the way of looking."""
    row = store.model_row(ws, model)
    images = "" if row.dataset is None else store.dataset_row(ws, row.dataset).fingerprint
    script = dumps(store.history(ws, model, branch).edits)
    return hashlib.sha256(
        json.dumps([FORMAT, row.fingerprint, script, images, row.encoder, split]).encode()
    ).hexdigest()


def _encoder(ws: Workspace, id: str) -> "tuple[Encoder | None, str]":
    """The encoder, or why it is not to be had: much can be said without it."""
    try:
        return store.load_encoder(ws, id), ""
    except PellucidError as error:
        return None, error.message


def _names(encoder: "Encoder", model: "ConceptModel") -> Any:
    """The text embedding of each concept's name, `[k d]`, where the encoder reads text."""
    from cbm.encoders import TextEncoder
    from cbm.sources import bank_from_texts
    from probes.naming import plain_name

    if not isinstance(encoder, TextEncoder):
        return None
    plain = [plain_name(concept) for concept in model.concepts]
    distinct = list(dict.fromkeys(plain))
    vectors = bank_from_texts(encoder, distinct).vectors
    return vectors[[distinct.index(name) for name in plain]]


def _places(
    ws: Workspace, dataset: str, encoder: "Encoder", model: "ConceptModel", split: str, on_progress: OnProgress
) -> "tuple[dict[str, Place], str]":
    """Where the concepts' maps lie, or why that cannot be said."""
    from cbm.concept_parts import parts_file, read_parts
    from probes.naming import plain_name
    from probes.parts import MaskedImage, places

    images = store.dataset(ws, dataset)
    file = parts_file(images)
    if images.masks is None or images.concept_labels is None:
        return {}, "the images have no part masks, or no concepts are annotated"
    if file is None:
        return {}, "no parts.json beside the masks says which part each concept is about"
    plain = {concept: plain_name(concept) for concept in model.concepts}
    shown = []
    for i in (images.splits == split).nonzero()[0]:
        mask = images.masks[i]
        there = {name for name, value in zip(images.concepts, images.concept_labels[i], strict=True) if value >= 0.5}
        if mask is not None and len(shown) < IMAGES:
            shown.append(MaskedImage(images.paths[i], mask, frozenset(c for c, name in plain.items() if name in there)))
    parts = read_parts(file)
    own = {concept: parts[name] for concept, name in plain.items() if name in parts}
    try:
        found = places(model, encoder, shown, own, on_progress=on_progress)
    except (EncoderError, ModelError) as error:
        return {}, error.message
    return found, "" if found else "no concept of the model has a part that enough images show"


def _controls(
    ws: Workspace, row: store.ModelRow, model: "ConceptModel", data: "TrainingSet", split: str
) -> "dict[str, Estimate]":
    """The controls' accuracies that were measured already for the model as it was fitted."""
    from app.fitting import linear_probe
    from probes.controls import CONTROLS
    from probes.intervals import Estimate
    from probes.tables import accuracy_of, decide

    measured = row.metrics.get(split, {}).get("metrics", {}) if not model.edits else {}
    found = {name: Estimate(**measured[name]) for name in CONTROLS if name in measured}
    probe = linear_probe(ws, str(row.dataset), data) if "linear_probe_accuracy" not in found else None
    return found if probe is None else {**found, "linear_probe_accuracy": accuracy_of(decide(probe, data, split))}
