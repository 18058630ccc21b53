import pytest
import torch

from probes.multiplicity import holm


def test_holm_rejects_what_bonferroni_rejects_and_never_less():
    p = torch.tensor([0.001, 0.2, 0.013, 0.04], dtype=torch.float64)

    assert holm(p).tolist() == pytest.approx((0.004, 0.2, 0.039, 0.08))
    assert bool((holm(p) <= (4 * p).clamp(max=1)).all())
    assert holm(p[:0]).tolist() == []


def test_corrected_p_values_are_those_of_holm():
    from scipy.stats import false_discovery_control

    p = torch.tensor([0.01, 0.02, 0.03, torch.nan, 0.5], dtype=torch.float64)

    corrected = holm(p)

    assert corrected[[0, 1, 2, 4]].tolist() == pytest.approx([0.04, 0.06, 0.06, 0.5])
    assert bool(corrected[3].isnan())
    assert bool((corrected[[0, 1, 2, 4]] >= torch.from_numpy(false_discovery_control(p[[0, 1, 2, 4]].numpy()))).all())
