"""Accuracy at a number of effective concepts, in worlds where the answer is known."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cbm.bottleneck import LinearBottleneck
from cbm.edits import PruneWeight, apply
from cbm.errors import ModelError
from cbm.heads import LinearHead
from cbm.methods import fit
from cbm.model import ConceptModel, Recipe
from cbm.solvers import NEC_LEVELS
from cbm.training_set import TrainingSet
from probes import evaluate, nec_curve
from probes.effective_concepts import random_concepts, read_curve
from probes.intervals import wilson

REFERENCE = np.load(Path(__file__).parents[1] / "reference" / "nec.npz")


@pytest.fixture(scope="module")
def posthoc(planted):
    return fit("posthoc", planted.training, bank=planted.bank, nec=2)


def mirror(weight: torch.Tensor) -> ConceptModel:
    """A model without a fit whose concept scores are the embedding."""
    c, k = weight.shape
    return ConceptModel(
        tuple(f"concept {i}" for i in range(k)),
        tuple(f"class {i}" for i in range(c)),
        LinearBottleneck(torch.eye(k), torch.zeros(k)),
        LinearHead(weight, torch.zeros(c)),
        Recipe("by hand"),
    )


def test_a_head_that_was_never_fitted_is_cut_as_the_published_protocol_cuts_it():
    weight = torch.from_numpy(REFERENCE["weight"])
    c, k = weight.shape
    x = torch.randn(200, k, generator=torch.Generator().manual_seed(0))
    labels = (x @ weight.T).argmax(1)
    data = TrainingSet(
        x=x, labels=labels, classes=tuple(f"class {i}" for i in range(c)), splits=np.full(200, "test"),
        ids=tuple(str(i) for i in range(200)),
    )  # fmt: skip

    curve = nec_curve(mirror(weight), data)

    assert curve.how == "cut"
    for point in curve.points:
        kept = torch.from_numpy(REFERENCE[f"truncated_{point.level}"])
        hits = int(((x @ kept.T).argmax(1) == labels).sum())
        assert point.accuracy == wilson(hits, 200)
        assert point.nec == point.level
        assert (point.fewest, point.most) == (int((kept != 0).sum(1).min()), int((kept != 0).sum(1).max()))
    assert curve.mean.value == pytest.approx(np.mean([point.accuracy.value for point in curve.points]))
    assert curve.mean.low < curve.mean.value < curve.mean.high


def test_two_concepts_a_class_are_enough_where_two_define_it_and_one_is_not(planted, posthoc):
    one, two = nec_curve(posthoc, planted.training, levels=(1, 2)).points

    assert (one.nec, two.nec) == (1, 2)
    assert two.accuracy.value > 0.97
    assert one.accuracy.value < two.accuracy.value


def test_random_directions_need_more_concepts_than_true_ones(planted, posthoc):
    chance = random_concepts(posthoc, planted.training, seed=1)

    true, random = (nec_curve(model, planted.training, levels=(2,)).mean for model in (posthoc, chance))

    assert true.low > random.high


def test_refitted_heads_do_not_depend_on_the_scale_of_the_scores(planted, posthoc):
    bottleneck = posthoc.bottleneck
    assert isinstance(bottleneck, LinearBottleneck)
    loud = replace(posthoc, bottleneck=LinearBottleneck(bottleneck.weight * 50, bottleneck.bias + 3))

    usual, scaled = (nec_curve(model, planted.training, levels=(1, 2)) for model in (posthoc, loud))

    assert [p.nec for p in usual.points] == [p.nec for p in scaled.points]
    assert [p.accuracy.value for p in usual.points] == pytest.approx(
        [p.accuracy.value for p in scaled.points], abs=0.02
    )


def test_more_levels_than_concepts_use_all_of_them(planted, posthoc):
    points = nec_curve(posthoc, planted.training).points

    assert [point.level for point in points] == list(NEC_LEVELS)
    assert all(point.nec <= len(posthoc.concepts) for point in points)
    assert len({point.accuracy for point in points[1:]}) == 1


def test_as_many_in_each_class_on_request(planted, posthoc):
    (point,) = nec_curve(posthoc, planted.training, levels=(2,), truncation="per-class").points

    assert (point.fewest, point.most) == (2, 2)


def test_an_edited_head_is_cut_and_not_fitted_again(planted, posthoc):
    two = [PruneWeight(name) for class_ in ("wren", "teal") for name in planted.class_concepts[class_]]
    edited = apply(posthoc, two)

    curve = nec_curve(edited, planted.training, levels=(2,))

    assert curve.how == "cut"
    assert curve.mean.high < nec_curve(posthoc, planted.training, levels=(2,)).mean.low


@pytest.mark.parametrize(
    ("method", "reason"),
    [("linear-probe", "the model has no concepts"), ("posthoc-hybrid", "the residual decides past the concepts")],
)
def test_models_for_which_it_means_nothing_say_why(planted, method, reason):
    model = fit(method, planted.training, bank=planted.bank)

    with pytest.raises(ModelError, match=reason):
        nec_curve(model, planted.training)
    found = evaluate(model, planted.training, controls=False, anec=True)
    assert found.not_computed["anec_5"].startswith(reason)
    assert found.nec_curve is None


def test_the_control_is_measured_with_the_controls_and_not_for_heads_that_are_cut(planted, posthoc):
    found = evaluate(posthoc, planted.training, anec=True)

    assert found.metrics["random_anec_5"] == found.random_nec_curve.points[0].accuracy
    assert found.random_nec_curve.mean == found.metrics["random_anec_avg"]
    with pytest.raises(ModelError, match="only cut"):
        random_concepts(apply(posthoc, [PruneWeight("noise")]), planted.training)


def test_the_evaluation_carries_both_numbers_and_the_curve_survives_json(planted, posthoc):
    found = evaluate(posthoc, planted.training, controls=False, anec=True)

    curve = nec_curve(posthoc, planted.training)
    assert found.metrics["anec_5"] == curve.points[0].accuracy
    assert found.metrics["anec_avg"] == curve.mean
    assert read_curve(json.loads(json.dumps(found.to_json()))["nec_curve"]) == curve
