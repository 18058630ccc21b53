"""V2C-CBM: words that unlabelled images choose stand in for sentences that somebody wrote."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

import numpy as np

from benchmarks.claims.claim import Claim, judged
from benchmarks.claims.world import World, accuracy
from cbm.methods import fit
from cbm.training_set import TrainingSet
from cbm.word_banks import known_to
from cbm.words import shipped

PAPER = "V2C-CBM, AAAI 2025"
DRAWN = 25  # words a class drawn by chance, as many as are chosen


def claims(world: World, seeds: Sequence[int]) -> list[Claim]:
    """LaBo on the sentences that ship, at all images and at few; the published votes; and words by chance."""
    data = [world.data(seed) for seed in seeds]
    ours = _accuracies("v2c", data)
    published = _accuracies("v2c", data, voting="published")
    drawn = _accuracies("labo", [by_chance(one, seed=seed) for seed, one in zip(seeds, data, strict=True)])
    return [
        _within(ours, _accuracies("labo", data), "all images", "words say less than sentences", f"words by chance {drawn[1]}"),
        _within(
            _accuracies("v2c", data, shots="4"), _accuracies("labo", data, shots="4"), "4 labelled images a class",
            "four images make a poor prototype, so that images of other classes vote; the paper too has LaBo ahead at few", "",
        ),
        judged(
            PAPER, "ranked by lift behind gates: above the published counts", _differences(ours[0], published[0]), least=0,
            control=f"published {published[1]}", why="words near to all images serve as well",
        ),
    ]  # fmt: skip


def by_chance(data: TrainingSet, *, seed: int) -> TrainingSet:
    """The data with words that the encoder knows, drawn by chance for each class, as its candidate sentences."""
    assert data.encoder is not None
    rng = np.random.default_rng(seed)
    words = [word.text for word in known_to(data.encoder, shipped()).words]
    drawn = {name: tuple(str(word) for word in rng.permutation(words)[:DRAWN]) for name in data.classes}
    return replace(data, candidates=drawn)


def _within(ours: tuple[list[float], str], labo: tuple[list[float], str], where: str, why: str, control: str) -> Claim:
    return judged(
        PAPER, f"{where}: at most 1 point below LaBo, with no sentence written by anyone", _differences(ours[0], labo[0]),
        least=-1, control="; ".join(filter(None, (f"LaBo {labo[1]}", control))), why=why,
    )  # fmt: skip


def _accuracies(name: str, data: Sequence[TrainingSet], **options: str) -> tuple[list[float], str]:
    """Test accuracy in each repetition, and the mean in words."""
    found = [accuracy(fit(name, one, **options), one) for one in data]
    return found, f"{mean(found):.3f}"


def _differences(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    return [100 * (one - other) for one, other in zip(ours, others, strict=True)]
