"""Probes of layers whose content is planted: where a concept is, where it is not, and what a control task can do anyway."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))  # tests are imported without packages
from small_vit import BLOCKS, WIDTH, pictures, small_encoder

from cbm.errors import DataError, UnknownName
from probes.attentive import AttentiveProbe, train_attentive
from probes.layer_tokens import layer_features, patch_tokens
from probes.layers import (
    auroc_estimate,
    concept_labels,
    control_labels,
    earliest,
    linear_probes,
    probing_task,
    shuffled_labels,
)

N = 240
TRAIN, TEST = torch.arange(0, N, 2), torch.arange(1, N, 2)
CLASSES = (torch.arange(N) // 2) % 12


def planted(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Features of three layers, and the concept: the first layer is constant, the second noise, the third shows it."""
    chance = torch.Generator().manual_seed(seed)
    present = torch.rand(N, generator=chance) < 0.4
    x = torch.randn(N, 3, 8, generator=chance)
    x[:, 0] = 1.5
    x[:, 2, 4] += 4 * present
    return x, present


def test_the_layer_that_shows_the_concept_is_the_earliest():
    x, present = planted()
    task = probing_task(present, CLASSES, TRAIN, TEST, draws=3)

    constant, noise, shown = found = linear_probes(x[TRAIN], x[TEST], task)

    assert (constant.auroc.value, constant.selectivity) == (0.5, 0)
    assert noise.auroc.low < 0.5 < noise.auroc.high
    assert shown.auroc.value > 0.97
    assert shown.selectivity > 0.3  # the features say nothing of the class
    assert earliest(found) == 2


def test_features_that_tell_classes_apart_solve_the_control_task_too():
    x, _ = planted()
    x[:, 2] = torch.nn.functional.one_hot(CLASSES % 8, 8) + 8.0 * torch.nn.functional.one_hot(CLASSES // 8, 8)
    of_class = CLASSES < 5

    found = linear_probes(x[TRAIN], x[TEST], probing_task(of_class, CLASSES, TRAIN, TEST, draws=4))

    assert found[2].auroc.value > 0.99
    assert found[2].control.value > 0.9
    assert found[2].selectivity < 0.1


def test_control_labels_are_of_classes_and_about_as_frequent():
    labels = CLASSES < 3

    made = control_labels(labels, CLASSES, seed=1)

    for c in CLASSES.unique():
        assert len(made[c == CLASSES].unique()) == 1
    assert abs(int(made.sum()) - int(labels.sum())) <= N // 12
    assert not torch.equal(made, control_labels(labels, CLASSES, seed=2))
    assert sorted(shuffled_labels(labels, CLASSES, seed=0).tolist()) == sorted(labels.tolist())


def test_with_few_classes_control_tasks_are_of_images():
    _, present = planted()

    assert probing_task(present, CLASSES, TRAIN, TEST, draws=1).by_class
    assert not probing_task(present, CLASSES % 2, TRAIN, TEST, draws=1).by_class


def test_a_concept_that_hardly_occurs_is_refused_in_words():
    with pytest.raises(DataError, match=r"of 120 training images 0 show the concept"):
        probing_task(torch.zeros(N, dtype=torch.bool), CLASSES, TRAIN, TEST, draws=1)


def test_delongs_interval_of_an_auroc_by_hand():
    scores, present = torch.tensor([3.0, 2.0, 1.0, 0.0]), torch.tensor([True, False, True, False])

    found = auroc_estimate(scores, present)

    error = (np.var([1, 0.5], ddof=1) / 2 + np.var([0.5, 1], ddof=1) / 2) ** 0.5
    assert found.value == 0.75
    assert found.low == pytest.approx(0.75 - 1.959964 * error)
    assert auroc_estimate(scores, torch.ones(4, dtype=torch.bool)).value == 0.5


def test_labels_come_from_annotations_or_else_from_the_model(planted_model):
    data, model = planted_model

    annotated, own = concept_labels(data, "Striped"), concept_labels(data, "added", model)

    assert annotated.source == "annotation"
    assert torch.equal(annotated.present, data.concept_labels[:, data.concepts.index("striped")] >= 0.5)
    assert own.source == "model"
    assert 0.4 < own.present.float().mean() < 0.6
    with pytest.raises(UnknownName):
        concept_labels(data, "nothing", model)
    with pytest.raises(DataError, match="not annotated"):
        concept_labels(data, "nothing")


@pytest.fixture
def planted_model(planted):
    from dataclasses import replace

    from cbm.methods import fit

    data = planted.training
    model = fit("posthoc", replace(data, bank=planted.bank), bank=planted.bank)
    return data, replace(model, concepts=("added", *model.concepts[1:]))


def test_features_are_those_of_the_tokens_between_the_blocks():
    encoder, images = small_encoder(), pictures(3)
    seen = []
    handle = encoder.model.visual.transformer.resblocks[1].register_forward_hook(
        lambda m, i, output: seen.append(output)
    )
    encoder.encode_pixels(images)
    handle.remove()

    found, patches = layer_features(encoder, images), patch_tokens(encoder, images, [2])

    assert found["class"].shape == found["patches"].shape == (3, BLOCKS + 1, WIDTH)
    torch.testing.assert_close(found["class"][:, 2], seen[0][:, 0])
    torch.testing.assert_close(found["patches"][:, 2], seen[0][:, 1:].mean(1))
    assert (found["class"][:, 0] - found["class"][0, 0]).abs().max() < 1e-6  # the class token before it has looked
    assert patches.shape == (1, 3, 16, WIDTH)
    assert patches.float().var(-1, unbiased=False).mean() == pytest.approx(1, abs=0.01)


def test_contributions_sum_to_the_logit_without_its_bias():
    chance = torch.Generator().manual_seed(0)
    patches = torch.randn(5, 16, 6, generator=chance)
    probe = AttentiveProbe(
        torch.randn(2, 6, generator=chance), torch.randn(2, 6, generator=chance), torch.tensor([3.0, -1])
    )

    pooled = torch.einsum("nkp,npd->nkd", probe.attention(patches), patches)

    torch.testing.assert_close(probe.contributions(patches).sum(2), probe(patches) - probe.bias)
    torch.testing.assert_close(probe(patches), (pooled * probe.direction).sum(2) + probe.bias)
    torch.testing.assert_close(probe.attention(patches).sum(2), torch.ones(5, 2))


def test_an_attentive_probe_finds_the_patch_that_shows_the_concept():
    chance = torch.Generator().manual_seed(0)
    patches, place = torch.randn(200, 16, 12, generator=chance), torch.randint(16, (200,), generator=chance)
    present = torch.arange(200) % 2 == 0
    patches[torch.arange(200)[present], place[present], 3] += 5

    probe = train_attentive(patches[:120].half(), present[:120, None], steps=80)

    held, shown = patches[120:], present[120:]
    assert auroc_estimate(probe(held)[:, 0], shown).value > 0.9
    found = probe.contributions(held)[:, 0].argmax(1)
    assert (found == place[120:])[shown].float().mean() > 0.9  # of sixteen places
