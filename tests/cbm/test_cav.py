"""Concept vectors: planted directions come back, and quality is measured on images that were not learned from."""

import math

import jaxtyping
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from cbm.cav import learn_cavs, project
from cbm.cav_fits import FITS, Pool
from cbm.errors import DataError, PellucidError, UsageError

METHODS = sorted(FITS)


def planted(n=600, d=16, k=3, *, noise=0.5, seed=0) -> tuple[Tensor, Tensor, Tensor]:
    """Embeddings that move along one axis for each concept that they show, with a large common mean."""
    g = torch.Generator().manual_seed(seed)
    labels = (torch.rand(n, k, generator=g) < 0.4).float()
    directions = torch.eye(d)[:k]
    return 2 * labels @ directions + noise * torch.randn(n, d, generator=g) + 5.0, labels, directions


@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_the_planted_direction(method):
    x, labels, directions = planted()

    cavs = learn_cavs(x, labels, method=method)

    assert cosine_similarity(cavs.vectors, directions).min() > 0.9
    assert bool((cavs.auroc > 0.97).all())
    assert bool((cavs.accuracy > 0.9).all())
    assert bool((cavs.p_value < 1e-6).all())
    assert bool(cavs.learned.all())
    assert cavs.notes == ("", "", "")


@pytest.mark.parametrize("method", METHODS)
def test_the_hyperplane_lies_between_the_sides(method):
    x, labels, _ = planted()

    cavs = learn_cavs(x, labels, method=method)

    right = (project(x, cavs.vectors, cavs.intercepts) > 0) == (labels >= 0.5)
    assert bool((right.float().mean(0) > 0.9).all())


@pytest.mark.parametrize("method", METHODS)
def test_embeddings_may_be_moved_and_scaled(method):
    x, labels, _ = planted()

    plain = learn_cavs(x, labels, method=method)
    moved = learn_cavs(100 * x + 7, labels, method=method)

    assert cosine_similarity(plain.vectors, moved.vectors).min() > 0.9999
    assert 100 * project(x, plain.vectors, plain.intercepts) == pytest.approx(
        project(100 * x + 7, moved.vectors, moved.intercepts), abs=0.5
    )


@pytest.mark.parametrize("method", METHODS)
def test_labels_without_meaning_have_no_quality(method):
    x, labels, _ = planted(n=400)
    shuffled = labels[torch.randperm(400, generator=torch.Generator().manual_seed(3))]

    cavs = learn_cavs(x, shuffled, method=method)

    assert cavs.auroc == pytest.approx(torch.full((3,), 0.5, dtype=torch.float64), abs=0.12)
    assert bool((cavs.p_value > 0.005).all())
    assert bool((cavs.train_accuracy > cavs.accuracy).all())


def test_noise_that_was_learned_by_heart_does_not_pass_for_quality():
    g = torch.Generator().manual_seed(0)
    x, labels = torch.randn(120, 300, generator=g), (torch.rand(120, 1, generator=g) < 0.5).float()

    cavs = learn_cavs(x, labels, c=100.0)

    assert float(cavs.train_accuracy) == 1
    assert float(cavs.accuracy) < 0.75


def test_unknown_labels_are_neither_learned_from_nor_checked_with():
    x, labels, _ = planted()
    known = torch.arange(600) < 200
    x_elsewhere, labels_elsewhere = x.clone(), labels.clone()
    labels_elsewhere[~known] = torch.nan

    cavs = learn_cavs(x_elsewhere, labels_elsewhere)

    assert cavs.images * 2 + cavs.positives + cavs.negatives == pytest.approx(torch.full((3,), 200))


def test_at_most_two_thirds_of_the_rarer_side_are_learned_from():
    x, labels, _ = planted()
    labels[:, 0] = 0
    labels[:9, 0] = 1

    cavs = learn_cavs(x, labels, per_side=50)

    assert cavs.images.tolist() == [6, 50, 50]
    assert cavs.positives[0] == 3
    assert "only 3 images with the concept" in cavs.notes[0]


def test_a_concept_with_one_image_is_not_learned_and_says_so():
    x, labels, _ = planted()
    labels[:, 1] = 0
    labels[7, 1] = 1

    cavs = learn_cavs(x, labels)

    assert cavs.learned.tolist() == [True, False, True]
    assert "not learned" in cavs.notes[1]
    assert not cavs.vectors[1].any()
    assert math.isnan(float(cavs.auroc[1]))
    assert cavs.quality[1].auroc is None
    assert cavs.quality[0].auroc == float(cavs.auroc[0])


