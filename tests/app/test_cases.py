"""What the screens compute, on a model of two concepts that can be worked out by hand."""

import numpy as np
import pytest
import torch

from app import cases
from cbm.bottleneck import LinearBottleneck
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe
from cbm.training_set import TrainingSet

# The head looks at the bird and, too much, at the water.
MODEL = ConceptModel(
    ("bird", "water"),
    ("gull", "wren"),
    LinearBottleneck(torch.eye(2), torch.zeros(2)),
    LinearHead(torch.tensor([[1.0, 2.0], [-1.0, -2.0]]), torch.zeros(2)),
    Recipe("posthoc"),
)
X = [(1, 1), (-1, -1), (1, 1), (-1, -1), (1, -1), (-1, 1)]
DATA = TrainingSet(
    x=torch.tensor(X, dtype=torch.float32),
    labels=torch.tensor([0, 1, 0, 1, 0, 1]),
    classes=("gull", "wren"),
    splits=np.array(["train", "train", "test", "test", "shifted", "shifted"]),
    ids=tuple("abcdef"),
    groups=("own", "own", "own", "own", "other", ""),
)
SEEN = cases.outcome(MODEL, DATA)


def test_the_outcome_marks_the_images_whose_background_is_swapped_as_wrong():
    assert SEEN.wrong.tolist() == [False, False, False, False, True, True]
    assert SEEN.logits[0].tolist() == [3.0, -3.0]


def test_labels_are_positions_in_the_models_classes_whatever_their_order_in_the_data():
    turned = cases.outcome(MODEL, DATA.__class__(**{**vars(DATA), "classes": ("wren", "owl")}))

    assert turned.labels.tolist() == [1, -1, 1, -1, 1, -1]  # owls are unknown to the model


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"split": "test"}, [2, 3]),
        ({"class_": "gull", "wrong": True}, [4]),
        ({"group": "own", "split": "train"}, [0, 1]),
        ({"split": "nowhere"}, []),
    ],
)
def test_filters_leave_the_images_that_pass_all_of_them(filters, left):
    assert cases.chosen(DATA, SEEN, **filters).tolist() == left


def test_a_strip_is_the_page_that_the_current_image_is_on():
    assert cases.around(np.arange(10, 17), 14, 3).tolist() == [13, 14, 15]
    assert cases.around(np.arange(10, 17), 99, 3).tolist() == [10, 11, 12]


def test_stepping_goes_round_the_end_and_starts_at_the_first_from_elsewhere():
    listed = np.array([3, 5, 9])

    assert (cases.step(listed, 9, 1), cases.step(listed, 3, -1), cases.step(listed, 4, 1)) == (3, 9, 3)


def test_ranges_cover_what_occurs_and_know_the_mean():
    found = cases.ranges(torch.arange(101, dtype=torch.float32)[:, None])

    assert float(found.low[0]) == pytest.approx(1.0)
    assert float(found.high[0]) == pytest.approx(99.0)
    assert float(found.mean[0]) == pytest.approx(50.0)


def test_a_concept_that_never_changes_still_has_a_range():
    found = cases.ranges(torch.ones(5, 1))

    assert float(found.high[0]) > float(found.low[0])


def test_confusion_counts_labels_by_row_and_leaves_unknown_classes_out():
    counts = cases.confusion_counts(np.array([0, 0, 1, -1]), np.array([0, 1, 1, 0]), 2)

    assert counts.tolist() == [[1, 1], [0, 1]]


def test_confused_pairs_are_the_most_frequent_first_and_count_both_ways():
    counts = np.array([[9, 1, 0], [3, 9, 0], [5, 0, 9]])

    assert cases.confused_pairs(counts, 0) == [(2, 0, 5), (1, 1, 3)]


def test_separating_multiplies_the_difference_of_weights_by_that_of_means():
    labels = np.array([0, 1])
    scores = torch.tensor([[1.0, 0.5], [-1.0, 0.5]])

    assert cases.separating(MODEL.head.weight, scores, labels, 0, 1).tolist() == [4.0, 0.0]


def test_the_tour_finds_the_split_that_suffers_and_the_concept_to_blame():
    found = cases.tour(MODEL, DATA, SEEN)

    assert (found.split, MODEL.concepts[found.concept], found.accuracy, found.elsewhere) == (
        "shifted",
        "water",
        0.0,
        1.0,
    )
    assert found.image == 5  # both are mistakes of the water; here it is in the picture, in the other it is missing


def test_there_is_no_tour_where_nothing_goes_wrong():
    fine = DATA.where(DATA.splits != "shifted")

    assert cases.tour(MODEL, fine, cases.outcome(MODEL, fine)) is None
