from collections import Counter

import pytest

from cbm.splits import assign_splits


def test_each_class_is_divided_70_15_15():
    labels = ["owl"] * 100 + ["jay"] * 40

    splits = assign_splits(labels, [str(number) for number in range(140)])

    assert Counter(zip(labels, splits, strict=True)) == {
        ("owl", "train"): 70, ("owl", "val"): 15, ("owl", "test"): 15,
        ("jay", "train"): 28, ("jay", "val"): 6, ("jay", "test"): 6,
    }  # fmt: skip


def test_the_order_of_the_rows_does_not_matter_and_the_seed_does():
    units = [str(number) for number in range(60)]
    forwards = dict(zip(units, assign_splits(["owl"] * 60, units), strict=True))
    backwards = dict(zip(units[::-1], assign_splits(["owl"] * 60, units[::-1]), strict=True))

    assert forwards == backwards
    assert forwards != dict(zip(units, assign_splits(["owl"] * 60, units, seed=1), strict=True))


def test_the_division_never_changes_between_versions():
    """Written down once: a stored data set must keep meaning the same."""
    splits = assign_splits(["a", "b"] * 10, [f"image-{number}" for number in range(20)])

    assert "".join(name[1] for name in splits) == "errrrarrrarrrrrraeer"  # tRain, vAl, tEst


def test_no_unit_is_divided():
    units = [f"patient-{number // 4}" for number in range(200)]
    labels = [str(number % 2) for number in range(200)]

    splits = assign_splits(labels, units)

    assert len({(unit, split) for unit, split in zip(units, splits, strict=True)}) == 50
    assert Counter(splits)["train"] == pytest.approx(140, abs=4)  # within one unit
    assert Counter(splits)["val"] == pytest.approx(30, abs=4)


def test_tiny_classes_still_reach_every_split_together():
    splits = assign_splits(["owl"] * 4 + ["jay"] * 4, [str(number) for number in range(8)])

    assert set(splits) == {"train", "val", "test"}


def test_a_single_image_of_a_class_is_learnt_from():
    assert assign_splits(["owl"], ["1"]) == ["train"]
