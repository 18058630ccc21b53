"""The energy-based CBM on a planted world."""

from dataclasses import replace

import pytest
import torch

from cbm.bottleneck import clamp_of
from cbm.edits import DropConcept, MergeConcepts, RenameConcept, ScaleScore, SetScore, SetWeight, apply
from cbm.energy_inference import sampled
from cbm.errors import DataError, ModelError
from cbm.explanations import class_weights, explain, smallest_flip
from cbm.methods import fit


@pytest.fixture(scope="module")
def world(planted):
    """The planted world itself."""
    return planted.training


@pytest.fixture(scope="module")
def model(world):
    return fit("ecbm", world, hidden=48, epochs=12)


def test_it_knows_classes_and_concepts(world, model):
    test = world.split("test")
    right = (model.scores(test.x) > 0.5) == (test.concept_labels > 0.5)

    assert float((model.predict(test.x) == test.labels).double().mean()) > 0.9
    assert float(right.double().mean()) > 0.9


def test_a_correction_moves_other_concepts_as_its_own_joint_says(world, model):
    """The published inference moves them by exactly nothing; Gibbs sampling of the same joint says by how much they should."""
    bottleneck = replace(model.bottleneck, weights=torch.tensor([1.0, 0.5, 0.5]))
    x = world.split("test").x[:40]
    ends = [clamp_of(model.concepts, {"striped": end}) for end in (0.0, 1.0)]
    moved = bottleneck(x, ends[1]) - bottleneck(x, ends[0])
    truly = sampled(bottleneck, x, ends[1], sweeps=300).concepts - sampled(bottleneck, x, ends[0], sweeps=300).concepts

    assert float(truly[:, 1:].abs().max()) > 0.02
    assert float((moved - truly)[:, 1:].abs().mean()) < 0.02


def test_its_mean_field_is_close_to_gibbs_sampling(world, model):
    x = world.split("test").x[:40]
    found = sampled(model.bottleneck, x, sweeps=300)

    assert float((found.concepts - model.scores(x)).abs().mean()) < 0.02
    assert float((found.classes - model.probabilities(x)).abs().mean()) < 0.02


def test_unknown_labels_are_neither_learned_nor_held(world):
    labels = world.concept_labels.clone()
    labels[::2, 0] = torch.nan
    labels[:, 3] = torch.nan

    made = fit("ecbm", replace(world, concept_labels=labels), hidden=8, epochs=2)

    assert bool(made.logits(world.x).isfinite().all())
    assert "annotated on no training image: long tail" in made.recipe.notes[1]


def test_without_any_known_label_it_cannot_be_fitted(world):
    with pytest.raises(DataError, match="annotated"):
        fit("ecbm", replace(world, concept_labels=torch.full_like(world.concept_labels, torch.nan)))


def test_a_contribution_is_what_the_logit_loses_when_the_concept_is_as_usual(world, model):
    x = world.split("test").x[0]
    why = explain(model, x)
    scores = model.scores(x[None])
    k = model.concept(why.concepts[0].name)
    without = scores.clone()
    without[0, k] = model.head.usual[k]
    target = model.class_(why.target)

    assert not why.exact
    lost = model.head(scores, x[None])[0, target] - model.head(without, x[None])[0, target]
    assert why.concepts[0].contribution == pytest.approx(float(lost), abs=1e-4)


def test_a_class_is_raised_by_its_own_concepts(planted, model):
    for name, (first, second) in planted.class_concepts.items():
        effects = dict(class_weights(model, name))
        assert min(effects[first], effects[second]) > 0


def test_a_flip_really_flips(world, model):
    for x in world.split("test").x[:10]:
        k = len(model.concepts)
        found = smallest_flip(model, x, low=torch.zeros(k), high=torch.ones(k))
        if found is not None:
            decided = model.predict(x[None], clamp_of(model.concepts, {found.concept: found.to}))
            assert model.classes[int(decided)] == found.becomes


def test_holding_a_score_is_a_clamp_on_every_image(world, model):
    held = apply(model, [SetScore("striped", 1.0)])

    expected = model.scores(world.x, clamp_of(model.concepts, {"striped": 1.0}))
    assert torch.equal(held.scores(world.x), expected)
    assert torch.equal(apply(held, [RenameConcept("striped", "stripes")]).scores(world.x), expected)


def test_a_dropped_concept_is_met_as_it_was_held(world, model):
    """Dropping a held concept changes nothing for the others."""
    held = apply(model, [SetScore("striped", 1.0)])
    dropped = apply(held, [DropConcept("striped")])

    assert "striped" not in dropped.concepts
    torch.testing.assert_close(dropped.logits(world.x), held.logits(world.x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(dropped.scores(world.x), held.scores(world.x)[:, 1:], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    "edit",
    [
        ScaleScore("striped", 2.0),
        MergeConcepts(("striped", "crested"), "both"),
        SetWeight("striped", "wren", 1.0),
        SetScore("striped", 1.5),
    ],
)
def test_edits_that_mean_nothing_here_are_refused_with_a_hint(model, edit):
    with pytest.raises(ModelError) as caught:
        apply(model, [edit])
    assert caught.value.hint
