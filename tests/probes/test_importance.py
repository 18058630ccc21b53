import pytest
import torch

from cbm.errors import DataError
from probes.importance import cem, cgim, class_frequency

K, C, N = 400, 50, 2000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def frequency():
    """Concepts of which each is typical of every fifth class."""
    return (torch.rand(K, C, generator=seeded()) < 0.2).float()


@pytest.fixture(scope="module")
def shown():
    """Concepts of images, a fifth of them active."""
    return (torch.rand(N, 40, generator=seeded(1)) < 0.2).float()


def test_weights_that_follow_the_truth_agree_and_their_opposites_disagree(frequency):
    assert cgim(frequency, frequency, permutations=10).centred.value == pytest.approx(1)
    assert cgim(-frequency, frequency, permutations=10).centred.value == pytest.approx(-1)


def test_positive_random_weights_agree_as_published_and_not_when_centred(frequency):
    found = cgim(torch.rand(K, C, generator=seeded(2)), frequency, permutations=10)

    assert found.published.value == pytest.approx(0.2**0.5 * 0.75**0.5, abs=0.02)  # E r / sqrt(E r^2) = sqrt(3) / 2
    assert found.centred.value == pytest.approx(0, abs=0.03)
    assert found.by_concept.std() == pytest.approx(C**-0.5, abs=0.03)


def test_a_head_that_shifts_and_scales_the_truth_agrees_fully_only_when_centred(frequency):
    found = cgim(2 * frequency + 1, frequency, permutations=10)

    assert found.centred.value == pytest.approx(1)
    assert found.published.value < 0.95


def test_the_product_form_of_a_perfect_signed_model_falls_to_the_root_of_the_prevalence(frequency):
    signed = 2 * frequency - 1

    assert cgim(signed * signed, frequency, permutations=1).published.value == pytest.approx(0.2**0.5, abs=0.02)


def test_chance_agreement_has_large_p_values_and_true_agreement_small_ones(frequency):
    chance = cgim(torch.randn(K, C, generator=seeded(3)), frequency, permutations=200).p_values
    true = cgim(frequency + 0.2 * torch.randn(K, C, generator=seeded(4)), frequency, permutations=200).p_values

    assert float((chance < 0.05).float().mean()) == pytest.approx(0.05, abs=0.04)
    assert float(true.max()) < 0.05


def test_frequencies_are_counted_without_unknown_annotations():
    present = torch.tensor([[1.0], [torch.nan], [0.0], [1.0]])

    assert class_frequency(torch.tensor([0, 0, 0, 1]), present, 3).tolist() == [[0.5, 1.0, 0.0]]
    with pytest.raises(DataError, match="as frequent"):
        cgim(torch.rand(2, 3), torch.ones(2, 3))


def test_a_perfect_signed_model_scores_chance_as_published_and_one_in_both_our_forms(shown):
    signed = 2 * shown - 1
    importance = signed * signed + 0.01 * torch.rand(shown.shape, generator=seeded(5))  # theta = u, ties broken

    found = cem(importance, shown, shown > 0.5, top=3)

    assert found.published.found.value == pytest.approx(0.20, abs=0.02)
    assert found.published.chance == pytest.approx(0.20, abs=0.01)
    assert found.positive.found.value == found.truthful.found.value == 1.0


def test_a_random_ranking_with_random_claims_is_at_chance_in_every_form(shown):
    importance = torch.randn(shown.shape, generator=seeded(6))
    claimed = torch.rand(shown.shape, generator=seeded(7)) < 0.3

    found = cem(importance, shown, claimed, top=5)

    for part in (found.published, found.positive, found.truthful):
        assert part.found.value == pytest.approx(part.chance, abs=0.02)
    assert found.truthful.chance == pytest.approx(0.3 * 0.2 + 0.7 * 0.8, abs=0.01)


def test_an_oracle_with_concepts_of_zero_and_one_is_perfect_as_published_too():
    present = torch.zeros(50, 20)
    present[:, 5:12] = 1

    assert cem(present + 0.0, present, present > 0.5, top=5).published.found.value == 1.0


def test_unknown_concepts_are_left_out():
    present = torch.tensor([[torch.nan, 1.0, 0.0], [torch.nan, torch.nan, torch.nan]])
    importance = torch.tensor([[9.0, 2.0, 1.0], [1.0, 1.0, 1.0]])

    found = cem(importance, present, torch.ones(2, 3, dtype=torch.bool), top=1)

    assert (found.published.found.value, found.published.found.n) == (1.0, 1)
    with pytest.raises(DataError, match="annotated concepts"):
        cem(importance, present, torch.ones(2, 3, dtype=torch.bool), top=3)
