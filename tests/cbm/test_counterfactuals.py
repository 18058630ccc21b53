"""The smallest set of changes against every subset, in closed form, and for a head that is not linear."""

from itertools import combinations

import pytest
import torch
from scipy.optimize import linprog

from cbm.bottleneck import LinearBottleneck, clamp_of
from cbm.counterfactuals import smallest_change
from cbm.energy import initial
from cbm.energy_parts import parts_of
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe

K, C, D = 6, 4, 5
ONE = torch.ones(K)


def model(seed: int, *, residual: bool = False) -> ConceptModel:
    numbers = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=numbers)

    return ConceptModel(
        tuple(f"concept {k}" for k in range(K)),
        tuple(f"class {c}" for c in range(C)),
        LinearBottleneck(draw(K, D), draw(K)),
        LinearHead(draw(C, K), 3 * draw(C), draw(C, D) if residual else None),
        Recipe("by hand"),
    )


def by_hand(weight: list[list[float]], bias: list[float]) -> ConceptModel:
    """Concepts that are the embedding itself."""
    k = len(weight[0])
    return ConceptModel(
        tuple("abcdef"[:k]), tuple("xyz"[: len(weight)]), LinearBottleneck(torch.eye(k), torch.zeros(k)),
        LinearHead(torch.tensor(weight), torch.tensor(bias)), Recipe("by hand"),
    )  # fmt: skip


