import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from cbm.errors import DataError
from cbm.sources import TEMPLATES, bank_from_examples, bank_from_texts, measure_bank, random_bank


def test_a_text_concept_is_the_mean_direction_of_its_prompts(word_encoder):
    bank = bank_from_texts(word_encoder, ["striped wing", "bill"], templates=["{}", "a photo of {}"])

    by_hand = normalize(word_encoder.encode_texts(["striped wing", "a photo of striped wing"]).mean(0), dim=0)
    assert torch.allclose(bank.vectors[0], by_hand, atol=1e-6)
    assert torch.allclose(bank.vectors.norm(dim=1), torch.ones(2))
    assert bank.intercepts.tolist() == [0, 0]
    assert bank.origin[0].source == "text"
    assert bank.origin[0].detail == "{} | a photo of {}"
    assert (bank.encoder_id, bank.contract) == ("planted", "planted-contract")


def test_the_encoders_own_prompts_come_before_the_standard_ones(word_encoder):
    class Birder:
        """The same words, with prompts of its own."""

        templates = ("a bird with {}",)

        def __getattr__(self, name):
            return getattr(word_encoder, name)

    assert bank_from_texts(Birder(), ["crest"]).origin[0].detail == "a bird with {}"
    assert bank_from_texts(word_encoder, ["crest"]).origin[0].detail == " | ".join(TEMPLATES)


def test_braces_in_a_phrase_are_only_letters(word_encoder):
    bank = bank_from_texts(word_encoder, ["{0} wing {name}"])

    assert bank.names == ("{0} wing {name}",)


def test_groups_are_kept_for_the_phrases_that_are_there(word_encoder):
    bank = bank_from_texts(word_encoder, ["red bill"], groups={"red bill": "bill", "blue bill": "bill"})

    assert bank.groups == {"red bill": "bill"}


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ([], "there is no phrase"),
        (["bill", "  "], "phrase 2 of 2 is blank"),
        (["bill", "wing", " Bill "], "phrases 1 and 3 are the same"),
        ("bill", "one text"),
    ],
)
def test_phrases_that_make_no_bank_are_refused_by_number(word_encoder, texts, said):
    with pytest.raises(DataError, match=said) as caught:
        bank_from_texts(word_encoder, texts)

    assert caught.value.hint


@pytest.mark.parametrize("templates", [[], ["a photo of"]])
def test_a_prompt_without_a_place_for_the_phrase_is_refused(word_encoder, templates):
    with pytest.raises(DataError, match="needs a place"):
        bank_from_texts(word_encoder, ["bill"], templates=templates)


def test_phrases_that_the_encoder_cannot_tell_apart_say_so(word_encoder):
    bank = bank_from_texts(word_encoder, ["red bill", "bill red", "wing"])

    assert [quality.note for quality in bank.quality] == [
        "the encoder cannot tell this from “bill red”",
        "the encoder cannot tell this from “red bill”",
        "",
    ]


def test_a_single_phrase_has_no_twin(word_encoder):
    assert bank_from_texts(word_encoder, ["bill"]).quality[0].note == ""


def test_concepts_learned_from_examples_find_the_planted_directions(planted):
    bank = bank_from_examples(planted.training)

    planted_cosine = cosine_similarity(bank.vectors, planted.bank.vectors)
    assert planted_cosine.mean() > 0.85  # a random direction has 0.2
    assert planted_cosine.min() > 0.7
    assert bank.names == planted.bank.names
    assert all(origin.source == "annotation" for origin in bank.origin)


def test_quality_comes_from_validation_images(planted):
    bank = bank_from_examples(planted.training)

    val = planted.training.split("val")
    for k, quality in enumerate(bank.quality):
        shown = int((val.concept_labels[:, k] >= 0.5).sum())
        assert (quality.positives, quality.negatives) == (shown, len(val) - shown)
        assert quality.auroc > 0.95
        assert quality.p_value < 1e-6


def test_images_that_are_measured_on_are_never_learned_from(planted):
    """With labels that mean nothing, a vector knows the images it saw, and must not do better than chance on others."""
    meaningless = torch.from_numpy(np.random.default_rng(0).integers(0, 2, planted.training.concept_labels.shape))
    for splits in (planted.training.splits, np.full(len(planted.training), "train")):
        data = replace(planted.training, concept_labels=meaningless.float(), splits=splits)

        bank = bank_from_examples(data, c=100.0)

        held_out = np.mean([quality.auroc for quality in bank.quality])
        assert abs(held_out - 0.5) < 0.08
        assert np.mean([quality.train_accuracy for quality in bank.quality]) > 0.55


def test_test_images_are_neither_learned_from_nor_measured_on(planted):
    test = planted.training.splits == "test"
    x = planted.training.x.clone()
    x[torch.from_numpy(test)] = 1000.0

    assert torch.equal(
        bank_from_examples(replace(planted.training, x=x)).vectors, bank_from_examples(planted.training).vectors
    )


def test_a_concept_without_enough_images_is_left_out_and_named(planted, caplog):
    labels = planted.training.concept_labels.clone()
    labels[:, 3] = 0.0

    with caplog.at_level(logging.WARNING):
        bank = bank_from_examples(
            replace(planted.training, concept_labels=labels, concept_groups={"long tail": "tail"})
        )

    assert "long tail" not in bank.names
    assert len(bank) == len(planted.bank) - 1
    assert bank.groups == {}
    assert "long tail" in caplog.text


def test_without_annotations_or_training_images_no_bank_is_learned(planted):
    with pytest.raises(DataError, match="not annotated"):
        bank_from_examples(replace(planted.training, concepts=(), concept_labels=None))
    with pytest.raises(DataError, match="no image in the split 'train'"):
        bank_from_examples(planted.training.split("test"))


def test_text_concepts_are_measured_where_they_are_annotated(planted):
    bank = replace(planted.bank, names=("Striped", "unheard of", *planted.bank.names[2:]))

    measured = measure_bank(bank, planted.training)

    assert measured.quality[0].auroc > 0.95  # the planted direction itself, found under another case
    assert measured.quality[1].auroc is None
    assert measured.quality[0].positives == int((planted.training.split("val").concept_labels[:, 0] >= 0.5).sum())


def test_measuring_leaves_what_was_measured_and_what_cannot_be(planted):
    once = bank_from_examples(planted.training)

    assert measure_bank(once, planted.training) == once
    unlabelled = replace(planted.training, concepts=(), concept_labels=None)
    assert measure_bank(planted.bank, unlabelled) is planted.bank


def test_few_annotated_images_are_said_to_be_few(planted):
    labels = torch.full_like(planted.training.concept_labels, torch.nan)
    train = np.flatnonzero(planted.training.splits == "train")
    labels[train[:4], 0] = torch.tensor([1.0, 1.0, 0.0, 0.0])

    measured = measure_bank(planted.bank, replace(planted.training, concept_labels=labels))

    assert measured.quality[0].note == "only 2 images of one side"
    assert measured.quality[1].note == "no annotated image of one side"
    assert measured.quality[1].auroc is None


def test_a_random_bank_has_the_same_shape_and_nothing_of_the_concepts(planted):
    chance = random_bank(planted.bank, seed=5)

    assert chance.vectors.shape == planted.bank.vectors.shape
    assert torch.allclose(chance.vectors.norm(dim=1), torch.ones(len(planted.bank)))
    assert all(origin.source == "random" for origin in chance.origin)
    assert torch.equal(chance.vectors, random_bank(planted.bank, seed=5).vectors)
    assert not torch.equal(chance.vectors, random_bank(planted.bank, seed=6).vectors)
    assert chance.contract == planted.bank.contract
