from dataclasses import replace

import pytest
import torch

from cbm.errors import ModelError
from cbm.io import fingerprint
from cbm.methods import fit
from cbm.progress import silent
from probes.controls import linear_probe, random_concepts, shuffled_labels


@pytest.fixture(scope="module")
def model(planted):
    return fit("posthoc", planted.training, bank=planted.bank, nec=2, alpha=0.9)


def test_random_concepts_are_fitted_with_the_models_own_options(planted, model):
    control = random_concepts(model, planted.training, 0, silent)

    assert control.recipe.options == model.recipe.options
    assert control.recipe.options["alpha"] == 0.9
    assert len(control.concepts) == len(model.concepts)
    assert all(origin.source == "random" for origin in control.bank.origin)


def test_another_seed_is_another_control(planted, model):
    first, again, other = (random_concepts(model, planted.training, seed, silent) for seed in (0, 0, 1))

    assert fingerprint(first) == fingerprint(again) != fingerprint(other)


def test_shuffling_keeps_the_class_counts_and_the_test_labels(planted, model, monkeypatch):
    seen = []
    monkeypatch.setattr("probes.controls.fit_again", lambda recipe, data, on_progress: seen.append(data) or model)

    shuffled_labels(model, planted.training, 0, silent)

    for split in ("train", "val", "test"):
        before, after = planted.training.split(split).labels, seen[0].split(split).labels
        assert torch.equal(before.bincount(), after.bincount())
        assert torch.equal(before, after) == (split == "test")


def test_shuffling_deals_sentences_to_other_classes(planted, model, monkeypatch):
    """Left where they are, they would say what a class looks like: labels by another name."""
    seen = []
    monkeypatch.setattr("probes.controls.fit_again", lambda recipe, data, on_progress: seen.append(data) or model)
    candidates = {name: (f"about {name}",) for name in planted.training.classes}

    shuffled_labels(model, replace(planted.training, candidates=candidates), 0, silent)

    assert seen[0].candidates != candidates
    assert sorted(seen[0].candidates.values()) == sorted(candidates.values())


def test_the_linear_probe_has_no_concepts(planted, model):
    assert linear_probe(model, planted.training, 0, silent).concepts == ()


def test_a_model_that_takes_no_bank_has_no_random_twin(planted):
    probe = fit("linear-probe", planted.training)

    with pytest.raises(ModelError, match="takes no concept bank"):
        random_concepts(probe, planted.training, 0, silent)


def test_a_model_that_learned_from_no_image_has_no_shuffled_twin(planted, word_encoder):
    shot = fit("zero-shot", replace(planted.training, encoder=word_encoder))

    with pytest.raises(ModelError, match="does not learn from labels"):
        shuffled_labels(shot, planted.training, 0, silent)
