"""What "present" and "absent" stand for: percentiles and probabilities whose true values are known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cbm.bottleneck import LinearBottleneck
from cbm.errors import DataError
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe
from cbm.training_set import TrainingSet
from probes.corrections import true_scores

MODEL = ConceptModel(
    concepts=("striped",),
    classes=("a", "b"),
    bottleneck=LinearBottleneck(torch.ones(1, 1), torch.zeros(1)),
    head=LinearHead(torch.tensor([[1.0], [-1.0]]), torch.zeros(2)),
    recipe=Recipe("planted"),
)


def images(scores, labels, splits=None):
    """Images whose only concept has these scores and annotations."""
    n = len(scores)
    return TrainingSet(
        x=torch.as_tensor(scores, dtype=torch.float32)[:, None],
        labels=torch.arange(n) % 2,
        classes=("a", "b"),
        splits=np.array(splits or ["train"] * n),
        ids=tuple(map(str, range(n))),
        concepts=("Striped",),
        concept_labels=torch.as_tensor(labels, dtype=torch.float32)[:, None],
    )


def test_present_and_absent_are_the_outer_percentiles_of_either_side():
    scores = [*range(101), *range(200, 301)]

    found = true_scores(MODEL, images(scores, [0] * 101 + [1] * 101))

    assert (float(found.absent[0]), float(found.present[0])) == (5.0, 295.0)
    assert found.concepts == ("striped",)


def test_half_is_the_median_of_either_side():
    found = true_scores(MODEL, images([*range(101), *range(200, 301)], [0] * 101 + [1] * 101), edge=0.5)

    assert (float(found.absent[0]), float(found.present[0])) == (50.0, 250.0)


@pytest.mark.parametrize("edge", [0.5, 0.95])
def test_a_side_with_few_images_takes_the_outer_percentile_of_all(edge):
    found = true_scores(MODEL, images(range(101), [1, 1] + [0] * 99), edge=edge)

    assert float(found.present[0]) == 95.0


def test_answers_become_scores_and_the_unknown_stays_unknown():
    found = true_scores(MODEL, images([0.0, 1.0] * 10, [0, 1] * 10))

    values = found.of(torch.tensor([[1.0], [0.0], [torch.nan]]))

    assert values[:2, 0].tolist() == [1.0, 0.0]
    assert bool(values[2, 0].isnan())


def test_probabilities_are_those_that_drew_the_annotations():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=20_000)
    labels = rng.random(20_000) < 1 / (1 + np.exp(1 - 2 * scores))

    found = true_scores(MODEL, images(scores, labels.astype(float)))

    assert float(found.slope[0]) == pytest.approx(2.0, abs=0.1)  # three standard errors of the slope
    assert float(found.intercept[0]) == pytest.approx(-1.0, abs=0.08)


def test_probabilities_come_from_the_validation_images():
    splits = ["train"] * 20 + ["val"] * 20
    scores = [-1.0, 1.0] * 20  # on the training images the score is always right, on the others never

    found = true_scores(MODEL, images(scores, [0, 1] * 10 + [1, 0] * 10, splits))

    assert float(found.slope[0]) < 0


@pytest.mark.parametrize("labels", [[0, 1] * 10, [1] * 20, [float("nan")] * 20])
def test_probabilities_are_finite_for_separable_one_sided_and_unknown_annotations(labels):
    found = true_scores(MODEL, images([-3.0, 3.0] * 10, labels))

    probability = found.probability(torch.tensor([[-3.0], [3.0]]))

    assert bool(((probability > 0) & (probability < 1)).all())


def test_images_without_annotations_or_shared_names_are_refused():
    data = images([0.0, 1.0], [0, 1])

    with pytest.raises(DataError, match="not annotated"):
        true_scores(MODEL, replace(data, concepts=(), concept_labels=None))
    with pytest.raises(DataError, match="under its name"):
        true_scores(MODEL, replace(data, concepts=("plain",)))
