"""Measurements that take more than a moment: a job measures a model once with controls and curves, and they stay with it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from app import store
from app.workspace import Workspace
from cbm.errors import UsageError
from cbm.progress import OnProgress

if TYPE_CHECKING:
    from probes.effective_concepts import NecCurve


def measure_model(ws: Workspace, params: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Measure `model`, as it was fitted, on `split` with controls and accuracy at few concepts, and keep it with the model.

    Raises
    ------
    UsageError
        If the model belongs to no data set.
    """
    from app.fitting import linear_probe
    from probes.metrics import evaluate

    row = store.model_row(ws, params["model"])
    if row.dataset is None:
        raise UsageError(f"{row.name} does not belong to a data set here", hint="import its data set and embed it")
    data = store.training_set_of(ws, row.method, row.dataset, row.encoder)
    probe = linear_probe(ws, row.dataset, data)
    found = evaluate(
        store.base_model(ws, row.name), data, split=params["split"], probe=probe, anec=True, on_progress=on_progress
    ).to_json()
    store.set_metrics(ws, row.name, found, split=params["split"])
    return {"model": row.name, **found}


def kept_curve(row: store.ModelRow, split: str, name: str = "nec_curve") -> "NecCurve | None":
    """Accuracy against the number of effective concepts as it was measured for the model without edits.

    Parameters
    ----------
    name
        "nec_curve", or "random_nec_curve" for as many random concepts.
    """
    from probes.effective_concepts import read_curve

    found = row.metrics.get(split)
    saved = found.get(name) if isinstance(found, Mapping) and not row.edits else None
    return None if saved is None else read_curve(saved)
