"""Concept banks of atoms: an autoencoder learns from a data set's images, and words name what it finds."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app import store
from app.workspace import Workspace
from cbm.progress import OnProgress, part

if TYPE_CHECKING:
    from cbm.process_group import Group
    from cbm.training_set import TrainingSet


def add_atom_banks(
    ws: Workspace, params: Mapping[str, Any], data: "TrainingSet", on_progress: OnProgress, group: "Group"
) -> list[store.BankRow]:
    """A bank for each of `widths`, or one of the usual width, all learned in one pass over the training images.

    One width gives the bank `name`; of several, each has its width behind the name. `kind`, `k`, `l1`, `epochs`, `rate`
    and `seed` are options of the autoencoder, `names` says how atoms are named. The words are `texts`, else the names of
    the annotated concepts, else the attributes that ship. The atoms of an encoder that reads no text are numbered.
    A job that was stopped and is started again goes on where it was kept. Several processes share the training; the
    first one does the rest, and the others have no banks.
    """
    from cbm.atoms import live_atoms, named_atoms, unnamed_atoms, usual_width
    from cbm.encoders import reads_text
    from cbm.sae_training import Checkpoint, SaeConfig, train_saes
    from cbm.sources import measure_bank
    from cbm.training_set import fitting_split
    from cbm.words import shipped

    train = fitting_split(data)
    encoder = store.load_text_encoder(ws, params["encoder"]) if reads_text(params["encoder"]) else None
    widths = tuple(params.get("widths") or (usual_width(*train.x.shape),))
    chosen = {
        name: params[name] for name in ("kind", "k", "l1", "epochs", "rate", "seed") if params.get(name) is not None
    }
    config = SaeConfig(**{"k": min(24, max(1, min(widths) // 4)), **chosen})
    kept = Checkpoint(_place(ws, params, train))
    found = train_saes(train.x, config, widths, group=group, checkpoint=kept, on_progress=part(on_progress, 0.0, 0.8))
    if not group.leads:
        return []
    words = params.get("texts") or data.concepts or tuple(word.text for word in shipped("attributes"))
    rows = []
    for i, dictionary in enumerate(found):
        live = live_atoms(dictionary, train.x)
        if encoder is None:
            bank = unnamed_atoms(live, encoder_id=params["encoder"], contract=data.contract)
        else:
            on_progress(0.8 + 0.2 * i / len(found), f"naming {len(dictionary):,} atoms with {len(words):,} words")
            bank = named_atoms(live, train.x, encoder, words, params.get("names", "images"), contract=data.contract)
        name = params["name"] if len(widths) == 1 else f"{params['name']}-{len(dictionary)}"
        rows.append(store.add_bank(ws, name, measure_bank(bank, data), dataset=params["dataset"]))
    kept.path.unlink(missing_ok=True)
    return rows


def _place(ws: Workspace, params: Mapping[str, Any], train: "TrainingSet") -> Path:
    """Where the training with these parameters on these images is kept until it has ended."""
    about = json.dumps([dict(params), train.contract, train.ids], sort_keys=True)
    return ws.folder("checkpoints") / f"{hashlib.sha256(about.encode()).hexdigest()[:32]}.safetensors"
