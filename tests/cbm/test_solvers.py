"""Elastic-net heads: optimality by independent means, certificates, paths and parity with published results."""

from itertools import pairwise
from pathlib import Path

import jaxtyping
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from cbm.errors import DataError, UsageError
from cbm.solvers import Solution, at_nec, elastic_net_objective, elastic_net_path, fit_elastic_net, lam_max

REFERENCE = Path(__file__).parents[1] / "reference"


def planted(n=400, k=30, c=4, *, seed=0, noise=1.0) -> tuple[Tensor, Tensor]:
    """Scores with a shared mean and correlations, and labels from a sparse linear rule."""
    g = torch.Generator().manual_seed(seed)
    s = torch.randn(n, k, generator=g, dtype=torch.float64)
    s = s + 0.7 * s[:, :1] + 3.0
    rule = torch.randn(c, k, generator=g, dtype=torch.float64) * (torch.rand(c, k, generator=g) < 0.2)
    logits = (s - s.mean(0)) @ rule.T + noise * torch.randn(n, c, generator=g, dtype=torch.float64)
    return s, logits.argmax(1)


def violation(solution: Solution, s: Tensor, y: Tensor) -> float:
    """Largest violation of the first-order conditions, from autograd; the bias is free."""
    w, b = solution.weight.clone().requires_grad_(True), solution.bias.clone().requires_grad_(True)
    logits = s @ w.T + b
    if solution.loss == "multinomial":
        loss = cross_entropy(logits, y)
    else:
        target = one_hot(y, len(b)).to(s.dtype)
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none").sum(1).mean()
    loss.backward()
    l1, l2 = solution.lam * solution.alpha, solution.lam * (1 - solution.alpha)
    gradient = w.grad + l2 * w.detach()
    at_zero = (gradient.abs() - l1).clamp_min(0)
    elsewhere = (gradient + l1 * w.detach().sign()).abs()
    return max(float(torch.where(w.detach() == 0, at_zero, elsewhere).max()), float(b.grad.abs().max()))


