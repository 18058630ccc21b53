"""Linear SVMs by Gram matrices against the post-hoc CBM's own concept vectors and against scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.svm import SVC
from torch import Tensor
from torch.nn.functional import cosine_similarity

from cbm import svm
from cbm.cav import project, summarise_margins
from cbm.errors import DataError
from cbm.svm import _checked_libsvm, _solver, fit_svm_grid, fit_svms

REFERENCE = np.load(Path(__file__).parents[1] / "reference" / "pcbm.npz")
SIDES = torch.arange(80) < 40


def reference_images() -> tuple[Tensor, Tensor]:
    """Training and held-out images of six concepts, positives first."""
    positive, negative = torch.from_numpy(REFERENCE["pos"]), torch.from_numpy(REFERENCE["neg"])
    return torch.cat([positive[:, :40], negative[:, :40]], 1), torch.cat([positive[:, 40:], negative[:, 40:]], 1)


@pytest.mark.parametrize("index", range(5))
def test_vectors_and_accuracies_equal_the_published_ones(index):
    train, held_out = reference_images()

    vectors, intercepts = fit_svms(train.double(), SIDES, float(REFERENCE["Cs"][index]), tolerance=1e-3)

    assert cosine_similarity(vectors, torch.from_numpy(REFERENCE["cav"][index])).min() >= 0.99999
    for images, key in ((train, "train_acc"), (held_out, "val_acc")):
        right = (torch.einsum("knd,kd->kn", images.double(), vectors) + intercepts[:, None] > 0) == SIDES
        assert right.double().mean(1) == pytest.approx(REFERENCE[key][index])


@pytest.mark.parametrize("index", range(5))
def test_margins_equal_the_published_ones(index):
    train, _ = reference_images()

    vectors, intercepts = fit_svms(train.double(), SIDES, float(REFERENCE["Cs"][index]), tolerance=1e-3)

    for k in range(6):
        distance = project(train[k].double(), vectors[k : k + 1], intercepts[k : k + 1])[:, 0]
        ours = summarise_margins(distance)
        assert ours == pytest.approx(REFERENCE["margins"][index, k, :8], abs=3e-3)  # libsvm's own tolerance there


def test_projections_equal_the_published_ones():
    vectors, intercepts = torch.from_numpy(REFERENCE["cav"][2]), torch.from_numpy(REFERENCE["intercept"][2])

    scores = project(torch.from_numpy(REFERENCE["emb"]).double(), vectors, intercepts)

    assert scores == pytest.approx(REFERENCE["proj"], abs=1e-4)


@pytest.mark.parametrize("c", [0.01, 1.0, 10.0])
def test_the_primal_is_within_a_thousandth_of_scikit_learns(c):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(5, 60, 40, generator=g)
    sides = torch.arange(60) % 3 == 0  # in any order, with unequal sides
    signs = 2.0 * sides.double() - 1

    vectors, intercepts = fit_svms(x, sides, c)

    for k in range(5):
        machine = SVC(C=c, kernel="linear", tol=1e-8).fit(x[k].double().numpy(), sides.numpy())
        ours, theirs = (
            float(w @ w) / 2 + c * float((1 - signs * (x[k].double() @ w + b)).clamp_min(0).sum())
            for w, b in (
                (vectors[k].double(), float(intercepts[k])),
                (torch.tensor(machine.coef_[0]), float(machine.intercept_[0])),
            )
        )
        assert ours == pytest.approx(theirs, rel=1e-3)


@pytest.mark.parametrize("cs", [(0.01, 1.0), (1000.0, 1e-3, 10.0, 0.1)])
def test_a_grid_of_penalties_equals_single_fits(cs):
    train, _ = reference_images()

    grid = fit_svm_grid(train.double(), SIDES, cs, tolerance=1e-9)

    for (vectors, intercepts), c in zip(grid, cs, strict=True):
        alone = fit_svms(train.double(), SIDES, c, tolerance=1e-9)
        assert vectors == pytest.approx(alone[0], abs=1e-5)
        assert intercepts == pytest.approx(alone[1], abs=1e-5)


def test_the_largest_margin_serves_all_larger_penalties(monkeypatch):
    solve, asked = _solver(), []
    monkeypatch.setattr(svm, "_solver", lambda: lambda *given: asked.append(given[2]) or solve(*given))
    x = torch.tensor([[[0.0], [1.0], [3.0], [4.0]]])  # the margin is 1, its coefficients are 1 / 2

    grid = fit_svm_grid(x, torch.tensor([False, False, True, True]), (10.0, 0.1, 1.0, 0.7))

    assert asked == [0.1, 0.7]
    assert [float(vectors) for vectors, _ in grid] == pytest.approx([1.0, 0.5, 1.0, 1.0])  # at 0.1, 0 and 4 hold it
    assert [float(intercepts) for _, intercepts in grid] == pytest.approx([-2.0, -1.0, -2.0, -2.0])


def test_the_short_way_to_libsvm_equals_the_public_one():
    gram = np.cov(np.random.default_rng(0).standard_normal((30, 50)))
    sides = np.repeat([1.0, 0.0], 15)

    short, checked = _solver()(gram, sides, 3.0, 1e-5), _checked_libsvm(gram, sides, 3.0, 1e-5)

    assert short[0] == pytest.approx(checked[0])
    assert short[1] == pytest.approx(checked[1])


def test_one_side_alone_is_refused():
    with pytest.raises(DataError, match="both sides"):
        fit_svms(torch.ones(1, 4, 2), torch.ones(4, dtype=torch.bool), 1.0)
