"""Sparse-CBM: gates that are in the forward pass, edits and bundles that keep them, and a final layer that learns."""

from dataclasses import replace

import pytest
import torch

from cbm.bottleneck import GatedBottleneck, LinearBottleneck
from cbm.edits import DropConcept, MergeConcepts, ScaleScore, SetScore, apply
from cbm.errors import ModelError
from cbm.io import fingerprint, load, save
from cbm.live import live_logits
from cbm.methods import fit
from cbm.methods.sparse import LOSSES, class_concepts
from cbm.sources import random_bank

OPTIONS = {"nec": 2, "active": 0.3}


@pytest.fixture(scope="module")
def world(planted):
    return replace(planted.training, bank=planted.bank)


@pytest.fixture(scope="module")
def model(world):
    return fit("sparse", world, **OPTIONS)


def accuracy(model, data) -> float:
    return float((model.predict(data.x) == data.labels).float().mean())


@pytest.mark.parametrize("loss", LOSSES)
def test_every_loss_gives_a_model_that_classifies(world, loss):
    made = fit("sparse", world, **OPTIONS, loss=loss)

    assert isinstance(made.bottleneck, GatedBottleneck if loss == "gumbel" else LinearBottleneck)
    assert accuracy(made, world.split("test")) > 0.8


def test_a_closed_gate_lets_nothing_through_and_an_open_one_all(world, model):
    dense = fit("sparse", world, **OPTIONS, loss="dense")
    whole, through, gates = dense.scores(world.x), model.scores(world.x), model.bottleneck.open(world.x)

    assert set(gates.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(through, gates * whole, atol=1e-5)


def test_few_concepts_are_active_and_the_note_counts_them(world, model):
    active = float((model.scores(world.split("train").x) != 0).sum(1).float().mean())

    assert active < 0.6 * len(model.concepts)
    assert f"{active:.3g} of 9 concepts are active" in model.recipe.notes[0]


def test_gates_open_for_what_is_there(world, model):
    """Each planted concept's gate, which no annotation has taught, tells the images that show it."""
    test = world.split("test")
    gates = model.bottleneck.open(test.x).bool()
    there = test.concept_labels.bool()

    right = [float((gates[:, k] == there[:, k]).float().mean()) for k in range(8)]

    assert sum(right) / 8 > 0.8


def test_a_soft_gate_lets_through_its_probability(world):
    soft = fit("sparse", world, **OPTIONS, gate="soft")

    gates = soft.bottleneck.open(world.x)

    assert float(soft.bottleneck.temperature) == 1
    assert 0 < float(gates.min()) < float(gates.max()) < 1


def test_without_a_number_of_concepts_the_head_is_the_one_trained_along(world):
    dense = fit("sparse", world, nec=None, loss="l1")

    assert int((dense.head.weight != 0).sum()) == dense.head.weight.numel()
    assert accuracy(dense, world.split("test")) > 0.8


def test_gates_that_read_their_own_concept_need_concepts_that_mean_something(world, model):
    """Where gates read all concepts, or scores are mixed, names matter less: random ones come closer."""
    chance = fit("sparse", replace(world, bank=random_bank(world.bank)), **OPTIONS)
    test = world.split("test")

    assert accuracy(model, test) > accuracy(chance, test) + 0.05


def test_the_positives_of_a_class_are_the_concepts_that_define_it(world, planted):
    psi = fit("sparse", world, **OPTIONS, loss="dense").scores(world.x)

    found = class_concepts(psi, world.labels, 4, 2)

    for label, pair in enumerate(planted.class_concepts.values()):
        assert {world.concepts[k] for k in torch.nonzero(found[label]).flatten().tolist()} == set(pair)


def test_too_many_concepts_for_pairs_are_refused_with_a_way_out(world, monkeypatch):
    monkeypatch.setattr("cbm.methods.sparse.LARGEST", 5)

    for options in ({"loss": "l1"}, {"reads": "all"}):
        with pytest.raises(ModelError, match="too many pairs") as caught:
            fit("sparse", world, **OPTIONS, **options)
        assert "reads=own" in caught.value.hint
    assert fit("sparse", world, **OPTIONS).concepts == world.bank.names


def test_edits_do_to_scores_what_they_say(world, model):
    before, (a, b, c, *_) = model.scores(world.x), model.concepts

    def after(*edits):
        return apply(model, edits).scores(world.x)

    assert torch.allclose(after(SetScore(a, 1.5))[:, 0], torch.full((len(world),), 1.5))
    assert torch.allclose(after(ScaleScore(a, -2.0))[:, 0], -2 * before[:, 0], atol=1e-5)
    assert torch.allclose(after(DropConcept(b))[:, 1:], before[:, 2:], atol=1e-6)
    merged = after(MergeConcepts((a, c), "both"))
    assert torch.allclose(merged[:, 0], (before[:, 0] + before[:, 2]) / 2, atol=1e-5)


def test_live_logits_follow_edits_of_gated_scores(world, model):
    live = live_logits(model, world.x)
    script = (ScaleScore(model.concepts[0], 2.0), MergeConcepts(model.concepts[1:3], "both"))

    for edit in script:
        live = live.edited(edit)

    assert torch.allclose(live.logits.T, apply(model, script).logits(world.x), atol=1e-4)


@pytest.mark.parametrize("gate", ["hard", "soft"])
def test_an_edited_model_is_the_same_after_saving_and_loading(world, gate, tmp_path):
    a, b, c, *_ = world.bank.names
    edited = apply(fit("sparse", world, **OPTIONS, gate=gate), [MergeConcepts((a, c), "both"), DropConcept(b)])

    read = load(save(edited, tmp_path / "model"))

    assert fingerprint(read) == fingerprint(edited)
    assert torch.equal(read.logits(world.x), edited.logits(world.x))
