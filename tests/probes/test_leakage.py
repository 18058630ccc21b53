import numpy as np
import pytest
import torch

from cbm.errors import DataError
from cbm.training_set import TrainingSet
from probes.leakage import auroc_table, completeness, extra_bits, interconcept_leakage, oracle_impurity, task_leakage

N, K, C = 1500, 6, 4


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def world():
    """Six concepts, each typical of half of four classes and right nine times in ten."""
    labels = torch.arange(N) % C
    typical = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1.0]]).T
    flip = torch.rand(N, K, generator=seeded(0)) < 0.1
    present = torch.where(flip, 1 - typical[labels], typical[labels])
    splits = np.where(torch.rand(N, generator=seeded(1)).numpy() < 0.5, "train", "test")
    data = TrainingSet(present, labels, tuple("abcd"), splits, tuple(map(str, range(N))))
    return present, labels, data


def clean(present, noise=0.4):
    return present + noise * torch.randn(present.shape, generator=seeded(2))


def leaking(present, labels, amount=0.3):
    """Soft scores that are still right about their concepts, with a code of the class in the fine print."""
    code = torch.randn(C, K, generator=seeded(3))
    return clean(present, 0.1) + amount * code[labels]


def test_a_clean_score_tells_nothing_beyond_its_concept(world):
    present, labels, _ = world

    found = task_leakage(clean(present), present, labels)

    assert found.mean_beyond < 0.005
    assert found.mean_ctl < 0.005
    assert int((found.p_values < 0.05 / K).sum()) == 0


def test_a_leaking_score_is_told_from_a_clean_one_although_it_ranks_its_concept_as_well(world):
    present, labels, _ = world
    scores = leaking(present, labels)

    found = task_leakage(scores, present, labels)

    assert float(auroc_table(scores, present).diagonal().min()) > 0.9
    assert found.mean_beyond > 0.1
    assert found.mean_ctl > 0.1
    assert bool((found.p_values < 0.05 / K).all())


def test_shuffled_classes_leave_no_leakage(world):
    present, labels, _ = world

    found = task_leakage(leaking(present, labels), present, labels[torch.randperm(N, generator=seeded(4))])

    assert found.mean_beyond < 0.005
    assert found.mean_ctl < 0.005


def test_a_concept_that_nobody_annotated_has_no_leakage(world):
    present, labels, _ = world
    holes = present.clone()
    holes[:, 0] = torch.nan
    holes[::2, 1] = torch.nan

    found = task_leakage(clean(present), holes, labels)

    assert found.ctl.isnan().tolist() == found.p_values.isnan().tolist() == [True] + [False] * (K - 1)


def test_scores_that_mix_in_another_concept_are_impure_and_others_are_not(world):
    present, _, _ = world
    mixed = clean(present, 0.1)
    mixed[:, 0] += 0.6 * present[:, 5]

    pure, impure = interconcept_leakage(clean(present, 0.1), present), interconcept_leakage(mixed, present)

    assert float(pure.nanmean()) < 0.005
    assert float(impure[0, 5]) > 0.25
    assert bool(impure.diagonal().isnan().all())
    assert oracle_impurity(present + 0.0, present) == pytest.approx(0, abs=1e-6)
    assert oracle_impurity(mixed, present) > oracle_impurity(clean(present, 0.1), present) + 0.02


def test_impurity_is_largest_for_scores_that_all_know_everything():
    present = torch.cartesian_prod(torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0])).repeat(50, 1)

    assert oracle_impurity(present.flip(1), present) == pytest.approx(1 / 2**0.5 * 2**0.5)
    with pytest.raises(DataError, match="two annotated concepts"):
        oracle_impurity(present[:, :1], present[:, :1])


def test_the_table_of_aurocs_is_scikit_learns(world):
    from sklearn.metrics import roc_auc_score

    present, labels, _ = world
    scores = leaking(present, labels)

    expected = roc_auc_score(present[:, 2].numpy(), scores[:, 4].numpy())

    assert float(auroc_table(scores, present)[4, 2]) == pytest.approx(expected)


def test_only_leaking_scores_know_more_of_the_class_than_all_concepts_together(world):
    present, labels, data = world

    silent, telling = (extra_bits(s, present, data, "test") for s in (clean(present), leaking(present, labels)))

    assert silent.high < 0.05
    assert telling.low > 0.1


def test_scores_are_complete_when_they_hold_the_class_and_not_when_they_are_noise(world):
    present, _, data = world
    order = torch.arange(K)

    whole = completeness(present, data, "test", order=order, probe_accuracy=0.86)
    noise = completeness(torch.randn(N, K, generator=seeded(5)), data, "test", order=order, probe_accuracy=0.86)

    assert whole.value.value > 0.85
    assert noise.value.value < 0.1
    assert [size for size, _ in whole.curve][-1] == K
    assert whole.curve[0][1] < whole.area < whole.curve[-1][1]
    with pytest.raises(DataError, match="tell nothing"):
        completeness(present, data, "test", order=order, probe_accuracy=0.1)
