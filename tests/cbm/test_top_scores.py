import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cbm import top_scores
from cbm.errors import Cancelled, DataError
from cbm.top_scores import Top, top_concepts, top_images

PRECISIONS = [torch.float32, torch.bfloat16]


def drawn(n: int, d: int, seed: int) -> torch.Tensor:
    """Unit vectors in a narrow cone, as embeddings are."""
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed)) + 2.0
    return torch.nn.functional.normalize(x, dim=1)


def by_hand(x: torch.Tensor, t: torch.Tensor, k: int) -> Top:
    """All scores in double precision, sorted; equal ones in their order."""
    scores = (x.double()[:, None] * t.double()).sum(2)
    values, order = scores.sort(dim=1, descending=True, stable=True)
    return Top(values[:, :k].float(), order[:, :k])


def same(found: Top, expected: Top) -> bool:
    return torch.equal(found.positions, expected.positions) and torch.equal(found.values, expected.values)


def cut(x: torch.Tensor, sizes: list[int]) -> list[torch.Tensor]:
    """The rows in blocks of these sizes, and the rest in one."""
    blocks, start = [], 0
    for size in sizes:
        blocks.append(x[start : start + size])
        start += size
    return [*blocks, x[start:]]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("k", [1, 10])
def test_both_directions_are_those_of_all_scores_sorted(precision, k):
    x, t = drawn(700, 40, 0), drawn(333, 40, 1)

    assert same(top_concepts([x], t, k, precision=precision), by_hand(x, t, k))
    assert same(top_images([x], t, k, precision=precision), by_hand(t, x, k))


@given(sizes=st.lists(st.integers(0, 90), max_size=5), seed=st.integers(0, 9), bf16=st.booleans())
def test_the_size_of_the_blocks_changes_nothing(sizes, seed, bf16):
    x, t = drawn(150, 7, seed), drawn(60, 7, seed + 1)
    precision, blocks = PRECISIONS[bf16], cut(x, sizes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_scores, "IMAGES", 32)
        patch.setattr(top_scores, "CONCEPTS", 16)
        patch.setattr(top_scores, "SPARE", 3)
        assert same(top_images(blocks, t, 4, precision=precision), by_hand(t, x, 4))
        assert same(top_concepts(blocks, t, 4, precision=precision), by_hand(x, t, 4))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_of_equal_scores_the_first_counts_even_when_all_are_equal(precision):
    x, t = drawn(40, 16, 0), drawn(90, 16, 1).repeat(3, 1)
    same_again = torch.ones(200, 16)

    assert same(top_concepts([x], t, 7, precision=precision), by_hand(x, t, 7))
    assert top_concepts([x], same_again, 3, precision=precision).positions.tolist() == [[0, 1, 2]] * 40
    assert top_images(cut(same_again, [3, 60]), x, 3, precision=precision).positions.tolist() == [[0, 1, 2]] * 40


def test_differences_below_the_first_look_are_seen(monkeypatch):
    """A thousand concepts whose scores bfloat16 cannot tell apart: the candidates do not suffice, and more are taken."""
    settled, kept, g = top_scores._settled, [], torch.Generator().manual_seed(1)
    monkeypatch.setattr(top_scores, "_settled", lambda *given: kept.append(given[-1]) or settled(*given))
    direction, heights = drawn(1, 64, 5), torch.randperm(1000, generator=g)
    across = torch.randn(1000, 64, generator=g).double()
    across -= (across @ direction.T.double()) * direction
    t = (across + 1e-4 * heights[:, None] * direction).float()
    rough = (direction.bfloat16() @ t.bfloat16().T)[0]
    assert set(rough.topk(5).indices.tolist()) != set(heights.topk(5).indices.tolist())

    found = top_concepts([direction], t, 5, precision=torch.bfloat16)

    assert found.positions[0].tolist() == heights.argsort(descending=True)[:5].tolist()
    assert kept[0] == 5 + top_scores.SPARE < kept[1] < 1000


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_bound_holds_and_is_not_idle(precision):
    for n, c, d in ((1, 1, 3), (1, 500, 64), (33, 257, 512), (64, 1, 100)):
        queries = top_scores._side(drawn(n, d, 2), precision)
        database = top_scores._side(drawn(c, d, 3), precision, centred=True)
        low = queries.low @ database.low.T
        exact = (queries.given.double()[:, None] * database.given.double()).sum(2)
        slack, shift = top_scores._slack(queries, database), queries.given.double() @ database.centre

        assert bool((exact <= top_scores._bound(low, slack, shift, 1)).all())
        assert bool((exact >= top_scores._bound(low, slack, shift, -1)).all())
        assert float(slack.max()) < (1e-4 if precision == torch.float32 else 0.02)


def test_fewer_than_asked_for_are_all_given():
    x, t = drawn(5, 8, 0), drawn(3, 8, 1)

    assert same(top_concepts([x], t, 10), by_hand(x, t, 3))
    assert same(top_images([x[:2], x[2:]], t, 10), by_hand(t, x, 5))


def test_no_image_gives_no_row():
    t = drawn(3, 8, 1)

    assert top_concepts([], t, 2).positions.shape == (0, 2)
    assert top_images([], t, 2).positions.shape == (3, 0)


def test_half_precision_memory_maps_are_read_block_by_block(tmp_path):
    stored = np.memmap(tmp_path / "rows", np.float16, "w+", shape=(100, 8))
    stored[:] = drawn(100, 8, 0).numpy()
    stored.flush()
    rows, t = np.memmap(tmp_path / "rows", np.float16, "r", shape=(100, 8)), drawn(30, 8, 1)

    expected = by_hand(torch.from_numpy(np.array(rows, np.float32)), t, 3)

    assert same(top_concepts([rows], t, 3), expected)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, 1e30])
@pytest.mark.parametrize("rank", [top_concepts, top_images])
def test_a_number_that_is_not_finite_is_named(rank, bad):
    x, t = drawn(20, 8, 0), drawn(6, 8, 1)
    broken = x.clone()
    broken[13, 2] = bad

    with pytest.raises(DataError, match="image 13 is not finite"):
        rank([broken[:10], broken[10:]], t, 2)
    with pytest.raises(DataError, match="concept 0 is not finite"):
        rank([x], torch.full((6, 8), bad), 2)


@pytest.mark.parametrize("rank", [top_concepts, top_images])
def test_what_does_not_fit_is_said(rank):
    with pytest.raises(DataError, match=r"of 8 numbers are needed, a block has the shape \[2, 7\]"):
        rank([torch.zeros(2, 7)], torch.zeros(3, 8), 2)
    with pytest.raises(DataError, match="best 0"):
        rank([torch.zeros(2, 8)], torch.zeros(3, 8), 0)
    with pytest.raises(DataError, match="no concept"):
        rank([torch.zeros(2, 8)], torch.zeros(0, 8), 2)


@pytest.mark.parametrize("rank", [top_concepts, top_images])
def test_it_tells_how_far_it_is_and_can_be_stopped(rank, monkeypatch):
    monkeypatch.setattr(top_scores, "IMAGES", 512)
    x, t, told = drawn(1500, 4, 0), drawn(5, 4, 1), []

    rank([x], t, 2, total=1500, on_progress=lambda fraction, message: told.append((round(fraction, 2), message)))
    assert [fraction for fraction, _ in told] == [0.34, 0.68, 1.0]
    assert told[0][1] == "512 of 1,500 images scored against 5 concepts"

    def stop(fraction: float, message: str) -> None:
        raise Cancelled

    def endless():
        while True:
            yield x

    with pytest.raises(Cancelled):
        rank(endless(), t, 2, on_progress=stop)
