"""Post-hoc CBM: few named concepts cost little accuracy, and pruning the concept that misleads repairs the model."""

from collections.abc import Sequence
from statistics import mean

from benchmarks.claims.claim import Claim, judged
from benchmarks.claims.world import World, accuracy, with_examples
from cbm.edits import PruneWeight, apply
from cbm.methods import fit
from cbm.model import ConceptModel
from cbm.sources import random_bank
from cbm.training_set import TrainingSet

PAPER = "Post-hoc CBM, ICLR 2023"
WATER, LAND = "water background", "land background"
NEC = 10


def claims(world: World, seeds: Sequence[int]) -> list[Claim]:
    """Ten concepts a class against all of the embedding; pruning backgrounds against pruning something else."""
    data = [with_examples(world.data(seed)) for seed in seeds]
    models = [fit("posthoc", one, nec=NEC) for one in data]
    return [_near_the_probe(data, models), _edit_repairs(data, models), _edit_costs_little(data, models)]


def _near_the_probe(data: Sequence[TrainingSet], models: Sequence[ConceptModel]) -> Claim:
    probe = [accuracy(fit("linear-probe", one), one) for one in data]
    chance = [
        accuracy(fit("posthoc", one, bank=random_bank(one.bank, seed=seed), nec=NEC), one)
        for seed, one in enumerate(data)
    ]
    return judged(
        PAPER,
        f"with {NEC} concepts a class, accuracy at most 5 points below the linear probe's",
        [100 * (accuracy(model, one) - p) for model, one, p in zip(models, data, probe, strict=True)],
        least=-5,
        control=f"linear probe {mean(probe):.3f}; as many random concepts {mean(chance):.3f}",
        why="the annotated concepts do not say all that the embedding does",
    )


def _edit_repairs(data: Sequence[TrainingSet], models: Sequence[ConceptModel]) -> Claim:
    pairs = list(zip(models, data, strict=True))
    other = mean(100 * _gain(model, one, "shifted", _heaviest_other(model)) for model, one in pairs)
    return judged(
        PAPER,
        "pruning the planted backgrounds, without training, raises accuracy on shifted images by 2 points or more",
        [100 * _gain(model, one, "shifted") for model, one in pairs],
        least=2,
        control=f"pruning the heaviest other two instead {other:+.1f}",
        why="the head leans little on the background",
    )


def _edit_costs_little(data: Sequence[TrainingSet], models: Sequence[ConceptModel]) -> Claim:
    return judged(
        PAPER,
        "the same edit costs at most 3 points on test images, where backgrounds are a true hint",
        [100 * _gain(model, one, "test") for model, one in zip(models, data, strict=True)],
        least=-3,
        control="the model as fitted 0.0",
        why="there the background tells water from land species 95 times in 100",
    )


def _gain(model: ConceptModel, data: TrainingSet, split: str, concepts: Sequence[str] = (WATER, LAND)) -> float:
    pruned = apply(model, [PruneWeight(concept) for concept in concepts if concept in model.concepts])
    return accuracy(pruned, data, split) - accuracy(model, data, split)


def _heaviest_other(model: ConceptModel) -> list[str]:
    """The two concepts with the largest weights that are not backgrounds."""
    weight = model.head.weight.abs().sum(0)
    order = [model.concepts[k] for k in weight.argsort(descending=True).tolist()]
    return [concept for concept in order if concept not in (WATER, LAND)][:2]
