"""Sparse-CBM: sparse bottlenecks beat the dense one with as many concepts a class, and few concepts speak on an image."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

from benchmarks.claims.claim import Claim, judged
from benchmarks.claims.world import World, accuracy, with_texts
from cbm.methods import fit
from cbm.sources import random_bank
from cbm.training_set import TrainingSet

PAPER = "Sparse-CBM, 2024"
NEC = 5
CONTROLS = 2  # seeds of the control
LEARNED = "what it gains it has from the labels: random concepts gain as much"
KINDS = {
    "gates that read their own concept": ({"loss": "gumbel"}, "a gate can only silence its concept, and those left are the ones used anyway"),
    "gates that read all concepts": ({"loss": "gumbel", "reads": "all"}, LEARNED),
    "scores mixed with few others (L1)": ({"loss": "l1"}, "a sparse mixture says little that the texts do not"),
    "scores mixed by the contrastive loss": ({"loss": "contrastive"}, LEARNED),
}  # fmt: skip


def claims(world: World, seeds: Sequence[int]) -> list[Claim]:
    """Each kind of sparse bottleneck against the dense one, on texts and on random directions."""
    texts = [with_texts(world.data(seed)) for seed in seeds]
    chance = [replace(data, bank=random_bank(data.bank, seed=seed)) for seed, data in enumerate(texts[:CONTROLS])]
    dense, dense_chance = _accuracies(texts, loss="dense"), _accuracies(chance, loss="dense")
    found = [
        judged(
            PAPER, f"{kind}: above the dense bottleneck at {NEC} concepts a class",
            _points(_accuracies(texts, **options), dense), least=0, why=why,
            control=f"dense {mean(dense):.3f}; the same with random concepts "
            f"{mean(_points(_accuracies(chance, **options), dense_chance)):+.1f} from {mean(dense_chance):.3f}",
        )
        for kind, (options, why) in KINDS.items()
    ]  # fmt: skip
    return [*found, _few_are_active(texts)]


def _few_are_active(texts: Sequence[TrainingSet]) -> Claim:
    models = [fit("sparse", data) for data in texts]
    active = [
        float((model.scores(data.split("test").x) != 0).sum(1).double().mean())
        for model, data in zip(models, texts, strict=True)
    ]
    lost = mean(
        _points([accuracy(m, d) for m, d in zip(models, texts, strict=True)], _accuracies(texts, nec=10, loss="dense"))
    )
    return judged(
        PAPER, "with gates, fewer than 10 concepts are active on a test image", active, most=10, unit="",
        control=f"dense {len(texts[0].concepts)}; accuracy at 10 concepts a class {lost:+.1f} points against it",
        why="the divergence from the wanted share counts too little",
    )  # fmt: skip


def _accuracies(data: Sequence[TrainingSet], *, nec: int = NEC, **options: str) -> list[float]:
    return [accuracy(fit("sparse", one, nec=nec, **options), one) for one in data]


def _points(ours: Sequence[float], others: Sequence[float]) -> list[float]:
    return [100 * (one - other) for one, other in zip(ours, others, strict=True)]
