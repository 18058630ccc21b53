"""Several models on the same images, as `pellucid compare` prints it and the screen Compare shows it."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from app import store
from app.measuring import kept_curve
from app.workspace import Workspace
from cbm.errors import UsageError
from cbm.progress import OnProgress, part, silent


def compared(
    ws: Workspace,
    models: Sequence[str],
    *,
    split: str = "test",
    dataset: str | None = None,
    anec: bool = True,
    on_progress: OnProgress = silent,
) -> dict[str, Any]:
    """Metrics of each model (`NAME` or `NAME@BRANCH`), and the others tested against the first.

    What was measured before, with controls, is used again; accuracy at few concepts is measured when it is not there.

    Raises
    ------
    UnknownName
        If there is no such model, branch or split.
    UsageError
        If a model belongs to no data set and none is named.
    """
    import torch

    from probes.calibration import reliability
    from probes.metrics import evaluate
    from probes.multiplicity import holm
    from probes.pairs import pairing
    from probes.tables import decide

    items, decided = [], []
    for i, text in enumerate(models):
        step = part(on_progress, i / len(models), (i + 1) / len(models))
        name, _, branch = text.partition("@")
        row = store.model_row(ws, name)
        if dataset is None and row.dataset is None:
            raise UsageError(f"{name} does not belong to a data set here", hint="name one with --data DATASET")
        model = store.model(ws, name, branch=branch or "main")
        data = store.training_set(ws, dataset or str(row.dataset), row.encoder)
        own = dataset in (None, row.dataset) and not model.edits
        curve = kept_curve(row, split) if own else None
        found = row.metrics[split] if curve is not None else None
        if found is None:
            found = evaluate(model, data, split=split, controls=False, anec=anec, on_progress=step).to_json()
        decisions = decide(model, data, split)
        bins = [asdict(one) for one in reliability(decisions)]
        items.append({"name": text, **found, "reliability": bins})
        decided.append((text, model.classes, decisions))
    first, classes, decisions = decided[0]
    tests = [(second, pairing(decisions, theirs, (classes, named))) for second, named, theirs in decided[1:]]
    corrected = holm(torch.tensor([test.p_value for _, test in tests], dtype=torch.float64)).tolist()
    pairs = [
        {"first": first, "second": second, **test.to_json(), "p_corrected": p}
        for (second, test), p in zip(tests, corrected, strict=True)
    ]
    return {"split": split, "baseline": models[0], "correction": "holm", "items": items, "pairs": pairs}
