"""Paired tests and what drives disagreements, on decisions written by hand."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from cbm.bottleneck import LinearBottleneck
from cbm.errors import DataError
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe
from cbm.training_set import TrainingSet
from probes.pairs import mcnemar, pairing, pushes
from probes.tables import Decisions

CLASSES = ("wren", "teal")


def decisions(truth, predicted, ids=None) -> Decisions:
    n = len(truth)
    labels = torch.tensor(truth)
    data = TrainingSet(
        x=torch.zeros(n, 2), labels=labels, classes=CLASSES, splits=np.full(n, "test"),
        ids=tuple(ids or (str(i) for i in range(n))),
    )  # fmt: skip
    return Decisions(data, labels, torch.tensor(predicted), torch.full((n, 2), 0.5, dtype=torch.float64))


def test_images_are_paired_by_their_id_and_counted():
    first = decisions([0, 0, 0, 1, 1], [0, 0, 1, 1, 0], ids="abcde")
    second = decisions([1, 1, 0, 0, 0], [0, 1, 0, 0, 1], ids="edcbx")  # x is not among the first's, a not here

    found = pairing(first, second, (CLASSES, CLASSES))

    assert (found.n, found.both, found.neither) == (4, 2, 1)
    assert (found.only_first, found.only_second, found.apart) == ((), ("c",), ("c",))
    assert found.difference.value == pytest.approx(0.25)
    assert found.p_value == 1.0


def test_the_interval_of_the_difference_is_the_paired_one():
    """Two models of 80 % that fail on the same images but for a few: unpaired, the interval would be wide."""
    n = 500
    truth = [0] * n
    first = [1 if i < 100 else 0 for i in range(n)]
    second = [1 if 10 <= i < 100 else 0 for i in range(n)]

    found = pairing(decisions(truth, first), decisions(truth, second), (CLASSES, CLASSES))

    error = (0.02 * 0.98 / n) ** 0.5  # ten images in 500 differ, all in one direction
    assert found.difference.value == pytest.approx(0.02)
    assert found.difference.high - found.difference.low == pytest.approx(2 * norm.ppf(0.975) * error, rel=0.15)
    assert found.p_value == mcnemar(0, 10) == 2 / 2**10


def test_a_model_against_itself_differs_nowhere():
    one = decisions([0, 1, 0], [0, 0, 0])

    found = pairing(one, one, (CLASSES, CLASSES))

    assert (found.difference.low, found.difference.high) == (0, 0)
    assert (found.apart, found.p_value) == ((), 1.0)


def test_classes_in_another_order_are_the_same_classes():
    first = decisions([0, 1], [0, 1])
    second = decisions([0, 1], [1, 0])  # counts in ("teal", "wren")

    assert pairing(first, second, (CLASSES, CLASSES[::-1])).apart == ()


def test_without_a_shared_image_there_is_nothing_to_compare():
    with pytest.raises(DataError, match="share no image"):
        pairing(decisions([0], [0], ids="a"), decisions([0], [0], ids="b"), (CLASSES, CLASSES))


def test_what_speaks_for_a_decision_adds_up_to_the_margin():
    model = ConceptModel(
        ("water", "crest"), CLASSES, LinearBottleneck(torch.eye(2), torch.zeros(2)),
        LinearHead(torch.tensor([[1.0, -2.0], [0.5, 3.0]]), torch.zeros(2)), Recipe("by hand"),
    )  # fmt: skip
    x = torch.tensor([[2.0, 1.0], [1.0, 0.0]])

    found = pushes(model, x, ("teal", "wren"), ("wren", "owl"))

    assert found.tolist() == [[-1.0, 5.0], [1.0, -0.0]]
    logits = model.logits(x)
    assert found[0].sum() == logits[0, 1] - logits[0, 0]
