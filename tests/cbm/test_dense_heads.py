from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.nn.functional import cross_entropy

from cbm.dense_heads import choose_dense, fit_dense


def problem(n=200, d=5, c=3, seed=0):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=rng)
    y = (x @ torch.randn(d, c, generator=rng) + torch.randn(n, c, generator=rng)).argmax(1)
    return 3 + 0.2 * x, y


def test_it_is_the_logistic_regression_of_scikit_learn():
    """C = 1 / (n ridge), on embeddings that we scale as our ridge is defined."""
    x, y = problem()
    scaled = (x - x.mean(0)).double()
    scaled /= scaled.square().mean().sqrt()

    ours = fit_dense(x, y, 3, ridge=0.01)

    theirs = LogisticRegression(C=1 / (len(x) * 0.01), tol=1e-10, max_iter=5000).fit(scaled.numpy(), y.numpy())
    assert ours(x).softmax(1).numpy() == pytest.approx(theirs.predict_proba(scaled.numpy()), abs=1e-4)


def test_the_optimum_does_not_depend_on_scale_or_origin():
    x, y = problem()

    moved = fit_dense(100 * x - 40, y, 3, ridge=0.01)

    assert torch.allclose(moved(100 * x - 40).softmax(1), fit_dense(x, y, 3, ridge=0.01)(x).softmax(1), atol=1e-4)


def test_a_warm_start_ends_where_a_cold_one_does():
    x, y = problem()

    warm = fit_dense(x, y, 3, ridge=0.001, warm=fit_dense(x, y, 3, ridge=1.0))

    assert torch.allclose(warm(x).softmax(1), fit_dense(x, y, 3, ridge=0.001)(x).softmax(1), atol=1e-3)


def test_logits_that_say_everything_leave_nothing_to_fit():
    x, y = problem()

    rest = fit_dense(x, y, 3, ridge=0.01, offset=50 * torch.eye(3)[y])

    assert rest.weight.abs().max() < 1e-6


def test_with_an_offset_the_sum_is_what_is_fitted():
    x, y = problem()
    whole = fit_dense(x, y, 3, ridge=1e-3)
    half = 0.5 * whole(x)

    rest = fit_dense(x, y, 3, ridge=1e-9, offset=half)

    assert float(cross_entropy(rest(x) + half, y)) <= float(cross_entropy(whole(x), y))


def test_embeddings_that_never_vary_leave_the_class_frequencies():
    y = torch.tensor([0, 0, 0, 1])

    head = fit_dense(torch.ones(4, 2), y, 2, ridge=0.1)

    assert head(torch.ones(1, 2)).softmax(1)[0].tolist() == pytest.approx([0.75, 0.25], abs=1e-4)


def test_the_chosen_ridge_is_the_most_accurate_on_held_out_images():
    x, y = problem(400, d=40)
    train, held = (x[:60], y[:60]), (x[60:], y[60:])

    chosen = choose_dense(train, held, 3)

    def accuracy(head):
        return float((head(held[0]).argmax(1) == held[1]).double().mean())

    assert (
        accuracy(chosen) >= max(accuracy(fit_dense(*train, 3, ridge=ridge)) for ridge in (1.0, 0.1, 0.01, 1e-5)) - 1e-6
    )


def test_the_solution_is_no_worse_than_the_published_hybrids():
    """The published residual after 3 epochs of Adam, judged by its own objective: CE + l2 times the mean square."""
    z = np.load(Path(__file__).parents[1] / "reference" / "pcbm.npz")
    x, y = torch.from_numpy(z["hyb_E"]), torch.from_numpy(z["hyb_y"])
    cav, intercept = torch.from_numpy(z["cav"][2]), torch.from_numpy(z["intercept"][2])
    s = (x.double() @ cav.T + intercept) / cav.norm(dim=1)
    offset = s @ torch.from_numpy(z["head_lam0.001_W"]).double().T + torch.from_numpy(z["head_lam0.001_b"]).double()
    theirs = torch.from_numpy(z["hyb_rw"]).double()
    logits = offset + x.double() @ theirs.T + torch.from_numpy(z["hyb_rb"])
    assert logits.numpy() == pytest.approx(z["hyb_logits"], abs=1e-3)  # what we take their numbers for

    def objective(weight, logits):
        return float(cross_entropy(logits, y)) + float(z["hyb_l2"]) * float(weight.square().mean())

    scale = float((x - x.mean(0)).double().square().mean().sqrt())
    ridge = 2 * float(z["hyb_l2"]) / theirs.numel() / scale**2
    ours = fit_dense(x, y, 4, ridge=ridge, offset=offset)

    published = objective(theirs, torch.from_numpy(z["hyb_logits"]).double())
    assert objective(ours.weight.double(), offset + ours(x)) < published
