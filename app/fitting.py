"""The jobs that learn: a concept bank from texts or annotated images, and a concept model with its measurements."""

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from app import store
from app.banks import add_concepts
from app.workspace import Workspace
from cbm.errors import DataError, UsageError
from cbm.progress import OnProgress, part, wordy

if TYPE_CHECKING:
    from cbm.bank import ConceptBank
    from cbm.model import ConceptModel
    from cbm.process_group import Group
    from cbm.training_set import TrainingSet

    Made = tuple[ConceptBank, str]  # and what was left out on the way, in words


def build_bank(
    ws: Workspace, params: Mapping[str, Any], on_progress: OnProgress, group: "Group | None" = None
) -> dict[str, Any]:
    """Build the concept bank `name` with `encoder`, and measure it where `dataset` is annotated.

    `source` is a name in `SOURCES`; what else each needs is told there. `picked` concepts go into a bank that is there.
    Or `sae`: the atoms that an autoencoder finds, a bank for each width, which several processes may share; see
    `app.atom_banks`.
    """
    from cbm.process_group import ALONE
    from cbm.sources import measure_bank

    group = group or ALONE

    if params["source"] not in (*SOURCES, "sae"):
        raise UsageError(f"concepts cannot come from {params['source']!r}", hint=f"choose {', '.join(SOURCES)}, sae")
    if group.size > 1 and params["source"] != "sae":
        raise UsageError("several processes can only share --from sae", hint="start it without torchrun")
    data = store.training_set(ws, params["dataset"], params["encoder"])
    if params["source"] == "sae":
        from app.atom_banks import add_atom_banks

        made = group.gather(add_atom_banks(ws, params, data, on_progress, group))[0]
        return {"bank": made[0].name, "banks": [row.name for row in made], **made[0].summary}
    bank, left_out = SOURCES[params["source"]](ws, data, params, on_progress)
    if params["source"] == "picked" and params["name"] in {row.name for row in store.banks(ws)}:
        row = add_concepts(ws, params["name"], bank)
    else:
        row = store.add_bank(ws, params["name"], measure_bank(bank, data), dataset=params["dataset"])
    return {"bank": row.name, **row.summary} | ({"left_out": left_out} if left_out else {})


def _of_texts(ws: Workspace, data: "TrainingSet", params: Mapping[str, Any], on_progress: OnProgress) -> "Made":
    """The phrases in `texts`."""
    from cbm.sources import bank_from_texts

    encoder = store.load_text_encoder(ws, params["encoder"])
    return bank_from_texts(encoder, params["texts"], on_progress=on_progress), ""


def _of_vocabulary(ws: Workspace, data: "TrainingSet", params: Mapping[str, Any], on_progress: OnProgress) -> "Made":
    """The words in `words`, or of the `list` that ships, of certain `parts` and `groups`, `most` of them at most.

    Words the encoder does not know, blocked ones, and (unless `names` is false) such as name a class are left out.
    """
    from cbm.word_banks import bank_from_words, known_to
    from cbm.words import as_words, shipped, sift

    encoder = store.load_text_encoder(ws, params["encoder"])
    words = as_words(params["words"]) if params.get("words") else shipped(params.get("list") or "all")
    names = data.classes if params.get("names", True) else ()
    chosen = {key: params[key] for key in ("parts", "groups", "most") if params.get(key)}
    known = known_to(encoder, words)
    sifted = sift(known.words, names=names, **chosen)
    sifted = replace(sifted, dropped=known.dropped + sifted.dropped)
    if not sifted.words:
        raise DataError(f"no word is left: {sifted.summary()}", hint="choose other words, or fewer filters")
    return bank_from_words(encoder, sifted.words, on_progress=on_progress), sifted.summary()


