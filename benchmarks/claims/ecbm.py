"""Energy-based CBM: corrections that reach other concepts, decisions that get better with them, and honest conditionals."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from benchmarks.claims.claim import Claim, judged
from benchmarks.claims.world import World, with_examples
from cbm.bottleneck import Clamp
from cbm.methods import fit
from cbm.model import ConceptModel
from cbm.training_set import TrainingSet
from probes.conditionals import annotated, conditional_probabilities, counted
from probes.interventions import intervention_curve

PAPER = "ECBM, ICLR 2024"
NOISE = 2.0  # standard deviations of the embeddings: enough that both colours are misread on one validation image in fifteen
STEPS = 10


def claims(world: World, seeds: Sequence[int]) -> list[Claim]:
    """Three claims; the first on embeddings with noise, since the demo encoder misreads hardly any colour."""
    data = [with_examples(world.data(seed)) for seed in seeds]
    models = [fit("ecbm", one, seed=seed) for seed, one in zip(seeds, data, strict=True)]
    noisy = [blurred(one, seed) for seed, one in zip(seeds, data, strict=True)]
    return [
        reaches(
            noisy, [fit("ecbm", one, seed=seed) for seed, one in zip(seeds, noisy, strict=True)], natural(data, models)
        ),
        above_posthoc(data, models),
        honest(data, models),
    ]


def blurred(data: TrainingSet, seed: int) -> TrainingSet:
    """The same images with normal noise on their embeddings."""
    noise = torch.randn(data.x.shape, generator=torch.Generator().manual_seed(seed))
    return replace(data, x=data.x + NOISE * data.x.std(0) * noise)


def natural(data: Sequence[TrainingSet], models: Sequence[ConceptModel]) -> str:
    """The same on images as they are: gain in points and images of all seeds, for each split."""
    told = []
    for split in ("test", "shifted"):
        found = [gain(model, one, split) for model, one in zip(models, data, strict=True)]
        count = sum(n for _, n in found)
        total = sum(points * n for points, n in found if n)
        told.append(f"{split} {100 * total / count:+.1f} of {count}" if count else f"{split} none of 0")
    return f"images without noise, all seeds: {', '.join(told)}"


def reaches(data: Sequence[TrainingSet], models: Sequence[ConceptModel], beside: str) -> Claim:
    """Correcting the breast's colour, and what becomes of the belly's."""
    found = [gain(model, one) for model, one in zip(models, data, strict=True)]
    return judged(
        PAPER,
        "correcting the breast colour raises the accuracy of belly colour concepts by 10 points or more where both were wrong "
        f"(embeddings with noise of {NOISE:g} standard deviations)",
        [100 * points for points, _ in found],
        least=10,
        control=f"the published inference 0.0; {mean(count for _, count in found):.0f} images a seed; {beside}",
        why="what is wrong in the image speaks through the other concepts too",
    )


def gain(model: ConceptModel, data: TrainingSet, split: str = "test") -> tuple[float, int]:
    """What the correction adds to the accuracy of the belly's colours on images where both were wrong; and their number."""
    images = data.split(split)
    assert images.concept_labels is not None
    places = {
        part: [k for k, name in enumerate(data.concepts) if name.endswith(f" {part}")] for part in ("breast", "belly")
    }
    mask = torch.zeros(len(data.concepts), dtype=torch.bool)
    mask[places["breast"]] = True
    before = _right(model.scores(images.x), images.concept_labels)
    after = _right(model.scores(images.x, Clamp(mask, images.concept_labels)), images.concept_labels)
    both = ~before[:, places["breast"]].all(1) & ~before[:, places["belly"]].all(1)
    old, new = (part[both][:, places["belly"]].double().mean() for part in (before, after))
    return float(new - old), int(both.sum())


def above_posthoc(data: Sequence[TrainingSet], models: Sequence[ConceptModel]) -> Claim:
    """The smallest lead over the post-hoc CBM along the curve, both asked in the same random order."""
    leads, ends = [], []
    for model, one in zip(models, data, strict=True):
        curves = [
            intervention_curve(made, one, policy="random", steps=STEPS, edge=0.5)
            for made in (model, fit("posthoc", one))
        ]
        pairs = zip(*(curve.accuracy for curve in curves), strict=True)
        leads.append(min(ours.value - theirs.value for ours, theirs in pairs))
        ends.append([curve.accuracy[-1].value for curve in curves])
    ours, theirs = (mean(values) for values in zip(*ends, strict=True))
    return judged(
        PAPER,
        f"class accuracy after k random corrections above the post-hoc CBM's for every k up to {STEPS}; the smallest lead",
        [100 * lead for lead in leads],
        least=0,
        control=f"after {STEPS}: {ours:.3f}, post-hoc {theirs:.3f}",
        why="both begin near the ceiling of this world, where the lead is smaller than chance",
    )


def honest(data: Sequence[TrainingSet], models: Sequence[ConceptModel]) -> Claim:
    """The largest of three mean errors: concepts given a class, concepts given a concept, classes given a concept."""
    errors, counts = [], []
    for model, one in zip(models, data, strict=True):
        truth, found, count = annotated(model, one), conditional_probabilities(model, one), counted(model, one)
        errors.append(max(_apart(getattr(found, name), truth[name]) for name in truth))
        counts.append(max(_apart(count[name], truth[name]) for name in truth))
    return judged(
        PAPER,
        "conditional probabilities within 0.05 of the truth on average",
        errors,
        most=0.05,
        control=f"counts of decisions {mean(counts):.3f}",
        why="the concept energies are not calibrated",
        unit="",
    )


def _right(scores: Float[Tensor, "n k"], labels: Float[Tensor, "n k"]) -> Bool[Tensor, "n k"]:
    return (scores > 0.5) == (labels > 0.5)


def _apart(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().nanmean())
