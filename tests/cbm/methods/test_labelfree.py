"""Label-free CBM on a backbone that is a rotation of the planted world, so that the right projection is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cbm.bank import merge
from cbm.errors import DataError
from cbm.methods import fit
from cbm.methods.labelfree import learn_projection


@pytest.fixture(scope="module")
def rotation():
    return torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(5))).Q


@pytest.fixture(scope="module")
def world(planted, rotation):
    """Images in another space than the concepts; one direction of it is hidden from the backbone."""
    hidden = planted.bank.vectors[planted.bank.index("noise")]
    seen = planted.training.x - torch.outer(planted.training.x @ hidden, hidden)
    return replace(
        planted.training, x=10 * seen @ rotation + 3, encoder_id="backbone", contract="another",
        bank=planted.bank, concept_x=planted.training.x,
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(world):
    return fit("labelfree", world, nec=2)


def test_the_projection_is_the_rotated_concept(world, rotation, planted, model):
    learned = torch.nn.functional.normalize(model.bank.vectors, dim=1)

    wanted = torch.stack([planted.bank.vectors[planted.bank.index(name)] for name in model.concepts]) @ rotation

    assert (learned * wanted).sum(1).min() > 0.8  # similarities are divided by the length of the embedding


def test_a_concept_that_the_backbone_cannot_see_is_left_out(model, planted):
    assert set(model.concepts) == set(planted.bank.names) - {"noise"}
    assert "not learned: noise" in model.recipe.notes


def test_it_classifies_and_says_how_well_each_concept_was_learned(model, world):
    test = world.split("test")

    assert float((model.predict(test.x) == test.labels).double().mean()) > 0.9
    assert all(quality.note.startswith("agrees 0.") or "agrees 1." in quality.note for quality in model.bank.quality)
    assert all(one.detail.startswith("learned from similarities with: ") for one in model.bank.origin)


def test_filter_and_stop_look_at_training_images_only(world, model):
    """The published code uses the images that it reports. Here even the validation images could be any others."""
    keep = world.splits == "train"
    shuffled = torch.randperm(int((~keep).sum()), generator=torch.Generator().manual_seed(1)).numpy()
    order = np.concatenate([np.flatnonzero(keep), np.flatnonzero(~keep)[shuffled]])
    other = world.concept_x.clone()
    other[~keep] = other[order[int(keep.sum()) :]]

    again = fit("labelfree", replace(world, concept_x=other), nec=2)

    assert again.concepts == model.concepts
    assert torch.equal(again.bank.vectors, model.bank.vectors)


def test_steps_improve_on_least_squares_where_it_is_fooled():
    """Cubes care for the strong images; a similarity that is linear only there is learned better by going on."""
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(600, 8, generator=generator)
    s = torch.where(x[:, :1] > 1.2, 4 * x[:, :1], -0.6 * x[:, 1:2])
    held = x[400:], s[400:]

    started, continued = (learn_projection(x[:400], s[:400], held, steps=steps)[1] for steps in (0, 500))

    assert float(continued) > float(started) + 0.02


def test_a_constant_similarity_is_no_concept():
    x = torch.randn(60, 4, generator=torch.Generator().manual_seed(3))
    s = torch.stack([x[:, 0], torch.full((60,), 0.2)], 1)

    weight, agreement = learn_projection(x, s, (x, s))

    assert bool(torch.isfinite(weight).all())
    assert agreement.tolist() == [pytest.approx(1.0, abs=1e-3), 0.0]


def test_without_a_learnable_concept_it_says_so(world):
    with pytest.raises(DataError, match="no concept agrees with its text better than 1"):
        fit("labelfree", world, interpretability=1.0)


def test_concepts_that_no_image_shows_can_be_left_out(world, planted):
    opposite = replace(
        planted.bank.select(["striped"]).rename("striped", "nowhere"), vectors=-planted.bank.vectors.sum(0)[None]
    )
    more = replace(world, bank=merge(planted.bank, opposite))

    made = fit("labelfree", more, nec=2, visible=0.3)

    assert "nowhere" not in made.concepts
    assert "hardly seen in the training images: nowhere" in made.recipe.notes
    with pytest.raises(DataError, match="no concept is closer to its images than 1;"):
        fit("labelfree", world, visible=1)


def test_embeddings_of_another_width_than_the_concepts_are_refused(world):
    with pytest.raises(DataError, match="24 dimensions, the images of their encoder 5"):
        fit("labelfree", replace(world, concept_x=world.x[:, :5]))
