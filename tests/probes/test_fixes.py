"""Fixes measured in a world of two concepts of which one lies in the new place."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cbm.adapt import find_fix
from cbm.bottleneck import LinearBottleneck
from cbm.errors import DataError, UnknownName
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe
from cbm.training_set import TrainingSet
from probes.fixes import bootstrap_gain, class_offsets, draw_support, measure_fix, null_check, source_of

CLASSES = 3
SPLITS = {"train": 60, "val": 40, "test": 40, "away": 40}


@pytest.fixture(scope="module")
def data():
    """Concepts 0 to 2 each speak for a class everywhere; 3 to 5 do so too, but for the next class in the split "away"."""
    rng = np.random.default_rng(0)
    parts = []
    for split, count in SPLITS.items():
        y = np.repeat(np.arange(CLASSES), count)
        told = (y + (split == "away")) % CLASSES
        x = 1.5 * np.concatenate([np.eye(CLASSES)[y], 2 * np.eye(CLASSES)[told]], 1) + rng.normal(size=(len(y), 6))
        parts.append((x, y, [split] * len(y)))
    x, y, splits = (np.concatenate(part) for part in zip(*parts, strict=True))
    return TrainingSet(
        x=torch.tensor(x).float(), labels=torch.tensor(y), classes=("a", "b", "c"), splits=splits,
        ids=tuple(f"image {i}" for i in range(len(y))),
    )  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return ConceptModel(
        tuple(f"concept {k}" for k in range(6)), ("a", "b", "c"), LinearBottleneck(torch.eye(6), torch.zeros(6)),
        LinearHead(torch.eye(3).repeat(1, 2), torch.zeros(3)), Recipe("by hand"),
    )  # fmt: skip


@pytest.fixture(scope="module")
def support(data):
    return draw_support(data, "away", per_class=4)


@pytest.fixture(scope="module")
def fix(model, data, support):
    return find_fix(model, data.x[support], data.labels[support], source_of(model, data))


def test_a_support_has_as_many_images_of_every_class_and_no_others(data, support):
    assert data.labels[support].bincount().tolist() == [4, 4, 4]
    assert set(data.splits[support]) == {"away"}
    assert not np.array_equal(support, draw_support(data, "away", per_class=4, seed=1))


def test_a_support_that_cannot_be_drawn_is_refused(data):
    with pytest.raises(DataError, match="a has 40 images in away, fewer than 41"):
        draw_support(data, "away", per_class=41)
    with pytest.raises(UnknownName):
        draw_support(data, "elsewhere", per_class=1)


def test_the_support_does_not_count_and_the_rest_gains(model, data, support, fix):
    report = measure_fix(model, fix, data.where(support), data, "away")

    assert set(fix.masked) <= {"concept 3", "concept 4", "concept 5"}
    assert fix.masked
    assert report.target_before.n == report.target_after.n == 40 * 3 - 12
    gained = round((report.target_after.value - report.target_before.value) * report.target_after.n)
    assert gained == report.fixed - report.broken > 10


def test_the_gain_is_paired_and_its_intervals_hold_it(model, data, support, fix):
    given = data.where(support)
    report = measure_fix(model, fix, given, data, "away")
    again = bootstrap_gain(model, given, data, "away", source_of(model, data), draws=20)

    assert report.gain.value == pytest.approx(report.target_after.value - report.target_before.value)
    assert again.value == pytest.approx(report.gain.value)
    for gain in (report.gain, again):
        assert gain.low <= gain.value <= gain.high
    assert report.gain.low > 0


def test_images_from_elsewhere_can_be_the_support_and_nothing_need_be_there_to_measure_on(model, data, support, fix):
    given = data.where(support)
    elsewhere = replace(given, ids=tuple(f"photo {i}" for i in range(len(given))))

    assert measure_fix(model, fix, elsewhere, data, "away").target_before.n == 120
    report = measure_fix(model, fix, elsewhere, data, None)

    assert (report.target_before, report.gain, report.gated_target) == (None, None, None)
    assert report.source_before.n == 120
    assert report.baselines["head refitted"][0] is None


def test_a_model_of_other_classes_is_refused(model, data):
    with pytest.raises(DataError, match="other classes"):
        source_of(replace(model, classes=("a", "c", "b")), data)


def test_the_gate_costs_the_source_less_than_the_fix(model, data, support, fix):
    report = measure_fix(model, fix, data.where(support), data, "away")

    assert report.source_after.value <= report.source_before.value
    assert report.gated_source.value >= report.source_before.value - 0.03
    assert report.gated_target.value > report.target_before.value


def test_the_remedies_beside_it_are_measured_in_both_places(model, data, support, fix):
    baselines = measure_fix(model, fix, data.where(support), data, "away").baselines

    assert set(baselines) == {"class offsets", "head refitted"}
    target, source = baselines["head refitted"]
    assert (target.n, source.n) == (108, 120)
    assert target.value > source.value  # it learns the new place and forgets the old one


def test_where_nothing_has_moved_little_is_found(model, data):
    found = null_check(model, data, source_of(model, data), per_class=4, draws=40)

    assert found.masks.value <= 0.2
    assert found.masks.low <= found.masks.value <= found.masks.high
    assert found.any.n == 40


def test_class_offsets_undo_a_constant_that_was_added_to_a_logit():
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(400)
    logits = 2 * torch.nn.functional.one_hot(labels, 3) + torch.randn(1200, 3, generator=rng)
    added = torch.tensor([0.0, 1.5, -0.7])

    difference = class_offsets(logits, labels) - class_offsets(logits + added, labels)

    torch.testing.assert_close(difference, added - added.mean(), atol=1e-4, rtol=0)


def test_a_split_without_images_beside_the_support_is_refused(model, data, fix):
    everything = np.flatnonzero(data.splits == "away")
    with pytest.raises(DataError, match="every image of away is in the support set"):
        measure_fix(model, fix, data.where(everything), data, "away")
