"""LaBo: sentences help most where there are few images, and cost little where there are many."""

from collections.abc import Sequence
from statistics import mean

import numpy as np

from benchmarks.claims.claim import Claim, judged
from benchmarks.claims.world import World, accuracy
from cbm.methods import fit
from cbm.methods.labo import few_shot
from cbm.training_set import TrainingSet

PAPER = "LaBo, CVPR 2023"


def claims(world: World, seeds: Sequence[int]) -> list[Claim]:
    """The linear probe on the same images, at one image a class and at all."""
    one = [with_shots(world.data(seed), "1", seed=seed) for seed in seeds]
    every = [world.data(seed) for seed in seeds]
    return [
        _against_the_probe(one, "1 image a class: above the linear probe by 5 points or more", 5,
                           "the probe's one image a class says as much as the sentences"),
        _against_the_probe(every, "all images: at most 2 points below the linear probe", -2,
                           "class vectors are held to the hull of the sentences"),
        _choice_counts(one),
    ]  # fmt: skip


def with_shots(data: TrainingSet, shots: str, *, seed: int) -> TrainingSet:
    """The data with that many training images of each class and its other splits whole."""
    train = few_shot(data.split("train"), shots, seed=seed)
    kept = np.isin(np.array(data.ids), np.array(train.ids)) | (data.splits != "train")
    return data.where(kept)


def _against_the_probe(data: Sequence[TrainingSet], claim: str, least: float, why: str) -> Claim:
    ours = [accuracy(fit("labo", one), one) for one in data]
    probe = [accuracy(fit("linear-probe", one), one) for one in data]
    untrained = [accuracy(fit("labo", one, steps=0), one) for one in data]
    return judged(
        PAPER, claim, [100 * (one - other) for one, other in zip(ours, probe, strict=True)], least=least, why=why,
        control=f"probe {mean(probe):.3f}; the prior alone, untrained {mean(untrained):.3f}",
    )  # fmt: skip


def _choice_counts(data: Sequence[TrainingSet]) -> Claim:
    """Five sentences a class, chosen, against five drawn by chance."""
    ours = [accuracy(fit("labo", one, per_class=5), one) for one in data]
    chance = [accuracy(fit("labo", one, per_class=5, selection="random"), one) for one in data]
    return judged(
        PAPER, "1 image a class: five sentences a class that were chosen, above five drawn by chance",
        [100 * (one - other) for one, other in zip(ours, chance, strict=True)], least=0,
        control=f"by chance {mean(chance):.3f}", why="with one image a class, what tells classes apart is hardly known",
    )  # fmt: skip
