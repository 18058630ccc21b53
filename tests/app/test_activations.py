import numpy as np
import pytest
import torch

from app import activations
from cbm.bank import ConceptBank, Origin, Quality
from cbm.training_set import TrainingSet


def bank(vectors: torch.Tensor, intercepts: torch.Tensor, threshold: float | None = None) -> ConceptBank:
    names = tuple(f"concept {k}" for k in range(len(vectors)))
    source = "text" if threshold is None else "atom"
    origin = tuple(Origin(source, threshold=threshold) for _ in names)
    return ConceptBank(names, vectors, intercepts, origin, (Quality(),) * len(names))


def images(n: int, d: int) -> TrainingSet:
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(0)) + 0.5
    return TrainingSet(
        x=x,
        labels=torch.zeros(n, dtype=torch.int64),
        classes=("all",),
        splits=np.full(n, "train"),
        ids=tuple(map(str, range(n))),
    )


def drawn(k: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    return torch.randn(k, d, generator=g), torch.randn(k, generator=g)


def test_a_score_is_the_distance_to_the_hyperplane_standardised():
    (vectors, intercepts), data = drawn(4, 6), images(300, 6)

    found = activations.score(bank(vectors, intercepts), data, 2)

    distances = (data.x @ vectors[2] + intercepts[2]) / vectors[2].norm()
    torch.testing.assert_close(found, (distances - distances.mean()) / distances.std(unbiased=False))


def test_atoms_are_counted_and_scored_by_what_exceeds_their_threshold(monkeypatch):
    monkeypatch.setattr(activations, "IMAGES_AT_ONCE", 64)
    (vectors, intercepts), data = drawn(3, 6), images(300, 6)
    atoms = bank(vectors, intercepts, threshold=1.5)
    read = data.x @ vectors.T + intercepts
    codes = torch.where(read > 1.5, read, 0.0)

    uses = activations.uses(atoms, data)

    assert [use.share for use in uses] == pytest.approx((codes > 0).double().mean(0).tolist())
    assert [use.size for use in uses] == pytest.approx([float(c[c > 0].mean()) for c in codes.T], rel=1e-5)
    torch.testing.assert_close(activations.score(atoms, data, 1), codes[:, 1] / codes[:, 1].std(unbiased=False))
    assert activations.uses(bank(vectors, intercepts), data) is None


def test_the_nearest_concept_is_another_one_even_beside_copies():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0], [2.0, 0.0], [5.0, 0.0]])

    near = activations.nearest(bank(vectors, torch.zeros(5)))

    assert [name for name, _ in near] == ["concept 3", "concept 2", "concept 1", "concept 0", "concept 0"]
    assert [value for _, value in near] == pytest.approx([1.0, 0.8, 0.8, 1.0, 1.0])
    assert activations.nearest(bank(vectors[:1], torch.zeros(1))) == [("", 0.0)]


def test_neighbours_are_in_the_order_of_their_cosine():
    vectors = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 4.0]])

    found = activations.neighbours(bank(vectors, torch.zeros(3)), "concept 0")

    assert [name for name, _ in found] == ["concept 2", "concept 1"]
    assert [value for _, value in found] == pytest.approx([0.6, 0.0])
