from dataclasses import replace

import numpy as np

from cbm.holdout import fitting_and_held_out


def test_a_validation_split_is_what_options_are_chosen_by(planted):
    fitting, held = fitting_and_held_out(planted.training)

    assert set(fitting.splits) == {"train"}
    assert set(held.splits) == {"val"}


def test_without_one_a_fifth_of_each_class_is_held_out_and_nothing_is_in_both(planted):
    splits = np.where(planted.training.splits == "val", "other", planted.training.splits)
    data = replace(planted.training, splits=splits)

    fitting, held = fitting_and_held_out(data)

    train = data.split("train")
    assert not set(fitting.ids) & set(held.ids)
    assert set(fitting.ids) | set(held.ids) == set(train.ids)
    for label in range(4):
        members = int((train.labels == label).sum())
        assert int((held.labels == label).sum()) == members // 5


def test_the_same_seed_holds_out_the_same_images(planted):
    data = replace(planted.training, splits=np.full(len(planted.training), "train"))

    assert fitting_and_held_out(data, seed=1)[1].ids == fitting_and_held_out(data, seed=1)[1].ids
    assert fitting_and_held_out(data, seed=1)[1].ids != fitting_and_held_out(data, seed=2)[1].ids


def test_too_few_images_to_spare_any_are_used_twice(planted):
    data = replace(planted.training, splits=np.full(len(planted.training), "train")).where(np.arange(8))

    fitting, held = fitting_and_held_out(data)

    assert fitting.ids == held.ids
