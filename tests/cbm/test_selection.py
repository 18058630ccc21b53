"""Choosing concepts: against the published choice, against all subsets, and against the plain greedy."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch

from cbm.errors import DataError, UsageError
from cbm.selection import (
    Pick,
    certified,
    choose,
    choose_as_published,
    class_similarity,
    discriminability,
    discriminability_as_published,
    greedy,
    random_choice,
    strongest_by_class,
)

REFERENCE = Path(__file__).parents[1] / "reference" / "labo.npz"
Y = torch.arange(5).repeat_interleave(8)


@pytest.fixture(scope="module")
def published():
    arrays = np.load(REFERENCE)
    return {name: torch.from_numpy(arrays[name]) for name in arrays.files if arrays[name].dtype.kind != "U"}


@pytest.fixture(scope="module")
def owners(published):
    return [(int(label),) for label in published["concept2cls"]]


def positions(picks):
    return [pick.position for row in picks for pick in row]


def worth(value, cover, chosen):
    return value[list(chosen)].sum() + np.maximum(cover[list(chosen)].max(0), 0).sum()


def test_similarities_and_both_scores_are_the_published_ones(published):
    similarity = class_similarity(published["img"], Y, 5, published["con"])

    assert torch.allclose(similarity, published["sim"], rtol=1e-5)
    assert torch.allclose(discriminability(similarity.double()).float(), published["paperD"], rtol=1e-4)
    assert torch.allclose(discriminability_as_published(similarity.double()).float(), published["mi"], rtol=1e-4)


@pytest.mark.parametrize(("scale", "weight"), [(1e7, 0), (1e7, 1), (1e7, 5), (1e7, 100), (0, 1)])
def test_the_published_choice_is_reproduced_in_its_order(published, owners, scale, weight):
    picks = choose_as_published(published["con"], published["mi"], owners, 5, count=10, scale=scale, weight=weight)

    assert positions(picks) == published[f"sub_{'1e+07' if scale else '0'}_{weight}"].tolist()


def test_the_published_coverage_is_not_that_of_the_paper(published, owners):
    """It covers columns of the text features; only a fifth of its choice is chosen by cosines."""
    picks = choose(published["con"], published["mi"], owners, 5, count=10, coverage=1.0)

    assert len(set(positions(picks)) & set(published["sub_0_1"].tolist())) == 11  # of 50


def test_without_coverage_the_most_discriminative_are_chosen(published, owners):
    picks = choose(published["con"], published["mi"], owners, 5, count=10, coverage=0.0)

    assert positions(picks) == published["group_mi"].tolist()
    assert positions(picks) == [i for row in strongest_by_class(published["mi"], owners, 5, count=10) for i in row]


def test_a_negative_similarity_is_no_share_but_has_a_softmax():
    """The published score is NaN as soon as one mean similarity is negative."""
    similarity = torch.tensor([[0.2, -0.1], [0.3, 0.3]])

    assert discriminability_as_published(similarity).isnan().any()
    with pytest.raises(DataError, match="negative"):
        discriminability(similarity)
    assert discriminability(similarity, temperature=0.1).tolist() == pytest.approx(
        [sum(q * np.log(q) for q in (1 / (1 + np.exp(-3)), 1 / (1 + np.exp(3)))), -np.log(2)], abs=1e-6
    )


@pytest.mark.parametrize("seed", range(5))
def test_greedy_comes_within_its_guarantee_of_the_best_set(seed):
    rng = np.random.default_rng(seed)
    value, cover = rng.random(11), rng.random((11, 30)) ** 6

    chosen, _ = greedy(value, cover, 4)

    best = max(worth(value, cover, subset) for subset in combinations(range(11), 4))
    assert worth(value, cover, chosen) >= (1 - 1 / np.e) * best


@pytest.mark.parametrize("ties", [False, True])
def test_being_lazy_changes_no_pick(ties):
    rng = np.random.default_rng(1)
    cover = rng.random((90, 90)) if not ties else rng.integers(0, 2, (90, 90)).astype(float)
    value = np.zeros(90) if ties else rng.random(90)

    chosen, covers = greedy(value, cover, 25)

    best, plain = np.zeros(90), []
    for _ in range(25):
        gains = value + np.maximum(cover - best, 0).sum(1)
        gains[plain] = -np.inf
        plain.append(int(gains.argmax()))
        best = np.maximum(best, cover[plain[-1]])
    assert chosen == plain
    assert sum(covers) == pytest.approx(best.sum())


def test_coverage_picks_one_of_each_of_three_groups():
    directions = torch.eye(3).repeat_interleave(4, 0) + 0.01 * torch.randn(12, 3, generator=torch.manual_seed(0))

    picks = choose(directions, torch.arange(12.0), [(0,)] * 12, 1, count=3, coverage=0.9)

    assert {pick.position // 4 for pick in picks[0]} == {0, 1, 2}
    assert sum(pick.covers for pick in picks[0]) == pytest.approx(1, abs=0.01)


def test_a_class_with_few_candidates_keeps_them_all_and_a_shared_one_serves_both():
    picks = choose(torch.eye(3), torch.ones(3), [(0,), (0, 1), (1,)], 2, count=10)

    assert [sorted(pick.position for pick in row) for row in picks] == [[0, 1], [1, 2]]


def test_chance_draws_from_the_own_candidates_and_repeats_itself():
    owners = [(i % 2,) for i in range(40)]

    drawn = random_choice(owners, 2, count=5, seed=3)

    assert all(pick.position % 2 == label for label, row in enumerate(drawn) for pick in row)
    assert positions(drawn) == positions(random_choice(owners, 2, count=5, seed=3))
    assert positions(drawn) != positions(random_choice(owners, 2, count=5, seed=4))


def test_coverage_is_a_share():
    with pytest.raises(UsageError, match="between 0 and 1"):
        choose(torch.eye(2), torch.ones(2), [(0,), (0,)], 1, count=1, coverage=5)


@pytest.mark.parametrize("coverage", [0.0, 0.3, 1.0])
def test_what_is_certified_is_true(coverage):
    """Against the best of all subsets: the choice reaches at least the share that is certified."""
    generator = torch.Generator().manual_seed(2)
    vectors, value = torch.randn(10, 4, generator=generator), torch.rand(10, generator=generator)
    picks = choose(vectors, value, [(0,)] * 10, 1, count=3, coverage=coverage)

    share = certified(vectors, value, [(0,)] * 10, picks, coverage=coverage)

    unit = torch.nn.functional.normalize(vectors, dim=1)
    own = ((value - value.min()) / (value.max() - value.min())).double().numpy()
    cover = (unit @ unit.T).clamp_min(0).double().numpy()

    def objective(chosen):
        return (1 - coverage) * own[list(chosen)].mean() + coverage * cover[list(chosen)].max(0).mean()

    best = max(objective(subset) for subset in combinations(range(10), 3))
    reached = objective([pick.position for pick in picks[0]]) / best
    assert share <= reached + 1e-6
    assert share > 0.6
    assert coverage > 0 or share == pytest.approx(1)


def test_a_bad_choice_is_not_certified():
    value = torch.tensor([1.0, 0.9, 0.1, 0.0])
    bad = [[Pick(2, 0.1, 0.0)]]

    assert certified(torch.eye(4), value, [(0,)] * 4, bad, coverage=0.0) < 0.2


def test_the_other_published_selectors_take_the_largest_values(published, owners):
    """By mutual information, or by similarity with whichever class it is largest, of all or class by class."""
    similarity = class_similarity(published["img"], Y, 5, published["con"]).max(1).values

    by_class = strongest_by_class(similarity, owners, 5, count=10)

    assert [i for row in by_class for i in row] == published["group_clip"].tolist()
    assert similarity.argsort(descending=True).tolist() == published["clip_score_select"].tolist()
    assert published["mi"].argsort(descending=True).tolist() == published["mi_select"].tolist()
