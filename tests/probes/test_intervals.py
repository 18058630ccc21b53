import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from cbm.errors import DataError
from probes.intervals import bootstrap, exact, resampled_counts, wilson


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 20), (7, 20), (20, 20), (912, 1000)])
def test_wilson_is_scipys(hits, n):
    ours, theirs = wilson(hits, n), binomtest(hits, n).proportion_ci(method="wilson")

    assert (ours.value, ours.n) == (hits / n, n)
    assert (ours.low, ours.high) == (pytest.approx(theirs.low, abs=1e-6), pytest.approx(theirs.high, abs=1e-6))
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


def test_a_share_of_nothing_is_refused():
    with pytest.raises(DataError):
        wilson(0, 0)
    with pytest.raises(DataError):
        bootstrap(lambda counts: counts.mean(1), 0)


def test_counts_have_no_interval():
    estimate = exact(7.5, 20)

    assert estimate.low == estimate.value == estimate.high == 7.5


def test_each_resample_draws_as_many_images_as_there_are():
    chunks = list(resampled_counts(30, seed=0, resamples=50))

    counts = torch.cat(chunks)
    assert counts.shape == (50, 30)
    assert counts.sum(1).tolist() == [30] * 50
    assert counts.min() == 0


def test_resamples_come_in_chunks_that_fit_in_memory(monkeypatch):
    whole = torch.cat(list(resampled_counts(8, seed=1, resamples=10)))
    monkeypatch.setattr("probes.intervals.COUNTS_AT_ONCE", 24)

    chunks = list(resampled_counts(8, seed=1, resamples=10))

    assert [len(chunk) for chunk in chunks] == [3, 3, 3, 1]
    assert torch.cat(chunks).sum() == whole.sum()


def test_the_interval_of_a_mean_is_the_normal_one():
    values = torch.from_numpy(np.random.default_rng(0).uniform(size=400))

    estimate = bootstrap(lambda counts: counts @ values / counts.sum(1), 400)

    error = 1.96 * float(values.std(correction=0)) / 20
    assert estimate.value == pytest.approx(float(values.mean()))
    assert estimate.low == pytest.approx(estimate.value - error, abs=0.004)  # 1,000 resamples
    assert estimate.high == pytest.approx(estimate.value + error, abs=0.004)


def test_the_interval_is_the_same_for_the_same_seed_and_holds_the_value():
    values = torch.rand(50, dtype=torch.float64)

    def biased(counts):
        return (counts @ values / counts.sum(1)).clamp(min=0.5)

    first, second = bootstrap(biased, 50, seed=3), bootstrap(biased, 50, seed=3)

    assert first == second
    assert first.low <= first.value <= first.high


def test_resamples_without_a_value_are_left_out():
    present = torch.zeros(4, dtype=torch.float64)
    present[0] = 1

    estimate = bootstrap(lambda counts: (counts @ present) / (counts @ present), 4)

    assert (estimate.value, estimate.low, estimate.high) == (1, 1, 1)
