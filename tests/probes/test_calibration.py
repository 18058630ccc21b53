import numpy as np
import pytest
import torch

from cbm.training_set import TrainingSet
from probes.calibration import reliability
from probes.intervals import wilson
from probes.tables import Decisions


def test_bins_hold_what_the_model_said_and_how_often_it_was_right():
    confidence = torch.tensor([0.62, 0.66, 0.68, 0.97, 1.0], dtype=torch.float64)
    truth = torch.tensor([0, 0, 1, 0, 0])
    data = TrainingSet(
        x=torch.zeros(5, 1), labels=truth, classes=("a", "b"), splits=np.full(5, "test"), ids=tuple("12345")
    )
    decided = Decisions(data, truth, torch.zeros(5, dtype=torch.long), torch.stack([confidence, 1 - confidence], 1))

    low, high = reliability(decided)

    assert low.confidence == pytest.approx((0.62 + 0.66 + 0.68) / 3)
    assert low.accuracy == wilson(2, 3)
    assert (high.confidence, high.accuracy) == (pytest.approx(0.985), wilson(2, 2))