def test_the_seed_decides_what_is_learned_from():
    x, labels, _ = planted()

    first, same, other = (learn_cavs(x, labels, per_side=20, seed=seed) for seed in (0, 0, 1))

    assert torch.equal(first.vectors, same.vectors)
    assert not torch.equal(first.vectors, other.vectors)


def test_a_concept_does_not_depend_on_its_neighbours():
    x, labels, _ = planted()

    among = learn_cavs(x, labels)
    alone = learn_cavs(x, labels[:, :1])

    assert among.vectors[0] == pytest.approx(alone.vectors[0], abs=1e-4)


def test_a_pattern_of_yes_and_no_is_the_difference_of_means():
    x, labels, _ = planted()

    pattern, difference = (learn_cavs(x, labels, method=method) for method in ("pattern", "mean-difference"))

    assert pattern.vectors == pytest.approx(difference.vectors, abs=1e-5)


def test_a_pattern_follows_graded_labels():
    g = torch.Generator().manual_seed(0)
    grades = torch.rand(500, 1, generator=g)
    x = grades @ torch.tensor([[3.0, 4.0]]) + 0.1 * torch.randn(500, 2, generator=g)

    cavs = learn_cavs(x, grades, method="pattern")

    assert cavs.vectors[0] / cavs.vectors[0].norm() == pytest.approx([0.6, 0.8], abs=0.02)


def test_ridge_equals_its_closed_form():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(40, 5, generator=g)
    pool = Pool((x - x.mean(0)) / (x - x.mean(0)).square().sum(1).mean().sqrt())
    index, signs = torch.arange(40)[None], torch.cat([torch.ones(20), -torch.ones(20)])

    vectors, intercepts = FITS["ridge"](pool, index, (signs[None] + 1) / 2, 10.0)

    # the pool is centred on the same images, so the intercept is zero
    expected = torch.linalg.solve(pool.x.T @ pool.x + torch.eye(5) / 10.0, pool.x.T @ signs)
    assert vectors[0] == pytest.approx(expected, abs=1e-4)
    assert float(intercepts) == pytest.approx(0, abs=1e-5)


def test_logistic_meets_its_optimality_conditions():
    g = torch.Generator().manual_seed(0)
    pool = Pool(torch.randn(60, 8, generator=g))
    index, targets = torch.arange(60)[None], torch.cat([torch.ones(30), torch.zeros(30)])

    vectors, intercepts = FITS["logistic"](pool, index, targets[None], 2.0)

    residual = (pool.x @ vectors[0] + intercepts).sigmoid() - targets
    assert vectors[0] + 2.0 * pool.x.T @ residual == pytest.approx(torch.zeros(8), abs=1e-3)
    assert float(residual.sum()) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(("concepts", "images"), [(1, 10), (40, 10)])
def test_gram_matrices_do_not_depend_on_the_way_they_are_made(concepts, images):
    g = torch.Generator().manual_seed(0)
    pool = Pool(torch.randn(30, 4, generator=g))
    index = torch.randint(30, (concepts, images), generator=g)

    chosen = pool.x[index]
    assert pool.gram(index) == pytest.approx(chosen @ chosen.transpose(1, 2), abs=1e-5)


def test_what_cannot_be_used_is_refused(monkeypatch):
    x, labels, _ = planted()
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside the tests

    with pytest.raises(DataError, match="600 embeddings and 599 rows"):
        learn_cavs(x, labels[1:])
    with pytest.raises(DataError, match="1 of 600 embeddings"):
        learn_cavs(x.index_put((torch.tensor(3), torch.tensor(3)), torch.tensor(torch.nan)), labels)
    with pytest.raises(DataError, match="between 0 and 1"):
        learn_cavs(x, labels * 2)
    with pytest.raises(DataError, match="no concept has two"):
        learn_cavs(x, torch.ones(600, 2))
    with pytest.raises(PellucidError, match="no way to learn"):
        learn_cavs(x, labels, method="smv")
    with pytest.raises(UsageError):
        learn_cavs(x, labels, c=0.0)
