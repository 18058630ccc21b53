import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from cbm.errors import DataError
from cbm.ranking import auroc, auroc_components, chance_of_auroc


def test_auroc_agrees_with_scikit_learn_ties_included():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 20, 300).astype(np.float32), rng.random(300) < 0.3

    assert auroc(torch.from_numpy(scores), torch.from_numpy(positive)) == pytest.approx(roc_auc_score(positive, scores))


def test_both_sides_components_have_the_auroc_as_their_mean():
    scores, positive = torch.tensor([3.0, 1.0, 2.0, 0.0]), torch.tensor([True, True, False, False])

    parts = auroc_components(scores, positive)

    assert parts.tolist() == [1.0, 0.5, 0.5, 1.0]
    assert parts[positive].mean() == parts[~positive].mean() == auroc(scores, positive) == 0.75


def test_the_chance_of_the_best_order_is_one_in_all_orders():
    scores, positive = torch.arange(6.0), torch.tensor([False, False, False, True, True, True])

    assert chance_of_auroc(scores, positive) == pytest.approx(1 / 20)  # 6 choose 3


@pytest.mark.parametrize("side", [True, False])
def test_one_side_alone_has_no_auroc(side):
    for measure in (auroc, chance_of_auroc):
        with pytest.raises(DataError, match="both sides"):
            measure(torch.ones(3), torch.tensor([side] * 3))
