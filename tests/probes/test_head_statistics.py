"""Head statistics on attention made by hand, where every number is known."""

import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # tests are imported without packages
from small_vit import BLOCKS, HEADS, pictures, small_encoder

from cbm.errors import DataError
from probes.head_statistics import (
    attention_statistics,
    distances,
    sink_tokens,
    statistics_of_heads,
    uniform_statistics,
    variability,
)

GRID, T = (4, 4), 17


def measured(rows: torch.Tensor, **options: torch.Tensor) -> dict[str, float]:
    return {name: float(v) for name, v in attention_statistics(rows[None, None], 1, GRID, **options).items()}


@pytest.mark.parametrize(("side", "mean"), [(7, 3.61), (14, 7.28), (16, 8.33), (24, 12.50)])
def test_looking_everywhere_alike_reaches_as_far_as_tabled(side, mean):
    even = uniform_statistics(1, (side, side))

    assert even["distance"] == pytest.approx(mean, abs=0.006)
    assert even["entropy"] == pytest.approx(1, abs=1e-5)
    assert even["locality"] == pytest.approx(1)
    assert even["itself"] == pytest.approx(1 / (side**2 + 1))
    assert even["special"] == pytest.approx(1 / (side**2 + 1))


def test_a_head_that_looks_only_at_itself():
    found = measured(torch.eye(T))

    assert found["entropy"] == pytest.approx(0)
    assert found["itself"] == 1
    assert found["distance"] == found["neighbours"] == found["class_to_patches"] == 0
    assert found["special"] == pytest.approx(1 / T)  # the class token itself


def test_a_head_that_looks_only_at_the_class_token():
    found = measured(torch.nn.functional.one_hot(torch.zeros(T, dtype=torch.long), T).float())

    assert found["special"] == 1
    assert found["entropy"] == found["neighbours"] == 0


def test_a_head_that_looks_one_patch_to_the_right_or_left():
    rows = torch.eye(T)
    beside = torch.arange(16) ^ 1  # in a row of four, patches swap places by twos
    rows[1:, 1:] = torch.eye(16)[beside]

    found = measured(rows)

    assert found["distance"] == pytest.approx(1)
    assert found["neighbours"] == pytest.approx(1)


def test_what_goes_to_a_sink_is_counted():
    rows = torch.full((T, T), 0.5 / (T - 1))
    rows[:, 5] = 0.5
    sinks = torch.zeros(1, T, dtype=torch.bool)
    sinks[0, 5] = True

    assert measured(rows, sinks=sinks)["sinks"] == pytest.approx(0.5)


def test_a_long_patch_is_a_sink_and_a_long_class_token_is_not():
    tokens = torch.randn(2, T, 8, generator=torch.Generator().manual_seed(0))
    tokens = tokens / tokens.norm(dim=-1, keepdim=True) * torch.linspace(0.9, 1.1, T)[:, None]
    tokens[0, 3] *= 20
    tokens[1, 0] *= 20

    assert sink_tokens(tokens, 1).nonzero().tolist() == [[0, 3]]


def test_attention_that_depends_on_position_only_does_not_vary():
    same = torch.softmax(torch.randn(1, 2, 3, T), -1).expand(5, 2, 3, T)
    apart = torch.eye(T)[:2, None, None].expand(2, 2, 3, T)

    assert variability(same).max() < 1e-6
    assert variability(apart) == pytest.approx(torch.ones(2, 2, 3))


def test_distances_are_those_of_the_grid():
    assert distances((2, 3))[0].tolist() == pytest.approx([0, 1, 2, 1, math.sqrt(2), math.sqrt(5)])


def test_statistics_of_an_encoder_lie_in_their_ranges_and_intervals_hold_them():
    found = statistics_of_heads(small_encoder(), pictures(6))

    for name, table in found.values.items():
        assert len(table) == BLOCKS
        assert {len(row) for row in table} == {HEADS}
        for value in (value for row in table for value in row):
            assert value.low <= value.value <= value.high
            assert 0 <= value.value <= (4 * math.sqrt(2) if name in ("distance", "locality") else 1)


def test_one_image_has_no_interval():
    with pytest.raises(DataError, match="two images"):
        statistics_of_heads(small_encoder(), pictures(1))