@pytest.mark.parametrize("loss", ["multinomial", "one-vs-rest"])
@pytest.mark.parametrize("alpha", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("classes", [2, 3, 7])
def test_the_head_meets_the_optimality_conditions(loss, alpha, classes):
    s, y = planted(c=classes)

    tolerance = 1e-7 if alpha == 1 else 1e-9  # of first order in the gradient, so the objective cannot see much less
    head = fit_elastic_net(s, y, classes, lam=0.01, alpha=alpha, loss=loss, tolerance=tolerance)

    assert head.converged
    assert head.gap <= tolerance * head.objective
    assert violation(head, s, y) < 3e-5  # about the square root of the gap


@pytest.mark.parametrize("loss", ["multinomial", "one-vs-rest"])
@pytest.mark.parametrize("alpha", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("tolerance", [0.5, 0.1, 1e-2, 1e-4])
def test_the_gap_never_promises_too_much(loss, alpha, tolerance):
    s, y = planted()

    best = fit_elastic_net(s, y, 4, lam=0.02, alpha=alpha, loss=loss, tolerance=1e-9)
    early = fit_elastic_net(s, y, 4, lam=0.02, alpha=alpha, loss=loss, tolerance=tolerance)

    assert early.gap <= tolerance * early.objective
    assert early.objective - early.gap <= best.objective
    assert early.objective >= best.objective - best.gap


@pytest.mark.parametrize("index", range(6))
def test_the_objective_equals_the_exact_one_and_is_not_above_glm_sagas(index):
    z = np.load(REFERENCE / "glm.npz")
    s, y = torch.from_numpy(z["x"]).double(), torch.from_numpy(z["y"])

    head = fit_elastic_net(s, y, 5, lam=float(z["lams"][index]), alpha=float(z["alpha"]), tolerance=1e-11)

    assert head.objective == pytest.approx(z["exact_objective"][index], abs=1e-9)
    assert head.objective <= z["ref_objective"][index] + 1e-9
    assert elastic_net_objective(
        s, y, torch.from_numpy(z["weights"][index]).double(), torch.from_numpy(z["biases"][index]).double(),
        lam=float(z["lams"][index]), alpha=float(z["alpha"]),
    ) == pytest.approx(z["ref_objective"][index], abs=1e-5)  # fmt: skip


def test_the_largest_useful_lam_equals_glm_sagas():
    z = np.load(REFERENCE / "glm.npz")
    s, y = torch.from_numpy(z["x"]).double(), torch.from_numpy(z["y"])

    assert lam_max(s, y, 5, alpha=1.0) == pytest.approx(float(z["max_reg"]), rel=1e-6)


@pytest.mark.parametrize("lam", ["1e-05", "0.001", "0.01", "0.05"])
def test_every_row_is_at_least_as_good_as_the_post_hoc_cbms_sgd(lam):
    z = np.load(REFERENCE / "pcbm.npz")
    s, y = torch.from_numpy(z["head_P"]).double(), torch.from_numpy(z["head_y"])

    head = fit_elastic_net(s[:300], y[:300], 4, lam=float(lam), loss="one-vs-rest", tolerance=1e-6)

    signs = 2.0 * one_hot(y[:300], 4) - 1
    losses = torch.nn.functional.softplus(-signs * (s[:300] @ head.weight.T + head.bias)).mean(0)
    penalties = float(lam) * (0.99 * head.weight.abs() + 0.005 * head.weight.square()).sum(1)
    theirs = torch.from_numpy(z[f"head_lam{lam}_obj"])
    assert head.converged
    assert bool((losses + penalties <= theirs + 1e-7).all())
    assert 100 * head.accuracy(s[300:], y[300:]) >= z[f"head_lam{lam}_acc"][1] - 1


def test_two_classes_have_two_rows_and_rank_images_as_one_logistic_regression():
    s, y = planted(c=2)

    both = fit_elastic_net(s, y, 2, lam=0.02, loss="one-vs-rest", tolerance=1e-10)

    assert both.weight.shape == (2, 30)
    assert both.weight[0] == pytest.approx(-both.weight[1], abs=1e-5)
    assert float(both.bias.sum()) == pytest.approx(0, abs=1e-4)


def test_at_the_largest_lam_all_weights_are_zero_and_just_below_one_is_not():
    s, y = planted()
    top = lam_max(s, y, 4)

    assert not fit_elastic_net(s, y, 4, lam=1.0001 * top, tolerance=1e-9).weight.any()
    assert fit_elastic_net(s, y, 4, lam=0.99 * top, tolerance=1e-9).weight.any()


def test_a_huge_lam_leaves_the_class_frequencies():
    s, y = planted()

    head = fit_elastic_net(s, y, 4, lam=1e6)

    frequency = torch.bincount(y, minlength=4).double() / len(y)
    assert not head.weight.any()
    assert torch.softmax(head.bias, 0) == pytest.approx(frequency, rel=1e-6)


def test_shifting_scores_changes_only_the_bias():
    s, y = planted()

    plain = fit_elastic_net(s, y, 4, lam=0.01, tolerance=1e-10)
    shifted = fit_elastic_net(s + 1000.0, y, 4, lam=0.01, tolerance=1e-10)

    assert shifted.weight == pytest.approx(plain.weight, abs=1e-5)
    assert shifted.bias + 1000.0 * shifted.weight.sum(1) == pytest.approx(plain.bias, abs=1e-2)


def test_float32_reaches_the_double_precision_optimum():
    s, y = planted()

    single = fit_elastic_net(s.float(), y, 4, lam=0.01, tolerance=1e-5)
    double = fit_elastic_net(s, y, 4, lam=0.01, tolerance=1e-10)

    assert single.weight.dtype == torch.float32
    assert single.converged
    assert single.objective == pytest.approx(double.objective, rel=2e-5)


@pytest.mark.parametrize("alpha", [0.5, 0.99, 1.0])
def test_repeated_and_constant_columns_do_not_disturb(alpha):
    s, y = planted(k=10)
    odd = torch.cat([s, s, torch.full((len(s), 2), 7.0), torch.zeros(len(s), 1)], 1)

    plain = fit_elastic_net(s, y, 4, lam=0.01, alpha=1.0, tolerance=1e-9)
    head = fit_elastic_net(odd, y, 4, lam=0.01, alpha=alpha, tolerance=1e-8)
    single = fit_elastic_net(odd.float(), y, 4, lam=0.01, alpha=alpha, tolerance=1e-4)

    assert head.converged
    assert single.converged
    assert not head.weight[:, 20:].any()
    assert head.objective <= plain.objective + 1e-8  # under l2, two half weights are cheaper than one


def test_more_concepts_than_images_are_fine():
    s, y = planted(n=40, k=300, c=3)

    head = fit_elastic_net(s, y, 3, lam=0.005, tolerance=1e-8)

    assert head.converged
    assert violation(head, s, y) < 1e-4


def test_a_class_with_two_images_gets_its_own_bias():
    s, y = planted(n=300, c=3)
    y[:] = y.clamp_max(1)
    y[:2] = 2

    head = fit_elastic_net(s, y, 3, lam=0.01, tolerance=1e-9)

    assert head.converged
    assert violation(head, s, y) < 1e-5


def test_a_class_without_images_is_never_predicted():
    s, y = planted(c=3)

    alone = fit_elastic_net(s, y, 3, lam=0.01, tolerance=1e-9)
    among = fit_elastic_net(s, y * 2, 5, lam=0.01, tolerance=1e-9)

    assert among.weight[::2] == pytest.approx(alone.weight)
    assert not among.weight[1::2].any()
    assert torch.equal(among.predict(s), 2 * alone.predict(s))


def test_one_class_alone_is_predicted_without_weights():
    s, _ = planted()

    head = fit_elastic_net(s, torch.zeros(len(s), dtype=torch.int64), 2, lam=0.01)

    assert head.converged
    assert not head.weight.any()
    assert head.accuracy(s, torch.zeros(len(s), dtype=torch.int64)) == 1


@pytest.mark.parametrize("loss", ["multinomial", "one-vs-rest"])
def test_separable_data_at_a_tiny_lam_ends_with_every_image_right(loss):
    s, y = planted(n=200, k=40, noise=0.0)

    head = fit_elastic_net(s, y, 4, lam=1e-6, loss=loss, tolerance=1e-3)

    assert head.accuracy(s, y) == 1
    assert head.objective < 5e-3
    assert bool(torch.isfinite(head.weight).all())


def test_a_warm_start_leads_to_the_same_head():
    s, y = planted()

    cold = fit_elastic_net(s, y, 4, lam=0.01, tolerance=1e-10)
    warm = fit_elastic_net(s, y, 4, lam=0.01, tolerance=1e-10, warm=fit_elastic_net(s, y, 4, lam=0.1))

    assert warm.objective == pytest.approx(cold.objective, rel=1e-10)
    assert warm.weight == pytest.approx(cold.weight, abs=1e-3)


def test_weights_that_are_not_allowed_stay_zero():
    s, y = planted()
    allowed = torch.rand(4, 30, generator=torch.Generator().manual_seed(0)) < 0.3

    head = fit_elastic_net(s, y, 4, lam=1e-4, alpha=0.0, allowed=allowed, tolerance=1e-9)

    assert head.converged
    assert torch.equal(head.weight != 0, allowed)


def test_a_path_goes_down_to_the_number_of_concepts_that_was_asked_for():
    s, y = planted()

    path = elastic_net_path(s, y, 4, nec=(2, 6))

    assert path[0].nec == 0
    assert path[-1].nec >= 6 > path[-2].nec
    assert all(a.lam > b.lam for a, b in pairwise(path))
    assert all(a.objective >= b.objective for a, b in pairwise(path))
    assert all(solution.converged for solution in path)


def test_a_path_over_given_lams_equals_single_fits():
    s, y = planted()

    path = elastic_net_path(s, y, 4, lams=(0.01, 0.1, 0.03), tolerance=1e-9)

    assert [solution.lam for solution in path] == [0.1, 0.03, 0.01]
    for solution in path:
        alone = fit_elastic_net(s, y, 4, lam=solution.lam, tolerance=1e-9)
        assert solution.objective == pytest.approx(alone.objective, rel=1e-8)


def test_a_path_ends_when_there_are_not_enough_concepts():
    s, y = planted(k=5)

    path = elastic_net_path(s, y, 4, nec=(30,), tolerance=1e-2)

    assert path[-1].nec <= 5
    assert at_nec(path, 30, s, y).nec <= 5


@pytest.mark.parametrize("truncation", ["global", "per-class"])
@pytest.mark.parametrize("refit", [True, False])
@pytest.mark.parametrize("target", [1, 3, 6])
def test_a_head_has_exactly_the_number_of_concepts_that_was_asked_for(truncation, refit, target):
    s, y = planted(n=800, k=40)
    path = elastic_net_path(s, y, 4, nec=(12,))

    head = at_nec(path, target, s, y, truncation=truncation, refit=refit)

    counts = (head.weight != 0).sum(1)
    # a class may hold fewer than its share on the solution that has enough on average
    assert head.nec == target if truncation == "global" else bool((counts <= target).all())


def test_a_cut_head_knows_how_far_it_is_from_the_optimum_of_its_penalty():
    s, y = planted()
    path = elastic_net_path(s, y, 4, nec=(6,))

    cut = at_nec(path, 3, s, y, refit=False)
    best = fit_elastic_net(s, y, 4, lam=cut.lam, tolerance=1e-10)

    assert not cut.converged
    assert cut.objective > best.objective
    assert cut.objective - cut.gap <= best.objective


def test_refitting_lowers_the_loss_that_shrinkage_had_raised():
    s, y = planted()
    path = elastic_net_path(s, y, 4, nec=(6,))

    cut, refitted = (at_nec(path, 3, s, y, refit=refit) for refit in (False, True))

    assert torch.equal(cut.weight != 0, refitted.weight != 0)
    assert cross_entropy(s @ refitted.weight.T + refitted.bias, y) < cross_entropy(s @ cut.weight.T + cut.bias, y)


def test_validation_images_choose_among_the_solutions_with_enough_concepts():
    s, y = planted(n=900)
    path = elastic_net_path(s[:300], y[:300], 4, nec=(12,))

    first = at_nec(path, 3, s[:300], y[:300])
    chosen = at_nec(path, 3, s[:300], y[:300], validation=(s[300:], y[300:]))

    assert chosen.nec == 3
    assert chosen.accuracy(s[300:], y[300:]) >= first.accuracy(s[300:], y[300:])


def test_progress_ends_at_one():
    s, y = planted()
    seen: list[float] = []

    fit_elastic_net(s, y, 4, lam=0.01, on_progress=lambda fraction, message: seen.append(fraction))

    assert seen[-1] == 1
    assert all(0 <= fraction <= 1 for fraction in seen)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_scores_that_are_not_finite_are_refused(value):
    s, y = planted()
    s[3, 5] = value

    with pytest.raises(DataError, match="1 of 400 images"):
        fit_elastic_net(s, y, 4, lam=0.01)


def test_labels_must_fit(monkeypatch):
    s, y = planted()

    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as outside the tests
    with pytest.raises(DataError, match="400 rows of scores and 399 labels"):
        fit_elastic_net(s, y[1:], 4, lam=0.01)
    with pytest.raises(DataError, match="there are 3 classes"):
        fit_elastic_net(s, y, 3, lam=0.01)


@pytest.mark.parametrize(("lam", "alpha"), [(0.0, 0.99), (-1.0, 0.99), (0.1, 1.1), (0.1, -0.1)])
def test_penalties_out_of_range_are_refused(lam, alpha):
    s, y = planted()

    with pytest.raises(UsageError):
        fit_elastic_net(s, y, 4, lam=lam, alpha=alpha)