def fewest(made: ConceptModel, x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> int | None:
    """The least number of concepts that can turn the decision, by trying the corners of every subset."""
    scores, winner = made.scores(x[None])[0], int(made.predict(x[None]))
    for size in range(1, K + 1):
        for chosen in combinations(range(K), size):
            corners = torch.cartesian_prod(*(torch.stack([low[k], high[k]]) for k in chosen)).view(-1, size)
            moved = scores.repeat(len(corners), 1)
            moved[:, list(chosen)] = corners
            logits = made.head(moved, x.expand(len(moved), -1))
            if bool((logits.argmax(1) != winner).any()):
                return size
    return None


@pytest.mark.parametrize("seed", range(24))
def test_no_subset_is_smaller_and_the_changes_turn_the_decision_within_the_ranges(seed):
    made = model(seed, residual=seed % 2 == 0)
    x = torch.randn(D, generator=torch.Generator().manual_seed(seed))
    scores = made.scores(x[None])[0]
    room = 0.2 + 0.6 * torch.rand(2, K, generator=torch.Generator().manual_seed(seed))
    low, high = scores - room[0], scores + room[1]

    found = smallest_change(made, x, low=low, high=high, spread=ONE)

    size = fewest(made, x, low, high)
    if found is None:
        assert size is None
        return
    assert found.exact
    assert len(found.changes) == size
    after = made.predict(x[None], clamp_of(made.concepts, {change.concept: change.to for change in found.changes}))
    assert made.classes[int(after)] == found.becomes != made.classes[int(made.predict(x[None]))]
    for change in found.changes:
        k = made.concept(change.concept)
        assert float(low[k]) - 1e-6 <= change.to <= float(high[k]) + 1e-6
        assert change.score == pytest.approx(float(scores[k]))


def test_the_seeds_above_have_sets_of_several_sizes_and_impossible_ones():
    sizes = set()
    for seed in range(24):
        made = model(seed, residual=seed % 2 == 0)
        x = torch.randn(D, generator=torch.Generator().manual_seed(seed))
        scores = made.scores(x[None])[0]
        room = 0.2 + 0.6 * torch.rand(2, K, generator=torch.Generator().manual_seed(seed))
        sizes.add(fewest(made, x, scores - room[0], scores + room[1]))

    assert {None, 1, 2, 3} <= sizes


def test_two_concepts_that_only_together_close_the_gap():
    made = by_hand([[0.0, 0.0, 0.0], [2.0, 1.0, 0.5]], [2.5, 0.0])  # y needs 2.5 more than it has

    found = smallest_change(made, torch.zeros(3), low=-torch.ones(3), high=torch.ones(3), spread=torch.ones(3))

    assert found is not None
    assert found.becomes == "y"
    to = {change.concept: change.to for change in found.changes}
    assert to == {"a": pytest.approx(1.0), "b": pytest.approx(0.5, abs=1e-3)}  # a to its end, b as far as needed
    assert found.total == pytest.approx(1.5, abs=1e-3)


def test_the_total_is_the_least_in_spreads_for_the_set():
    made = by_hand([[0.0, 0.0, 0.0], [2.0, 1.0, 0.5]], [2.5, 0.0])
    spread = torch.tensor([0.1, 1.0, 1.0])  # a spread of "a" gains 0.2, one of "b" 1

    found = smallest_change(made, torch.zeros(3), low=-torch.ones(3), high=torch.ones(3), spread=spread)

    by_solver = linprog([1 / 0.1, 1.0], A_ub=[[-2.0, -1.0]], b_ub=[-2.5], bounds=[(0, 1), (0, 1)])
    assert found is not None
    assert {change.concept for change in found.changes} == {"a", "b"}
    assert found.total == pytest.approx(by_solver.fun, abs=2e-3)


def test_of_single_concepts_the_one_with_the_shortest_way_is_taken():
    made = by_hand([[0.0, 0.0], [1.0, 1.0]], [0.5, 0.0])

    found = smallest_change(
        made, torch.zeros(2), low=-torch.ones(2), high=torch.ones(2), spread=torch.tensor([1.0, 2.0])
    )

    assert found is not None
    (change,) = found.changes
    assert (change.concept, change.to) == ("b", pytest.approx(0.5, abs=1e-3))


def test_there_is_none_where_no_score_may_move_and_none_without_concepts():
    made, x = model(0), torch.zeros(D)
    scores = made.scores(x[None])[0]
    bare = ConceptModel(
        (), ("x", "y"), LinearBottleneck(torch.zeros(0, D), torch.zeros(0)),
        LinearHead(torch.zeros(2, 0), torch.tensor([1.0, 0.0])), Recipe("by hand"),
    )  # fmt: skip
    none = torch.zeros(0)

    assert smallest_change(made, x, low=scores, high=scores, spread=ONE) is None
    assert smallest_change(bare, x, low=none, high=none, spread=none) is None


def test_a_score_beyond_its_range_may_stay_but_not_go_further():
    made = by_hand([[0.0, 0.0], [1.0, 1.0]], [3.5, 0.0])
    x = torch.tensor([2.0, 0.0])  # "a" is beyond its range, and y still lacks 1.5

    assert smallest_change(made, x, low=-torch.ones(2), high=torch.ones(2), spread=torch.ones(2)) is None


@pytest.mark.parametrize("seed", range(4))
def test_a_model_that_infers_its_scores_is_searched_and_what_is_found_turns_it(seed):
    numbers = torch.Generator().manual_seed(seed)
    parts = parts_of(
        initial(D, K, C, 3, numbers), torch.tensor([0.3, 0.3, 2.0]), usual=torch.full((K,), 0.5),
        centre=torch.zeros(D), scale=1.0,
    )  # fmt: skip
    made = ConceptModel(tuple("abcdef"), tuple("wxyz"), parts, parts.head, Recipe("ecbm"))
    x = torch.randn(D, generator=numbers)

    found = smallest_change(made, x, low=torch.zeros(K), high=torch.ones(K), spread=ONE)

    ends = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * K)
    decided = made.head(ends, x.expand(len(ends), -1)).argmax(1)
    assert (found is not None) or bool((decided == int(made.predict(x[None]))).all())
    if found is not None:
        assert not found.exact
        clamp = clamp_of(made.concepts, {change.concept: change.to for change in found.changes})
        assert made.classes[int(made.predict(x[None], clamp))] == found.becomes
        assert found.becomes != made.classes[int(made.predict(x[None]))]
        assert all(0 <= change.to <= 1 for change in found.changes)
        for gone in found.changes:  # every change is needed, given the others
            rest = {change.concept: change.to for change in found.changes if change != gone}
            rest_of = clamp_of(made.concepts, rest) if rest else None
            assert int(made.predict(x[None], rest_of)) == int(made.predict(x[None]))
