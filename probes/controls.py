"""Fits that a concept model's accuracy is read against: no concepts, random concepts, and labels without meaning.

If random concepts do as well, the names carry nothing; if shuffled labels do better than chance, something leaks.
Every control uses the model's own method with the model's own options.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from cbm.errors import ModelError
from cbm.methods import Need, fit, fit_again, method
from cbm.model import ConceptModel
from cbm.progress import OnProgress
from cbm.sources import random_bank
from cbm.training_set import TrainingSet

Control = Callable[[ConceptModel, TrainingSet, int, OnProgress], ConceptModel]


def linear_probe(model: ConceptModel, data: TrainingSet, seed: int, on_progress: OnProgress) -> ConceptModel:
    """Logistic regression on the embeddings: what is there to be said without concepts."""
    return fit("linear-probe", data, seed=seed, on_progress=on_progress)


def random_concepts(model: ConceptModel, data: TrainingSet, seed: int, on_progress: OnProgress) -> ConceptModel:
    """The same method and options on as many random directions as the model has concepts.

    Raises
    ------
    ModelError
        If the method does not take a concept bank.
    """
    if model.bank is None or Need.CONCEPT_BANK not in method(model.recipe.method).needs:
        raise ModelError(f"the method {model.recipe.method} takes no concept bank that could be random")
    chance = replace(data, bank=random_bank(model.bank, seed=seed))
    return fit_again(model.recipe, chance, on_progress=on_progress)


def shuffled_labels(model: ConceptModel, data: TrainingSet, seed: int, on_progress: OnProgress) -> ConceptModel:
    """The same method, options and concepts on training and validation images whose labels are shuffled.

    Candidate sentences are dealt to other classes as well: they say what a class looks like, which is a label too.

    Raises
    ------
    ModelError
        If the method does not learn from labels.
    """
    if not _learns(model):
        raise ModelError(f"the method {model.recipe.method} does not learn from labels")
    generator = torch.Generator().manual_seed(seed)
    labels = data.labels.clone()
    for split in ("train", "val"):
        members = torch.nonzero(torch.from_numpy(data.splits == split)).flatten()
        labels[members] = labels[members[torch.randperm(len(members), generator=generator)]]
    shuffled = replace(data, labels=labels, bank=model.bank, candidates=_dealt(data.candidates, generator))
    return fit_again(model.recipe, shuffled, on_progress=on_progress)


def _dealt(
    candidates: Mapping[str, tuple[str, ...]] | None, generator: torch.Generator
) -> Mapping[str, tuple[str, ...]] | None:
    if candidates is None:
        return None
    names = list(candidates)
    order = torch.randperm(len(names), generator=generator).tolist()
    return {name: candidates[names[i]] for name, i in zip(names, order, strict=True)}


def _learns(model: ConceptModel) -> bool:
    return model.recipe.images > 0


CONTROLS: dict[str, Control] = {
    "linear_probe_accuracy": linear_probe,
    "random_concept_accuracy": random_concepts,
    "shuffled_label_accuracy": shuffled_labels,
}
