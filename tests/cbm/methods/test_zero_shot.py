from dataclasses import replace

import numpy as np
import pytest
import torch

from cbm.errors import DataError
from cbm.explanations import explain
from cbm.methods import fit


def images_like_names(planted, word_encoder, names=("wren", "teal", "kite", "loon"), classes=None):
    """Embeddings that are the class names' own, with a common direction as CLIP's have."""
    labels = torch.arange(40) % 4
    noise = 0.05 * torch.randn(40, 24, generator=torch.Generator().manual_seed(0))
    x = word_encoder.encode_texts(list(names))[labels] + noise + 0.5
    data = planted.training.where(np.arange(40))
    return replace(data, x=x, labels=labels, encoder=word_encoder, classes=classes or tuple(names))


def test_images_that_look_like_a_name_get_that_class(planted, word_encoder):
    data = images_like_names(planted, word_encoder)

    model = fit("zero-shot", data, template="{}")

    assert torch.equal(model.predict(data.x), data.labels)


def test_probabilities_are_those_of_the_cosines_times_the_scale(planted, word_encoder):
    data = images_like_names(planted, word_encoder)

    model = fit("zero-shot", data, template="{}", scale=20.0)

    cosines = data.x @ word_encoder.encode_texts(list(data.classes)).T
    assert torch.allclose(model.probabilities(data.x), (20 * cosines).softmax(1), atol=1e-5)


def test_each_class_is_explained_by_its_own_name(planted, word_encoder):
    data = images_like_names(planted, word_encoder)

    why = explain(fit("zero-shot", data, template="{}"), data.x[0])

    assert [concept.name for concept in why.concepts if concept.contribution != 0] == [why.prediction] == ["wren"]
    assert why.concepts[0].contribution == pytest.approx(why.logit, abs=1e-4)


def test_it_needs_no_training_image(planted, word_encoder):
    data = images_like_names(planted, word_encoder)

    model = fit("zero-shot", data.where(data.splits == "test"))

    assert model.recipe.images == 0


def test_file_names_are_read_as_words(planted, word_encoder):
    data = images_like_names(
        planted, word_encoder, ("red wren", "blue teal", "kite", "loon"), ("red_wren", "blue_teal", "kite", "loon")
    )

    model = fit("zero-shot", data, template="{}")

    assert model.classes[0] == model.concepts[0] == "red_wren"
    assert torch.equal(model.predict(data.x), data.labels)


def test_names_that_are_all_one_to_the_encoder_are_refused(planted, word_encoder):
    data = images_like_names(planted, word_encoder, classes=("a b c", "c b a", "b a c", "b c a"))

    with pytest.raises(DataError, match="same embedding"):
        fit("zero-shot", data, template="{}")
