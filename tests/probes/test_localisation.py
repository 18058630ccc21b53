import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cbm.errors import DataError
from probes.localisation import (
    ALPHAS,
    clm_published,
    clm_rank,
    mean_over_images,
    middle,
    pointing_game,
    relevance_mass,
)

SIZE = (32, 32)


def quarter(m: int = 1) -> torch.Tensor:
    """The upper left quarter of the image."""
    masks = torch.zeros(m, *SIZE, dtype=torch.bool)
    masks[:, :16, :16] = True
    return masks


def lit(*places: tuple[int, int], grid: int = 8) -> torch.Tensor:
    maps = torch.zeros(len(places), grid, grid)
    for row, (i, j) in enumerate(places):
        maps[row, i, j] = 1.0
    return maps


def random_maps(m: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(m, *SIZE, generator=torch.Generator().manual_seed(seed))


def random_points(m: int) -> torch.Tensor:
    return torch.randint(32, (m, 2), generator=torch.Generator().manual_seed(1))


def test_pointing_counts_the_maps_whose_highest_place_is_on_the_part():
    measured = pointing_game(lit((1, 1), (2, 3), (6, 6), (1, 6)), quarter(4))

    assert measured.found.value == 0.5
    assert measured.found.n == 4
    assert measured.chance == 0.25
    assert measured.above_chance == pytest.approx(1 / 3)


def test_a_near_miss_counts_when_there_is_tolerance_and_chance_grows_with_it():
    maps = lit((1, 4))  # its place ends 4 pixels, its maximum lies 2 pixels beside the part

    strict, kind = (pointing_game(maps, quarter(), tolerance=t) for t in (0.0, 3.0))

    assert (strict.found.value, kind.found.value) == (0.0, 1.0)
    assert kind.chance > strict.chance


def test_random_and_constant_maps_point_by_chance():
    masks = quarter(800)

    assert pointing_game(random_maps(800), masks).found.value == pytest.approx(0.25, abs=0.05)
    assert pointing_game(torch.ones(1, 8, 8), quarter()).found.value == 0.25


def test_mass_is_of_the_positive_part():
    maps = torch.zeros(1, *SIZE)
    maps[0, 0, 0], maps[0, 20, 20], maps[0, 25, 25] = 3.0, 1.0, -5.0

    assert relevance_mass(maps, quarter()).found.value == pytest.approx(0.75)
    assert relevance_mass(-maps.abs(), quarter()).found.value == 0.0


def test_a_map_that_knows_nothing_puts_the_area_on_the_part():
    assert relevance_mass(torch.ones(1, 8, 8), quarter()).found.value == pytest.approx(0.25)
    random = relevance_mass(random_maps(200), quarter(200))
    assert random.found.value == pytest.approx(random.chance, abs=0.01)


def test_the_location_metric_is_perfect_at_the_peak_and_chance_for_maps_that_know_nothing():
    points = random_points(500)
    peaks = torch.zeros(500, *SIZE)
    peaks[torch.arange(500), points[:, 0], points[:, 1]] = 1.0

    assert clm_rank(peaks, points, SIZE).found.value > 0.999
    assert clm_rank(random_maps(500), points, SIZE).found.value == pytest.approx(0.5, abs=0.04)
    assert clm_rank(torch.ones(1, 8, 8), points[:1], SIZE).found.value == 0.5


@pytest.mark.parametrize("alpha", ALPHAS)
def test_the_published_location_metric_has_chance_alpha_over_twelve(alpha):
    points = random_points(600)

    measured = clm_published(random_maps(600), points, SIZE, alpha=alpha)
    constant = clm_published(torch.ones(1, 8, 8), points[:1], SIZE, alpha=alpha)

    assert measured.chance == pytest.approx(alpha / 12)
    assert measured.found.value == pytest.approx(alpha / 12, abs=0.05)
    assert constant.found.value == pytest.approx(alpha / 12)


def test_the_rank_form_is_the_published_one_averaged_over_all_sizes():
    points, maps = random_points(40), random_maps(40)

    alphas = (torch.arange(1200) + 0.5) / 100
    published = np.mean([clm_published(maps, points, SIZE, alpha=float(a), seed=0).found.value for a in alphas[::20]])

    assert clm_rank(maps, points, SIZE).found.value == pytest.approx(published, abs=0.01)


def test_the_middle_of_a_part_in_two_pieces_lies_on_it():
    mask = np.zeros((9, 9), dtype=bool)
    mask[4, :3] = mask[4, 7:] = True

    assert middle(mask) == (4, 2)
    with pytest.raises(DataError, match="empty"):
        middle(np.zeros((3, 3), dtype=bool))


@given(st.integers(2, 30), st.integers(1, 5))
def test_many_cases_of_one_image_do_not_make_the_interval_narrower(n, copies):
    values = torch.rand(n, generator=torch.Generator().manual_seed(n)).double()
    images = torch.arange(n).repeat(copies)

    once, often = mean_over_images(values), mean_over_images(values.repeat(copies), images)

    assert once.n == often.n == n
    assert (once.low, once.high) == pytest.approx((often.low, often.high))


def test_maps_without_parts_are_refused_in_words():
    with pytest.raises(DataError, match="is empty"):
        pointing_game(torch.ones(1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.bool))
    with pytest.raises(DataError, match="2 maps, but 1"):
        relevance_mass(torch.ones(2, 8, 8), quarter())
    with pytest.raises(DataError, match="nothing to average"):
        mean_over_images(torch.zeros(0))
