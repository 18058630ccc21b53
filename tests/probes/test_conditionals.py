"""Conditional probabilities against enumeration of a small joint, and against plain counting."""

from dataclasses import replace

import pytest
import torch

from cbm.energy import initial
from cbm.energy_inference import corners_of
from cbm.energy_parts import parts_of
from cbm.errors import ModelError
from cbm.model import ConceptModel, Recipe
from probes.conditionals import conditional_probabilities, counted, drawn, weighted, within_class

K, C = 4, 3


@pytest.fixture(scope="module")
def small(planted):
    """A model of four concepts and three classes by random energies, and 40 images."""
    data = planted.training
    energies = initial(data.x.shape[1], K, C, 10, torch.Generator().manual_seed(2))
    parts = parts_of(
        energies, torch.ones(3), usual=torch.full((K,), 0.5), centre=torch.zeros(data.x.shape[1]), scale=3.0
    )
    model = ConceptModel(tuple("abcd"), ("x", "y", "z"), parts, parts.head, Recipe("ecbm"))
    images = replace(
        data.where((data.labels < C).numpy()), classes=model.classes, concepts=model.concepts, concept_labels=None
    )
    return model, images


def test_they_are_the_propositions_of_the_paper_by_enumeration(small):
    model, data = small
    corners = corners_of(K)
    q = torch.sigmoid(model.bottleneck.concept_logits(data.split("test").x))
    p_c = (q[:, None] * corners + (1 - q)[:, None] * (1 - corners)).prod(2).mean(0)  # [m]
    p_y = torch.softmax(-model.bottleneck.head.coupling.energy(corners), 1)
    joint = p_c[:, None] * p_y  # [m c]

    found = conditional_probabilities(model, data, draws=400)

    torch.testing.assert_close(found.given_class, (joint.T @ corners) / joint.sum(0)[:, None], atol=0.02, rtol=0)
    pairs = (corners * p_c[:, None]).T @ corners
    torch.testing.assert_close(found.given_concept, pairs / pairs.diagonal()[:, None], atol=0.02, rtol=0)
    torch.testing.assert_close(found.class_given, (joint.T @ corners) / pairs.diagonal(), atol=0.02, rtol=0)
    c, weight = drawn(model, data, draws=400)
    inside = (corners * joint[:, :1]).T @ corners
    torch.testing.assert_close(within_class(c, weight[:, 0]), inside / inside.diagonal()[:, None], atol=0.03, rtol=0)


def test_standard_errors_are_the_spread_over_seeds(small):
    model, data = small
    runs = [conditional_probabilities(model, data, draws=20, seed=seed) for seed in range(30)]
    spread = torch.stack([run.given_class for run in runs]).std(0)
    told = torch.stack([run.error for run in runs]).mean(0)

    assert float((spread / told).mean()) == pytest.approx(1.0, abs=0.35)
    assert all(bool((run.effective <= run.draws).all()) for run in runs)


def test_counting_is_counting():
    c, weight = torch.tensor([[1.0, 0], [1, 1], [0, 1]]), torch.tensor([[1.0, 0], [1, 0], [0, 1]])

    found = weighted(c, weight)

    assert found["given_class"].tolist() == [[1.0, 0.5], [0.0, 1.0]]
    assert found["given_concept"].tolist() == [[1.0, 0.5], [0.5, 1.0]]
    assert found["class_given"].tolist() == [[1.0, 0.5], [0.0, 0.5]]


def test_counts_of_decisions_are_shares(small):
    model, data = small
    shares = counted(model, data)["given_concept"].nan_to_num()

    assert bool(((shares >= 0) & (shares <= 1)).all())


def test_a_model_without_energies_has_no_joint(small):
    from cbm.bottleneck import LinearBottleneck

    model, data = small
    linear = replace(model, bottleneck=LinearBottleneck(torch.zeros(K, data.x.shape[1]), torch.zeros(K)))
    with pytest.raises(ModelError, match="no joint"):
        conditional_probabilities(linear, data)
