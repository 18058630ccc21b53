from dataclasses import replace

import pytest
import torch

from cbm.bottleneck import Clamp, GatedBottleneck, LinearBottleneck, ReluBottleneck, clamp_of
from cbm.errors import ModelError, UnknownName

SMALL = LinearBottleneck(torch.tensor([[1.0, 0.0], [1.0, 1.0]]), torch.tensor([0.5, -1.0]))
X = torch.tensor([[2.0, 3.0], [0.0, 1.0]])


def test_scores_are_affine_in_the_embedding():
    assert SMALL(X).tolist() == [[2.5, 4.0], [0.5, 0.0]]


def test_a_clamp_overwrites_its_concepts_and_leaves_the_others_alone():
    clamp = clamp_of(("a", "b"), {"b": 7.0})

    assert SMALL(X, clamp).tolist() == [[2.5, 7.0], [0.5, 7.0]]


def test_a_clamp_can_differ_from_image_to_image():
    clamp = Clamp(mask=torch.tensor([[True, False], [False, True]]), values=torch.tensor([[9.0, 0.0], [0.0, 8.0]]))

    assert SMALL(X, clamp).tolist() == [[9.0, 4.0], [0.5, 8.0]]


def test_clamping_nothing_changes_nothing():
    assert torch.equal(SMALL(X, clamp_of(("a", "b"), {})), SMALL(X))


def test_a_clamp_on_an_unknown_concept_says_which_there_are():
    with pytest.raises(UnknownName) as caught:
        clamp_of(("striped", "crested"), {"stripes": 1.0})

    assert "striped" in caught.value.hint


def test_embeddings_of_another_width_are_refused():
    with pytest.raises(ModelError, match="3 dimensions, but this model reads 2"):
        SMALL(torch.zeros(1, 3))


def test_a_bottleneck_without_concepts_gives_no_scores():
    assert LinearBottleneck(torch.zeros(0, 2), torch.zeros(0))(X).shape == (2, 0)


ATOMS = ReluBottleneck(
    weight=torch.diag(torch.tensor([2.0, 10.0])),
    bias=torch.tensor([0.0, 0.5]),
    atoms=torch.tensor([[1.0, 0.0], [1.0, 1.0]]),
    offsets=torch.tensor([0.0, -1.0]),
    thresholds=torch.tensor([1.0, 0.0]),
)


def test_a_code_under_its_threshold_adds_nothing_and_one_above_it_is_whole():
    assert ATOMS(X).tolist() == [[4.0, 40.5], [0.0, 0.5]]
    assert ATOMS(torch.tensor([[1.0, -2.0]])).tolist() == [[0.0, 0.5]]


def test_a_clamp_overwrites_scores_of_atoms_too():
    assert ATOMS(X, clamp_of(("a", "b"), {"a": -7.0})).tolist() == [[-7.0, 40.5], [-7.0, 0.5]]


def test_atoms_refuse_embeddings_of_another_width():
    with pytest.raises(ModelError, match="3 dimensions, but this model reads 2"):
        ATOMS(torch.zeros(1, 3))


GATED = GatedBottleneck(
    weight=torch.diag(torch.tensor([1.0, 10.0])),
    bias=torch.tensor([0.0, 0.5]),
    atoms=torch.tensor([[1.0, 0.0], [1.0, 1.0]]),
    offsets=torch.tensor([0.0, -1.0]),
    gates=torch.tensor([[0.0, 1.0], [1.0, 0.0]]),
    openings=torch.tensor([0.0, -0.5]),
    temperature=torch.tensor(0.0),
)
Y = torch.tensor([[1.0, 2.0], [2.0, -1.0], [-1.0, 0.0]])


def test_a_reading_counts_where_its_gate_is_open():
    assert GATED.open(Y).tolist() == [[1, 1], [0, 1], [0, 0]]
    assert GATED(Y).tolist() == [[1.0, 20.5], [0.0, 0.5], [0.0, 0.5]]


def test_a_warm_gate_is_the_logistic_function_of_its_opening():
    warm = replace(GATED, temperature=torch.tensor(2.0))

    assert torch.allclose(warm.open(Y)[0], torch.sigmoid(torch.tensor([1.0, 0.25])))
    assert float(warm(Y)[0, 0]) == pytest.approx(float(torch.sigmoid(torch.tensor(1.0))))


def test_a_clamp_overwrites_gated_scores_too():
    assert GATED(Y, clamp_of(("a", "b"), {"a": -7.0}))[:, 0].tolist() == [-7.0] * 3


def test_gates_refuse_embeddings_of_another_width():
    with pytest.raises(ModelError, match="3 dimensions, but this model reads 2"):
        GATED(torch.zeros(1, 3))
