"""LaBo in a world where one sentence of each class is true."""

import re
from dataclasses import replace

import pytest
import torch

from cbm.errors import DataError
from cbm.methods import fit
from cbm.methods.labo import few_shot
from cbm.preprocessing import Preprocessing


class PlantedTexts:
    """Reads the planted concepts: a text points where the concepts that it names do; other texts are noise."""

    id, contract, preprocessing = "planted", "planted-contract", Preprocessing(size=(8, 8))

    def __init__(self, bank):
        self.bank, self.dim = bank, bank.vectors.shape[1]

    def encode_images(self, images):
        raise NotImplementedError("this encoder reads words only")

    encode_pixels = encode_images

    def encode_texts(self, texts):
        return torch.nn.functional.normalize(torch.stack([self.vector(text) for text in texts]), dim=1)

    def vector(self, text):
        named = [v for name, v in zip(self.bank.names, self.bank.vectors, strict=True) if name in text]
        noise = torch.randn(self.dim, generator=torch.Generator().manual_seed(len(text)))
        return sum(named) if named else noise


@pytest.fixture(scope="module")
def world(planted):
    candidates = {
        name: (f"its {a} parts", f"a {b}", f"{a} with {b}", "lays eggs", "sings at dawn", "a picture with noise")
        for name, (a, b) in planted.class_concepts.items()
    }
    return replace(planted.training, encoder=PlantedTexts(planted.bank), candidates=candidates)


@pytest.fixture(scope="module")
def model(world):
    return fit("labo", world, per_class=2, coverage=0.2, scale=5)


def accuracy(model, data):
    return float((model.predict(data.x) == data.labels).double().mean())


def test_true_sentences_are_chosen_and_decide(model, world, planted):
    assert accuracy(model, world.split("test")) > 0.95
    for label, (a, b) in enumerate(planted.class_concepts.values()):
        strongest = model.concepts[int(model.head.weight[label].argmax())]
        assert a in strongest or b in strongest


def test_logits_are_those_of_weighted_means_of_sentences(model, world):
    """Undo the standardisation: every class vector is a mixture of sentence embeddings with shares that sum to one."""
    cosines = world.split("train").x.double() @ model.bank.vectors.T.double()
    shares = model.head.weight.double() / cosines.std(0, correction=0)
    scale = shares.sum(1)

    assert (shares > 0).all()
    assert scale.max() / scale.min() == pytest.approx(1, abs=1e-4)
    test = world.split("test").x
    logits = test.double() @ model.bank.vectors.T.double() @ shares.T
    difference = model.logits(test) - logits
    assert (difference - difference[:, :1]).abs().max() < 1e-3


def test_the_bank_says_which_sentence_was_chosen_for_whom_and_why(model):
    origin = model.bank.origin[0]

    assert origin.source == "sentence"
    assert origin.detail.startswith("number ")
    assert "tells classes apart" in origin.detail


def test_the_recipe_says_what_was_left_out_and_what_own_sentences_weigh(world):
    named = {name: (*sentences, f"a kind of {name}") for name, sentences in world.candidates.items()}

    notes = fit("labo", replace(world, candidates=named), per_class=2, scale=5, steps=0).recipe.notes

    assert "4 naming the class" in notes[0]
    assert "gives 90% of its weight to its own concepts" in notes[1]


def test_shots_count_images_of_each_class_and_leave_validation_alone(world):
    one = fit("labo", world, shots=1, per_class=2, scale=5)

    assert one.recipe.images == 4
    assert accuracy(one, world.split("test")) > 0.8
    assert few_shot(world, "2", seed=1).ids != few_shot(world, "2", seed=2).ids
    assert torch.bincount(few_shot(world, "16").labels).tolist() == [16] * 4


def test_the_paper_s_choice_beats_chance_with_one_sentence_a_class(world):
    chosen, drawn = (
        fit("labo", world, per_class=1, coverage=0, selection=how, scale=5, seed=0) for how in ("submodular", "random")
    )

    assert accuracy(chosen, world.split("test")) > accuracy(drawn, world.split("test"))


def test_the_published_choice_refuses_negative_similarities(world):
    """The published code would go on with NaN."""
    with pytest.raises(DataError, match="needs positive similarities"):
        fit("labo", world, selection="published")


def test_the_published_choice_can_be_had_where_similarities_are_positive(world):
    shift = torch.ones(24)
    lifted = PlantedTexts(world.encoder.bank)
    lifted.vector = lambda text: PlantedTexts.vector(lifted, text) + shift

    made = fit("labo", replace(world, encoder=lifted, x=world.x + shift), selection="published", per_class=2, scale=5)

    assert len(made.concepts) == 8
    assert all(one.detail.startswith("number") for one in made.bank.origin)


@pytest.mark.parametrize("association", ["sparsemax", "relu"])
def test_an_association_can_leave_most_sentences_at_exactly_nothing(world, association):
    made = fit("labo", world, per_class=2, scale=5, association=association)

    assert accuracy(made, world.split("test")) > 0.8
    assert int((made.head.weight == 0).sum()) > 0 or association == "relu"
    assert "and uses" in made.recipe.notes[1]


def test_the_notes_certify_the_choice(world):
    assert re.search(
        r"worth at least \d+(\.\d)?% of the best", fit("labo", world, per_class=2, scale=5).recipe.notes[0]
    )
    assert "worth" not in fit("labo", world, per_class=2, scale=5, selection="random").recipe.notes[0]
