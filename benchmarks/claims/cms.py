"""Concept matrix search: comparing concept profiles decides better than comparing with the class text itself."""

from collections.abc import Sequence
from statistics import mean

import torch
from torch.nn.functional import normalize

from benchmarks.claims.claim import Claim, judged
from benchmarks.claims.world import World, accuracy, with_texts
from cbm.methods import fit
from cbm.selection import members_of
from cbm.sources import random_bank, read_sentences
from cbm.training_set import TrainingSet
from cbm.vocabulary import clean

PAPER = "Concept matrix search, 2024"


def claims(world: World, seeds: Sequence[int]) -> list[Claim]:
    """Against the class's name, and against the mean of its sentences."""
    data = [with_texts(world.data(seed)) for seed in seeds]
    names = [accuracy(fit("zero-shot", one), one) for one in data]
    sentences = [_nearest_sentences(one) for one in data]
    return [
        _above(data, "names", names, "the encoder does not know the species' invented names, and a profile of a name that says nothing says nothing"),
        _above(data, "sentences", sentences, "profiles and sentences hold the same directions"),
    ]  # fmt: skip


def _above(data: Sequence[TrainingSet], classes: str, others: Sequence[float], why: str) -> Claim:
    ours = [accuracy(fit("cms", one, classes=classes), one) for one in data]
    chance = [
        accuracy(fit("cms", one, bank=random_bank(one.bank, seed=seed), classes=classes), one)
        for seed, one in enumerate(data)
    ]
    return judged(
        PAPER, f"a class being its {classes}, above zero-shot with the same {classes}",
        [100 * (one - other) for one, other in zip(ours, others, strict=True)], least=0, why=why,
        control=f"zero-shot {mean(others):.3f}; random concepts {mean(chance):.3f}",
    )  # fmt: skip


def _nearest_sentences(data: TrainingSet) -> float:
    """Accuracy of choosing the class whose sentences are nearest to the image on average."""
    assert data.encoder is not None
    assert data.candidates is not None
    cleaned = clean(data.candidates, data.classes, names=False)
    vectors = read_sentences(data.encoder, cleaned.sentences)
    rows = torch.stack([vectors[members].mean(0) for members in members_of(cleaned.owners, len(data.classes))])
    test = data.split("test")
    return float(((test.x @ normalize(rows, dim=1).T).argmax(1) == test.labels).double().mean())
