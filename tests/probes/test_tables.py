from dataclasses import replace

import numpy as np
import pytest
import torch

from cbm.edits import PruneWeight, SetScore, apply
from cbm.methods import fit
from probes import compare, confusion, evaluate, groups_table


@pytest.fixture(scope="module")
def model(planted):
    return fit("posthoc", planted.training, bank=planted.bank, nec=2)


def test_the_groups_table_is_what_evaluate_prints(planted, model):
    assert groups_table(model, planted.training, "test") == evaluate(model, planted.training, controls=False).groups


def test_without_groups_the_table_is_empty(planted, model):
    assert groups_table(model, replace(planted.training, groups=None), "test") == ()


def test_the_confusion_counts_every_image_once_and_its_diagonal_the_right_ones(planted, model):
    table = confusion(model, planted.training, "test")

    test = planted.training.split("test")
    predicted = model.predict(test.x)
    assert int(table.counts.sum()) == len(test)
    assert int(table.counts.diagonal().sum()) == int((predicted == test.labels).sum())
    assert int(table.counts[1, 2]) == int(((test.labels == 1) & (predicted == 2)).sum())
    assert table.counts.sum(1).tolist() == [int((test.labels == c).sum()) for c in range(4)]


def test_recalls_leave_out_classes_without_images(planted, model):
    wrens = planted.training.where((planted.training.labels == 0).numpy())

    assert [name for name, _ in confusion(model, wrens, "test").recalls()] == ["wren"]


def test_a_preview_shows_the_numbers_that_an_evaluation_prints(planted, model):
    edited = apply(model, [SetScore("striped", 2.0)])

    change = compare(model, edited, planted.training, "val")

    before, after = (evaluate(m, planted.training, split="val", controls=False) for m in (model, edited))
    assert (change.before, change.after) == (before.metrics["accuracy"], after.metrics["accuracy"])
    assert {row.name: row.before for row in change.groups} == {row.group: row.accuracy for row in before.groups}
    assert {row.name: row.after for row in change.groups} == {row.group: row.accuracy for row in after.groups}


def test_flips_are_the_images_whose_decision_changed(planted, model):
    edited = apply(model, [PruneWeight("striped", "wren"), PruneWeight("hooked bill", "wren")])

    change = compare(model, edited, planted.training, "test")

    test = planted.training.split("test")
    old, new = model.predict(test.x), edited.predict(test.x)
    changed = np.flatnonzero((old != new).numpy())
    assert change.flips == len(changed) > 0
    assert change.changed == tuple(test.ids[i] for i in changed)
    assert change.broken == int(((old == test.labels) & (new != test.labels)).sum())
    assert change.fixed == int(((old != test.labels) & (new == test.labels)).sum())
    assert change.classes[0].name == "wren"  # what loses most comes first


def test_nothing_changes_from_a_model_to_itself(planted, model):
    change = compare(model, model, planted.training, "test")

    assert (change.flips, change.fixed, change.broken, change.changed) == (0, 0, 0, ())
    assert change.before == change.after


def test_classes_in_another_order_are_the_same_classes(planted, model):
    order = [2, 0, 3, 1]
    head = model.head
    turned = replace(
        model,
        classes=tuple(model.classes[c] for c in order),
        head=replace(head, weight=head.weight[order], bias=head.bias[order]),
    )

    change = compare(model, turned, planted.training, "test")

    assert change.flips == 0
    assert torch.equal(
        confusion(turned, planted.training, "test").counts,
        confusion(model, planted.training, "test").counts[order][:, order],
    )
