"""The jobs that learn: a concept bank from texts or annotated images, and a concept model with its measurements."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app import store
from app.banks import add_concepts
from app.workspace import Workspace
from cbm.errors import UsageError
from cbm.progress import OnProgress, part, wordy

if TYPE_CHECKING:
    from cbm.model import ConceptModel
    from cbm.training_set import TrainingSet


def build_bank(ws: Workspace, params: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Build the concept bank `name` with `encoder`, and measure it where `dataset` is annotated.

    `source` is `texts`, with the phrases in `texts`, or `examples`: the annotated images of the data set, for which
    `method`, `c`, `per_side` and `seed` are options of `cbm.sources.bank_from_examples`; or `picked`: one `concept` from
    the ids `with` it and `without` it, put into the bank if there is one of that name.
    """
    from cbm.sources import bank_from_examples, bank_from_texts, measure_bank

    data = store.training_set(ws, params["dataset"], params["encoder"])
    if params["source"] == "texts":
        encoder = store.load_encoder(ws, params["encoder"])
        bank = measure_bank(bank_from_texts(encoder, params["texts"], on_progress=on_progress), data)
    elif params["source"] == "examples":
        chosen = {name: params[name] for name in ("method", "c", "per_side", "seed") if name in params}
        bank = bank_from_examples(data, **chosen, on_progress=on_progress)
    elif params["source"] == "picked":
        from app.picking import picked_bank

        bank = picked_bank(data, params["concept"], params["with"], params["without"])
        if params["name"] in {row.name for row in store.banks(ws)}:
            row = add_concepts(ws, params["name"], bank)
            return {"bank": row.name, **row.summary}
    else:
        raise UsageError(f"concepts cannot come from {params['source']!r}", hint="choose texts, examples or picked")
    row = store.add_bank(ws, params["name"], bank, dataset=params["dataset"])
    return {"bank": row.name, **row.summary}


def fit_model(ws: Workspace, params: Mapping[str, Any], on_progress: OnProgress) -> dict[str, Any]:
    """Fit `method` with `options` on `dataset` embedded by `encoder`, store it as `name`, and measure it.

    `bank` names a concept bank, or is absent; `candidates` are sentences by class, or absent.
    Measured on the validation images, or the test images where there are no others.
    """
    from cbm.methods import Need, fit, method
    from cbm.vocabulary import checked
    from probes.metrics import evaluate

    start = time.monotonic()
    reads_text = Need.TEXT_ENCODER in method(params["method"]).needs
    encoder = store.load_encoder(ws, params["encoder"]) if reads_text else None
    data = store.training_set(ws, params["dataset"], params["encoder"], encoder=encoder)
    if params.get("candidates"):
        data = replace(data, candidates=checked(params["candidates"]))
    bank = store.bank(ws, params["bank"]) if params.get("bank") else None
    if bank is not None and bank.contract != data.contract:
        data = replace(data, concept_x=_seen_by(ws, params["dataset"], bank.encoder_id, data.ids))
    options = params.get("options") or {}
    model = fit(params["method"], data, bank=bank, on_progress=part(on_progress, 0.0, 0.6), **options)
    seconds = time.monotonic() - start
    split = next((name for name in ("val", "test") if name in data.split_names), data.split_names[0])
    probe = linear_probe(ws, params["dataset"], data)
    found = evaluate(model, data, split=split, probe=probe, on_progress=part(wordy(on_progress), 0.6, 1.0)).to_json()
    store.add_model(ws, params["name"], model, dataset=params["dataset"], bank=params.get("bank"))
    store.set_metrics(ws, params["name"], found, split=split)
    measured = {key: found[key] for key in ("split", "n", "metrics", "not_computed")}
    return {"model": params["name"], "method": params["method"], "seconds": round(seconds, 3), **measured}


def linear_probe(ws: Workspace, dataset: str, data: "TrainingSet") -> "ConceptModel | None":
    """The workspace's own linear probe of these embeddings, fitted with the default options, if there is one."""
    from cbm.methods import method, resolved

    defaults = resolved(method("linear-probe").config())
    for row in store.models(ws, dataset=dataset):
        if row.method == "linear-probe":
            model = store.base_model(ws, row.name)
            made_of = model.recipe.contract, dict(model.recipe.options), model.recipe.images
            if made_of == (data.contract, defaults, int((data.splits == "train").sum())):
                return model
    return None


def _seen_by(ws: Workspace, dataset: str, encoder_id: str, ids: tuple[str, ...]) -> Any:
    """Embeddings of these images by another encoder, or `None` where not all of them have one."""
    if encoder_id not in store.dataset_row(ws, dataset).encoders:
        return None
    other = store.training_set(ws, dataset, encoder_id)
    places = {id: row for row, id in enumerate(other.ids)}
    return other.x[[places[id] for id in ids]] if places.keys() >= set(ids) else None
