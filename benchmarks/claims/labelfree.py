"""Label-free CBM: concepts learned from texts alone, with few a class, cost little accuracy."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

from benchmarks.claims.claim import Claim, judged
from benchmarks.claims.world import World, accuracy, with_examples, with_texts
from cbm.methods import fit
from cbm.sources import random_bank
from cbm.training_set import TrainingSet

PAPER = "Label-free CBM, ICLR 2023"
NEC = 10


def claims(world: World, seeds: Sequence[int]) -> list[Claim]:
    """Against the linear probe, and against concepts that were annotated."""
    data = [with_texts(world.data(seed)) for seed in seeds]
    ours = [accuracy(fit("labelfree", one, nec=NEC), one) for one in data]
    probe = [accuracy(fit("linear-probe", one), one) for one in data]
    annotated = [accuracy(fit("posthoc", with_examples(one), nec=NEC), one) for one in data]
    chance = mean(accuracy(fit("labelfree", _random(one, seed), nec=NEC), one) for seed, one in enumerate(data))
    return [
        judged(PAPER, f"{claim}, with {NEC} concepts a class", _points(ours, others), least=least, why=why,
               control=f"{name} {mean(others):.3f}; random concepts {chance:.3f}")
        for claim, name, others, least, why in (
            ("at most 3 points below the linear probe", "probe", probe, -3, "the concepts do not say all"),
            ("at most 2 points below a post-hoc CBM on annotated images", "annotated", annotated, -2,
             "texts say less than annotated images"),
        )
    ]  # fmt: skip


def _random(data: TrainingSet, seed: int) -> TrainingSet:
    return replace(data, bank=random_bank(data.bank, seed=seed))


def _points(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    return [100 * (one - other) for one, other in zip(ours, others, strict=True)]
