import numpy as np
import pytest
import torch

from cbm.bottleneck import LinearBottleneck, clamp_of
from cbm.errors import DataError, UnknownName
from cbm.explanations import class_weights, explain, nearest, rank_changes, smallest_flip
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe

K, C, D = 6, 4, 5


def model(seed: int = 0, *, residual: bool = False, scale: float = 1.0) -> ConceptModel:
    numbers = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return scale * torch.randn(*shape, generator=numbers)

    return ConceptModel(
        tuple(f"concept {k}" for k in range(K)),
        tuple(f"class {c}" for c in range(C)),
        LinearBottleneck(draw(K, D), draw(K)),
        LinearHead(draw(C, K), draw(C), draw(C, D) if residual else None),
        Recipe("by hand"),
    )


def images(n: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("residual", [False, True])
def test_on_every_image_the_parts_add_up_to_the_logit(residual):
    made, x = model(residual=residual, scale=3.0), images(200)

    for row in x:
        for target in made.classes:
            why = explain(made, row, target=target)
            total = why.bias + why.residual + sum(c.contribution for c in why.concepts)
            assert total == pytest.approx(why.logit, abs=1e-4)
            assert why.exact


def test_the_prediction_is_explained_unless_another_class_is_asked_for():
    made, x = model(), images(1)[0]

    why = explain(made, x)

    assert why.target == why.prediction == made.classes[int(made.predict(x[None]))]
    assert why.probability == pytest.approx(float(made.probabilities(x[None]).max()))


def test_concepts_come_with_the_largest_part_first_whatever_its_sign():
    parts = [abs(c.contribution) for c in explain(model(), images(1)[0]).concepts]

    assert parts == sorted(parts, reverse=True)


def test_a_clamped_concept_is_explained_with_the_persons_score():
    made = model()
    clamp = clamp_of(made.concepts, {"concept 2": 4.0})

    why = explain(made, images(1)[0], clamp=clamp)

    part = next(c for c in why.concepts if c.name == "concept 2")
    weight = float(made.head.weight[made.class_(why.target), 2])
    assert (part.score, part.contribution) == (4.0, pytest.approx(4.0 * weight))


def test_json_with_a_top_keeps_the_sum():
    why = explain(model(residual=True), images(1)[0])

    shown = why.to_json(top=2)

    assert len(shown["concepts"]) == 2
    total = shown["bias"] + shown["residual"] + shown["rest"] + sum(c["contribution"] for c in shown["concepts"])
    assert total == pytest.approx(shown["logit"], abs=1e-4)
    assert why.to_json()["rest"] == 0


def test_a_model_without_concepts_explains_by_bias_and_residual_alone():
    made = ConceptModel(
        (),
        ("a", "b"),
        LinearBottleneck(torch.zeros(0, 2), torch.zeros(0)),
        LinearHead(torch.zeros(2, 0), torch.tensor([1.0, 0.0]), torch.eye(2)),
        Recipe("by hand"),
    )

    why = explain(made, torch.tensor([2.0, 0.0]))

    assert (why.prediction, why.bias, why.residual, why.concepts) == ("a", 1.0, 2.0, ())


def test_an_unknown_class_is_refused():
    with pytest.raises(UnknownName, match="no class named 'owl'"):
        explain(model(), images(1)[0], target="owl")


def brute_force(made: ConceptModel, x: torch.Tensor, low: torch.Tensor, high: torch.Tensor) -> float:
    """Least change of one score that changes the decision, found by walking every score through its range."""
    scores = made.scores(x[None])[0]
    winner = int(made.predict(x[None]))
    best = np.inf
    for k in range(K):
        values = torch.linspace(float(low[k]), float(high[k]), 4001)
        walked = scores.repeat(len(values), 1)
        walked[:, k] = values
        flips = made.head(walked, x.expand(len(values), -1)).argmax(1) != winner
        if bool(flips.any()):
            best = min(best, float((values[flips] - scores[k]).abs().min()))
    return best


@pytest.mark.parametrize("seed", range(12))
def test_the_smallest_flip_flips_and_brute_force_finds_none_smaller(seed):
    made, x = model(seed, residual=seed % 2 == 0), images(1, seed)[0]
    low, high = torch.full((K,), -4.0), torch.full((K,), 4.0)

    flip = smallest_flip(made, x, low=low, high=high)

    expected = brute_force(made, x, low, high)
    if flip is None:
        assert expected == np.inf
        return
    changed = made.predict(x[None], clamp_of(made.concepts, {flip.concept: flip.to}))
    assert made.classes[int(changed)] == flip.becomes != made.classes[int(made.predict(x[None]))]
    assert abs(flip.to - flip.score) <= expected + 2e-3  # the walk's own step, 8 / 4000
    assert -4 <= flip.to <= 4


def test_no_flip_is_found_where_no_concept_can_turn_the_decision():
    made = model()
    scores = made.scores(images(1))[0]

    assert smallest_flip(made, images(1)[0], low=scores, high=scores) is None


def test_two_classes_level_are_still_told_apart():
    even = ConceptModel(
        ("a",), ("x", "y"), LinearBottleneck(torch.zeros(1, 1), torch.zeros(1)),
        LinearHead(torch.tensor([[1.0], [-1.0]]), torch.zeros(2)), Recipe("by hand"),
    )  # fmt: skip

    flip = smallest_flip(even, torch.zeros(1), low=torch.tensor([-1.0]), high=torch.tensor([1.0]))

    assert flip is not None
    assert flip.becomes == "y"
    assert flip.to == pytest.approx(0, abs=1e-3)


def test_class_weights_are_the_used_concepts_in_order_of_size():
    made = ConceptModel(
        ("a", "b", "c"), ("x", "y"), LinearBottleneck(torch.zeros(3, 1), torch.zeros(3)),
        LinearHead(torch.tensor([[1.0, 0.0, -2.0], [0.0, 0.0, 0.0]]), torch.zeros(2)), Recipe("by hand"),
    )  # fmt: skip

    assert class_weights(made, "x") == (("c", -2.0), ("a", 1.0))
    assert class_weights(made, "y") == ()


def test_the_nearest_images_are_close_in_the_concepts_that_matter():
    scores = torch.tensor([[0.0, 0.0], [1.0, 9.0], [3.0, 0.1]])
    query = torch.tensor([1.0, 0.0])

    assert nearest(scores, query, count=2) == [0, 2]
    assert nearest(scores, query, count=2, importance=torch.tensor([1.0, 0.0])) == [1, 0]
    assert len(nearest(scores, query, count=10)) == 3
    with pytest.raises(DataError):
        nearest(scores[:0], query, count=1)


def test_rank_changes_name_the_classes_that_moved():
    before, after = {"a": 0.6, "b": 0.3, "c": 0.1}, {"a": 0.2, "b": 0.7, "c": 0.1}

    assert rank_changes(before, after) == [("b", 2, 1), ("a", 1, 2)]
