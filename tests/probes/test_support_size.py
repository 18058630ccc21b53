"""The planner against worlds whose answer is known: clear concepts need one image, noise is never recognised."""

import numpy as np
import pytest

from cbm.errors import DataError
from cbm.shift import SourceStatistics
from probes.support_size import plan_support

PATTERN = np.array([[1.0, -1], [1, -1], [-1, 1], [-1, 1], [-1, -1]])


def world(spread: float) -> SourceStatistics:
    """Two concepts over five classes, 2 apart, with this spread within classes."""
    return SourceStatistics(PATTERN, np.full(2, spread), np.full(5, 200))


def test_concepts_that_hardly_vary_are_recognised_from_one_image():
    assert [found.value for found in plan_support(world(0.05), draws=30).values()] == [1.0] * 5


def test_more_images_are_needed_where_concepts_vary_more():
    found = plan_support(world(1.0), draws=60)

    assert list(found) == [1, 2, 4, 8, 16]
    assert found[1].value < 0.5 < 0.8 < found[16].value
    assert found[4].low <= found[4].value <= found[4].high
    assert found[4].n == 60


def test_a_concept_that_does_not_rise_is_not_recognised():
    assert all(found.value <= 0.05 for found in plan_support(world(1.0), rise=0.0, draws=40).values())


def test_concepts_without_a_pattern_cannot_be_planned_for():
    with pytest.raises(DataError, match="no concept tells classes apart"):
        plan_support(SourceStatistics(np.zeros((3, 2)), np.ones(2), np.full(3, 9)))