def _of_sentences(ws: Workspace, data: "TrainingSet", params: Mapping[str, Any], on_progress: OnProgress) -> "Made":
    """The `candidates` by class, else those that ship for these classes, cleaned; with `names` none that names a class."""
    from cbm.vocabulary import checked, clean
    from cbm.word_banks import bank_from_sentences

    candidates = checked(params["candidates"]) if params.get("candidates") else data.candidates
    if not candidates:
        raise UsageError("there are no candidate sentences", hint='give a file {"class": ["sentence", ...]}')
    cleaned = clean(candidates, data.classes, names=params.get("names", True), every=False)
    encoder = store.load_text_encoder(ws, params["encoder"])
    return bank_from_sentences(encoder, cleaned, data.classes, on_progress=on_progress), cleaned.summary()


def _of_examples(ws: Workspace, data: "TrainingSet", params: Mapping[str, Any], on_progress: OnProgress) -> "Made":
    """The annotated images; `method`, `c`, `per_side`, `seed` are options of `cbm.sources.bank_from_examples`."""
    from cbm.sources import bank_from_examples

    chosen = {name: params[name] for name in ("method", "c", "per_side", "seed") if name in params}
    return bank_from_examples(data, **chosen, on_progress=on_progress), ""


def _of_picked(ws: Workspace, data: "TrainingSet", params: Mapping[str, Any], on_progress: OnProgress) -> "Made":
    """One `concept` from the ids `with` it and `without` it."""
    from app.picking import picked_bank

    return picked_bank(data, params["concept"], params["with"], params["without"]), ""


SOURCES = {
    "texts": _of_texts,
    "vocabulary": _of_vocabulary,
    "sentences": _of_sentences,
    "examples": _of_examples,
    "picked": _of_picked,
}


def fit_model(
    ws: Workspace, params: Mapping[str, Any], on_progress: OnProgress, group: "Group | None" = None
) -> dict[str, Any]:
    """Fit `method` with `options` on `dataset` embedded by `encoder`, store it as `name`, and measure it.

    `bank` names a concept bank, or is absent; `candidates` are sentences by class, or absent; `vocabulary` are words, or
    absent.
    Measured on the validation images, or the test images where there are no others. Several processes share the fit; the
    first one does the rest.
    """
    from cbm.encoders import reads_text
    from cbm.methods import fit, method
    from cbm.process_group import ALONE
    from cbm.vocabulary import checked

    start = time.monotonic()
    needed = method(params["method"]).reads_text and reads_text(params["encoder"])
    encoder = store.load_text_encoder(ws, params["encoder"]) if needed else None
    data = store.training_set(ws, params["dataset"], params["encoder"], encoder=encoder)
    if params.get("candidates"):
        data = replace(data, candidates=checked(params["candidates"]))
    if params.get("vocabulary"):
        data = replace(data, vocabulary=tuple(params["vocabulary"]))
    bank = store.bank(ws, params["bank"]) if params.get("bank") else None
    if bank is not None and bank.contract != data.contract:
        data = replace(data, concept_x=_seen_by(ws, params["dataset"], bank.encoder_id, data.ids))
    options = params.get("options") or {}
    group = group or ALONE
    model = fit(params["method"], data, bank=bank, on_progress=part(on_progress, 0.0, 0.6), group=group, **options)
    seconds = round(time.monotonic() - start, 3)
    measured = _kept(ws, params, model, data, on_progress) if group.leads else {}
    fitted: dict[str, Any] = {"model": params["name"], "method": params["method"], "seconds": seconds}
    return fitted | group.gather(measured)[0]


def _kept(
    ws: Workspace, params: Mapping[str, Any], model: "ConceptModel", data: "TrainingSet", on_progress: OnProgress
) -> dict[str, Any]:
    """Measure a model and store both; the measurement."""
    from probes.metrics import evaluate

    split = next((name for name in ("val", "test") if name in data.split_names), data.split_names[0])
    probe = linear_probe(ws, params["dataset"], data)
    found = evaluate(model, data, split=split, probe=probe, on_progress=part(wordy(on_progress), 0.6, 1.0)).to_json()
    store.add_model(ws, params["name"], model, dataset=params["dataset"], bank=params.get("bank"))
    store.set_metrics(ws, params["name"], found, split=split)
    return {key: found[key] for key in ("split", "n", "metrics", "not_computed")}


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
