"""Both losses against torch's own, and their pieces against each other."""

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, one_hot

from cbm.newton.images import Images
from cbm.newton.losses import LOSSES

LABELS = torch.tensor([0, 2, 1, 1, 0, 2, 2, 0])
LOGITS = 2 * torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def torch_loss(name: str, logits: torch.Tensor) -> torch.Tensor:
    if name == "multinomial":
        return cross_entropy(logits.T, LABELS)
    targets = one_hot(LABELS).double()
    return binary_cross_entropy_with_logits(logits.T, targets, reduction="none").sum(1).mean()


@pytest.fixture(params=sorted(LOSSES))
def name(request):
    return request.param


@pytest.fixture
def loss(name):
    return LOSSES[name](LABELS, 3, torch.float64, Images(len(LABELS)))


def test_the_value_is_torchs(loss, name):
    assert loss.value(LOGITS) == pytest.approx(float(torch_loss(name, LOGITS)))


def test_probabilities_less_targets_are_the_gradient(loss, name):
    logits = LOGITS.clone().requires_grad_(True)
    torch_loss(name, logits).backward()

    assert (loss.probabilities(LOGITS) - loss.target) / 8 == pytest.approx(logits.grad)


def test_the_curvature_is_the_derivative_of_the_probabilities(loss):
    shift = torch.randn(3, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    _, derivative = torch.func.jvp(loss.probabilities, (LOGITS,), (shift,))

    assert loss.curvature(loss.probabilities(LOGITS), shift) == pytest.approx(derivative)


def test_the_curvature_in_the_biases_is_that_of_a_constant_shift(loss):
    p = loss.probabilities(LOGITS)

    for c in range(3):
        constant = torch.zeros(3, 8, dtype=torch.float64)
        constant[c] = 1
        assert loss.bias_curvature(p)[:, c] == pytest.approx(loss.curvature(p, constant).mean(1))


def test_changes_of_single_classes_add_up(loss):
    g = torch.Generator().manual_seed(2)
    logits = LOGITS.clone()
    loss.start_round(logits)

    for c in (0, 2, 1, 2):
        shift = torch.randn(8, generator=g, dtype=torch.float64)
        before = loss.value(logits)
        promised = loss.change(c, shift)
        loss.commit(c, shift)
        logits[c] += shift
        assert loss.value(logits) - before == pytest.approx(promised)
        assert loss.row(c) == pytest.approx(loss.probabilities(logits)[c])


def test_the_entropy_bounds_the_loss_from_below(loss):
    """Fenchel and Young: loss(z) >= <p - t, z> + entropy(p), with equality at the probabilities of z."""
    p = loss.probabilities(LOGITS)
    other = loss.probabilities(LOGITS.flip(0))

    def bound(q: torch.Tensor) -> float:
        return loss.entropy(q) + float(((q - loss.target) * LOGITS).sum()) / 8

    assert bound(p) == pytest.approx(loss.value(LOGITS))
    assert bound(other) < loss.value(LOGITS)


def test_without_weights_the_best_biases_give_the_class_frequencies(loss):
    p = loss.probabilities(loss.null_bias()[:, None].expand(3, 8))

    assert p.mean(1) == pytest.approx([3 / 8, 2 / 8, 3 / 8])
    assert loss.odds(p.mean(1) - loss.target.mean(1)).max() == pytest.approx(0, abs=1e-12)


def test_the_odds_are_just_enough_to_mix_an_excess_away(loss, name):
    excess = torch.tensor([0.1, -0.15, 0.05], dtype=torch.float64)

    odds = loss.odds(excess)
    constant = loss.target.mean(1) - excess / odds

    assert bool((constant >= -1e-12).all())
    assert bool((constant <= 1 + 1e-12).all())
    share = odds / (1 + odds)
    mixed = (1 - share) * (loss.target.mean(1) + excess) + share * constant
    assert mixed == pytest.approx(loss.target.mean(1))
