"""The association matrix: its prior, and training step for step as published."""

from pathlib import Path

import numpy as np
import pytest
import torch

from cbm.association import associated, held_mass, prior, sparsemax, train_association

REFERENCE = Path(__file__).parents[1] / "reference" / "labo.npz"


@pytest.mark.parametrize("activation", ["softmax", "none"])
def test_five_steps_are_the_published_ones(activation):
    arrays = np.load(REFERENCE)
    found = {name: torch.from_numpy(arrays[name]) for name in ("asso_dot", *(f"asso_{activation}_{what}" for what in ("init", "loss", "final", "logits")))}  # fmt: skip
    labels = torch.arange(5).repeat_interleave(8)

    made = train_association(
        found["asso_dot"],
        labels,
        torch.eye(50),
        found[f"asso_{activation}_init"],
        activation=activation,
        rate=0.01,
        steps=5,
    )

    assert (made.logits - found[f"asso_{activation}_final"]).abs().max() < 1e-4
    assert made.losses == pytest.approx(found[f"asso_{activation}_loss"].tolist(), rel=1e-3)
    logits = found["asso_dot"] @ associated(made.logits, activation).T
    assert torch.allclose(logits, found[f"asso_{activation}_logits"], atol=1e-3)


@pytest.mark.parametrize("classes", [2, 10, 200])
def test_the_prior_holds_its_mass_however_many_classes_there_are(classes):
    owners = [(i // 50,) for i in range(50 * classes)]

    ours = associated(prior(owners, classes, mass=0.9))

    assert held_mass(ours, owners) == pytest.approx(0.9, abs=1e-4)
    assert (ours.sum(1) - 1).abs().max() < 1e-5


def test_the_published_prior_is_washed_out_by_the_softmax():
    """Ones and zeros, with fifty concepts for each of two hundred classes: 1.35 percent, as measured on CUB."""
    owners = [(i // 50,) for i in range(50 * 200)]

    published = associated((prior(owners, 200, mass=0.9) > 0).float())

    assert held_mass(published, owners) == pytest.approx(0.0135, abs=1e-4)


def test_a_shared_concept_is_own_to_both_and_a_class_with_none_starts_even():
    start = associated(prior([(0, 1), (0,), (1,)], 3, mass=0.8))

    assert start[0].tolist() == pytest.approx([0.4, 0.4, 0.2])
    assert start[1].tolist() == pytest.approx([0.4, 0.2, 0.4])
    assert start[2].tolist() == pytest.approx([1 / 3] * 3)


def test_held_out_images_end_the_training_at_their_best():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 20, generator=generator), torch.arange(12) % 2
    held = torch.randn(200, 20, generator=generator), torch.arange(200) % 2  # nothing can be learned

    made = train_association(x, y, torch.eye(20), torch.zeros(2, 20), held=held, rate=0.1, scale=1, steps=300)

    assert made.steps == 0
    assert torch.equal(made.logits, torch.zeros(2, 20))
    assert len(made.losses) < 300


def test_the_scale_is_learned_when_asked_to():
    x, y = torch.eye(4), torch.tensor([0, 1, 0, 1])

    made = train_association(
        x,
        y,
        torch.eye(4),
        prior([(0,), (1,), (0,), (1,)], 2, mass=0.9),
        scale=1.0,
        learn_scale=True,
        rate=0.1,
        steps=50,
    )

    assert made.scale > 5
    assert made.losses[-1] < made.losses[0] / 2


def test_five_steps_with_both_extra_terms_are_the_published_ones():
    """Positive logits as they are, a penalty on the largest class, and a reward of similarities that vary."""
    arrays = np.load(REFERENCE)
    found = {what: torch.from_numpy(arrays[f"asso_relu_reg_{what}"]) for what in ("init", "loss", "final", "logits")}
    dot, labels = torch.from_numpy(arrays["asso_dot"]) / 10, torch.arange(5).repeat_interleave(8)

    made = train_association(
        dot, labels, torch.eye(50), found["init"], activation="relu", l1=0.01, diversity=0.005, rate=0.01, steps=5
    )

    assert (made.logits - found["final"]).abs().max() < 1e-4
    assert made.losses == pytest.approx(found["loss"].tolist(), rel=1e-3)
    assert torch.allclose(dot @ associated(made.logits, "relu").T, found["logits"], atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
def test_sparsemax_is_the_nearest_distribution(seed):
    """Nothing in the simplex is nearer: moving weight between any two entries goes away from the logits."""
    logits = torch.randn(1, 6, generator=torch.Generator().manual_seed(seed)).double()

    found = sparsemax(logits)[0]

    assert float(found.sum()) == pytest.approx(1)
    assert float(found.min()) >= 0
    distance = (found - logits[0]).square().sum()
    for giver in torch.nonzero(found > 1e-3).flatten().tolist():
        for taker in range(6):
            moved = found.clone()
            moved[giver] -= 1e-3
            moved[taker] += 1e-3
            assert (moved - logits[0]).square().sum() >= distance - 1e-12


@pytest.mark.parametrize("activation", ["softmax", "sparsemax", "relu"])
def test_the_prior_holds_its_mass_whatever_the_activation(activation):
    owners = [(0,), (0,), (1,), (1,), (1,), (0, 1)]

    start = associated(prior(owners, 3, mass=0.8, activation=activation), activation)

    assert start[0, [0, 1, 5]].tolist() == pytest.approx([0.8 / 3] * 3)
    assert start.sum(1).tolist() == pytest.approx([1, 1, 1])
    assert start[2].tolist() == pytest.approx([1 / 6] * 6)


def test_sparsemax_learns_to_use_few_concepts():
    x, y = torch.eye(6).repeat(8, 1), torch.arange(6).repeat(8) % 2
    start = prior([(0, 1)] * 6, 2, mass=0.9, activation="sparsemax")

    made = train_association(x, y, torch.eye(6), start, activation="sparsemax", scale=5.0, rate=0.02, steps=200)

    assert torch.equal(associated(made.logits, "sparsemax") > 0, torch.tensor([[1, 0] * 3, [0, 1] * 3]).bool())
