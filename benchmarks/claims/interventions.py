"""Interventions: who chooses well which concept to correct, for heads that learned scores, answers, and a joint distribution."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from statistics import mean

from benchmarks.claims.claim import Claim, judged
from benchmarks.claims.world import World, with_examples
from cbm.dense_heads import fit_dense
from cbm.heads import LinearHead
from cbm.methods import fit
from cbm.model import ConceptModel
from cbm.training_set import TrainingSet
from probes.corrections import true_scores
from probes.interventions import Curve, intervention_curve

PAPER = "Shin et al., ICML 2023"
ORDER = ("greedy", "expected", "uncertainty", "random")
TITLES = {
    "posthoc": "post-hoc CBM",
    "answers": "the same concepts, head fitted on the expert's answers",
    "ecbm": "energy-based CBM",
}
WHY = {
    "posthoc": "its head was fitted on scores, not on answers: a score set to an answer loses what else it said",
    "answers": "the model is unsure where its scores are, not where the answer matters",
    "ecbm": "ten right concepts hardly move its decisions, even those that the bound chooses",
}
FEWER = 3  # seeds for the energy model, which takes minutes
STEPS, RIDGE, SPLITS = 10, 1e-3, ("test", "shifted")
Areas = Mapping[tuple[str, str, str], Sequence[Curve]]


def claims(world: World, seeds: Sequence[int]) -> list[Claim]:
    """The order of the policies by the areas under their curves, and whether ten corrections help at all."""
    found: dict[tuple[str, str, str], list[Curve]] = {}
    for name in TITLES:
        for seed in seeds[:FEWER] if name == "ecbm" else seeds:
            for (split, policy), curve in _curves(name, with_examples(world.data(seed)), seed).items():
                found.setdefault((name, split, policy), []).append(curve)
    return [claim for name in TITLES for split in SPLITS for claim in _of(found, name, split)]


def _curves(name: str, data: TrainingSet, seed: int) -> dict[tuple[str, str], Curve]:
    """One model's curves by split and policy."""
    model = fit("ecbm", data, seed=seed) if name == "ecbm" else fit("posthoc", data)
    model = _on_answers(model, data) if name == "answers" else model
    return {
        (split, policy): intervention_curve(model, data, policy=policy, split=split, steps=STEPS, seed=seed)
        for split in SPLITS
        for policy in ORDER
    }


def _on_answers(model: ConceptModel, data: TrainingSet) -> ConceptModel:
    """The model with a head that learned from the scores that an expert's answers stand for, as independent CBMs do."""
    train, answers = data.split("train"), true_scores(model, data)
    assert train.concept_labels is not None
    scores = model.scores(train.x)
    said = answers.of(train.concept_labels)
    scores[:, answers.columns] = said.where(~said.isnan(), scores[:, answers.columns])
    head = fit_dense(scores, train.labels, len(model.classes), ridge=RIDGE)
    return replace(model, head=LinearHead(head.weight.float(), head.bias.float()))


def _of(found: Areas, name: str, split: str) -> list[Claim]:
    """The claims about one model on one split."""
    curves = {policy: found[name, split, policy] for policy in ORDER}
    area = {policy: mean(curve.area.value for curve in curves[policy]) for policy in ORDER}
    pairs = [
        judged(
            PAPER,
            f"{TITLES[name]}, {split}: {better} above {worse}, areas over {STEPS} corrections",
            [
                100 * (a.area.value - b.area.value)
                for a, b in zip(curves[better], curves[worse], strict=True)
            ],
            least=0,
            control=f"areas {area[better]:.3f} and {area[worse]:.3f}",
            why=WHY[name],
        )
        for better, worse in pairwise(ORDER)
    ]  # fmt: skip
    alone = mean(curve.accuracy[0].value for curve in curves["expected"])
    helps = judged(
        PAPER,
        f"{TITLES[name]}, {split}: {STEPS} corrections by expected change raise accuracy",
        [100 * (curve.accuracy[-1].value - curve.accuracy[0].value) for curve in curves["expected"]],
        least=0,
        control=f"uncorrected {alone:.3f}",
        why=WHY[name],
    )
    return [*pairs, helps]
