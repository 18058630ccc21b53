from dataclasses import replace

import numpy as np
import pytest
import torch

from cbm.errors import DataError, UnknownName
from cbm.training_set import TrainingSet, fitting_split


def small(**fields):
    parts = {
        "x": torch.arange(10.0).reshape(5, 2),
        "labels": torch.tensor([0, 1, 0, 1, 1]),
        "classes": ("wren", "teal"),
        "splits": np.array(["train", "test", "train", "train", "shifted"]),
        "ids": tuple("abcde"),
        "concepts": ("wet",),
        "concept_labels": torch.tensor([[0.0], [1.0], [float("nan")], [1.0], [0.0]]),
        "groups": ("land", "water", "", "water", "land"),
    }
    return TrainingSet(**(parts | fields))


def test_a_split_takes_every_column_along():
    train = small().split("train")

    assert train.ids == ("a", "c", "d")
    assert train.x.tolist() == [[0, 1], [4, 5], [6, 7]]
    assert train.labels.tolist() == [0, 0, 1]
    assert train.groups == ("land", "", "water")
    assert train.concept_labels.nan_to_num(-1).flatten().tolist() == [0, -1, 1]


def test_positions_choose_and_order():
    assert small().where(np.array([4, 0])).ids == ("e", "a")


def test_splits_are_named_in_the_order_in_which_they_are_used():
    assert small().split_names == ("train", "test", "shifted")


def test_a_split_without_images_says_which_have_some():
    with pytest.raises(UnknownName) as caught:
        small().split("val")

    assert "train, test, shifted" in caught.value.hint


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_an_embedding_that_is_not_finite_names_its_image(value):
    x = torch.zeros(5, 2)
    x[3, 1] = value

    with pytest.raises(DataError, match="embedding of image 'd' is not finite"):
        small(x=x)


def test_columns_of_another_length_are_refused_with_both_numbers():
    with pytest.raises(DataError, match="there are 5 embeddings, but splits has 4, ids has 2"):
        small(splits=np.array(["train"] * 4), ids=("a", "b"))


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_outside_the_classes_is_refused(label):
    with pytest.raises(DataError, match="but there are 2 classes"):
        small(labels=torch.tensor([0, 1, 0, 1, label]))


def test_labels_of_concepts_that_have_no_name_are_refused():
    with pytest.raises(DataError, match="1 columns of labels for 2 concepts"):
        small(concepts=("wet", "dry"))


def test_fitting_needs_training_images():
    with pytest.raises(DataError, match="no image in the split 'train'"):
        fitting_split(small(splits=np.array(["test"] * 5)))


def test_fitting_needs_two_classes():
    with pytest.raises(DataError, match="all 3 training images belong to the class 'teal'"):
        fitting_split(small(labels=torch.ones(5, dtype=torch.long)))


def test_fitting_images_are_the_training_images():
    assert fitting_split(small()).ids == ("a", "c", "d")


def test_an_empty_selection_is_still_a_training_set():
    empty = small().where(np.zeros(5, dtype=bool))

    assert len(empty) == 0
    assert replace(empty).split_names == ()


@pytest.mark.parametrize("keep", [[2, 3, 4], [2, 4], [4, 3], [1, 1], [3]])
def test_positions_are_taken_in_their_order_and_neighbours_without_a_copy(keep):
    data = small()

    part = data.where(np.array(keep))

    assert part.ids == tuple(data.ids[i] for i in keep)
    assert torch.equal(part.x, data.x[keep])
    assert part.labels.tolist() == [int(data.labels[i]) for i in keep]
    shared = part.x.untyped_storage().data_ptr() == data.x.untyped_storage().data_ptr()
    assert shared == (keep in ([2, 3, 4], [3]))
