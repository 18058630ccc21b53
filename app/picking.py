"""A concept from a few images that a person picked: some that show it, some that do not."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from cbm.bank import ConceptBank
from cbm.errors import UsageError, unknown
from cbm.sources import bank_from_examples
from cbm.training_set import TrainingSet


def picked_bank(data: TrainingSet, concept: str, shown: Sequence[str], absent: Sequence[str]) -> ConceptBank:
    """A bank of one concept, learned from images that a person picked with it and without it.

    Raises
    ------
    UnknownName
        If an image is not in the data set.
    UsageError
        If an image is picked for both sides.
    DataError
        If a side has fewer than two images.
    """
    both = set(shown) & set(absent)
    if both:
        raise UsageError(f"{min(both)!r} is picked with {concept!r} and without it", hint="choose one")
    places = {id: position for position, id in enumerate(data.ids)}
    missing = next((id for id in (*shown, *absent) if id not in places), None)
    if missing is not None:
        raise unknown("embedded image", missing, data.ids[:1000])
    chosen = data.where(np.array([places[id] for id in (*shown, *absent)], dtype=np.int64))
    labels = torch.tensor([1.0] * len(shown) + [0.0] * len(absent))[:, None]
    splits = np.array(["train"] * len(chosen))
    bank = bank_from_examples(replace(chosen, splits=splits, concepts=(concept,), concept_labels=labels))
    return replace(bank, origin=tuple(replace(o, detail=f"picked by hand, {o.detail}") for o in bank.origin))
