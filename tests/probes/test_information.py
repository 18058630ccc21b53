import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from cbm.training_set import TrainingSet
from probes.information import (
    binned,
    information_in_bottleneck,
    information_on_labels,
    passed_at_most,
    passed_information,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def two_gaussians(n: int, distance: float) -> tuple[torch.Tensor, torch.Tensor, float]:
    """A score of two classes with means `distance` apart, and the bits that it tells, by numerical integration."""
    labels = torch.randint(2, (n,), generator=seeded(1))
    scores = labels * distance + torch.randn(n, generator=seeded(2))
    grid = np.linspace(-8, 8 + distance, 20001)
    density = 0.5 * norm.pdf(grid) + 0.5 * norm.pdf(grid - distance)
    mixed = -np.trapezoid(density * np.log2(density), grid)
    return scores, labels, float(mixed - 0.5 * math.log2(2 * math.pi * math.e))


@pytest.mark.parametrize("distance", [0.5, 1.0, 2.0])
def test_a_gaussian_score_tells_what_the_integral_says(distance):
    scores, labels, truth = two_gaussians(40_000, distance)

    found = information_on_labels(scores[:, None], labels, bins=16)

    assert float(found.bits) == pytest.approx(truth, abs=0.015)


def test_a_noisy_channel_tells_one_bit_less_the_noises_entropy():
    labels = torch.randint(2, (5000,), generator=seeded(3))
    flip = torch.rand(5000, generator=seeded(4)) < 0.1
    truth = 1 + 0.1 * math.log2(0.1) + 0.9 * math.log2(0.9)

    found = information_on_labels(torch.where(flip, 1 - labels, labels)[:, None].float(), labels)

    assert float(found.bits) == pytest.approx(truth, abs=0.015)
    assert found.entropy == pytest.approx(1, abs=0.001)


def test_scores_that_know_nothing_tell_nothing_although_the_raw_estimate_says_so():
    labels = torch.randint(20, (400,), generator=seeded(5))
    scores = torch.randn(400, 50, generator=seeded(6))

    found = information_on_labels(scores, labels)

    assert float(found.shuffled.mean()) > 0.2  # seven bins and nineteen classes of freedom on 400 images
    assert float(found.bits.mean()) < 0.02
    assert float((found.p_values < 0.05).float().mean()) < 0.2


def test_what_is_known_already_is_not_told_again():
    """The score is class and coin together; given the coin, it tells the class, given the class, nothing."""
    labels = torch.randint(2, (3000,), generator=seeded(7))
    scores = (labels + 0.3 * torch.randn(3000, generator=seeded(8)))[:, None]

    beyond = information_on_labels(scores, labels, given=labels[:, None])
    coin = information_on_labels(scores, labels, given=torch.randint(2, (3000, 1), generator=seeded(9)))

    assert float(beyond.bits) < 0.01
    assert float(coin.bits) == pytest.approx(float(information_on_labels(scores, labels).bits), abs=0.03)


def test_bins_are_equally_full_and_equal_scores_share_one():
    assert binned(torch.randn(800, 1, generator=seeded(10)), 8).flatten().bincount().tolist() == [100] * 8
    assert len(binned(torch.tensor([[0.0], [0.0], [0.0], [1.0]]), 2).unique()) == 2


def world(n: int = 3000) -> tuple[TrainingSet, float]:
    """Two classes told apart by three scores that are Gaussian around the class, and the bits they tell together."""
    scores, labels, truth = two_gaussians(n, 3**0.5)  # three scores at distance 1 are one at distance sqrt(3)
    directions = torch.full((3,), 3**-0.5)
    rest = torch.randn(n, 3, generator=seeded(11))
    x = scores[:, None] * directions + rest - (rest @ directions)[:, None] * directions
    splits = np.where(np.arange(n) < n // 2, "train", "test")
    return TrainingSet(x, labels, ("a", "b"), splits, tuple(map(str, range(n)))), truth


def test_all_scores_together_tell_what_the_integral_says():
    data, truth = world()

    found = information_in_bottleneck(data.x, data, "test")

    assert found.low <= truth + 0.02
    assert found.value == pytest.approx(truth, abs=0.04)


def test_shuffled_labels_leave_nothing_to_tell():
    data, _ = world()

    assert information_in_bottleneck(data.x, data, "test", shuffle=True).value == pytest.approx(0, abs=0.02)


def test_what_passes_is_the_capacity_of_gaussian_channels():
    independent = torch.randn(20_000, 5, generator=seeded(12))
    copies = independent[:, :1].repeat(1, 5)

    assert passed_information(independent) == pytest.approx(passed_at_most(5), rel=0.01)
    assert passed_information(copies) == pytest.approx(0.5 * math.log2(1 + 5 / 0.01), rel=0.01)
    assert passed_information(torch.ones(10, 2)) == 0.0
