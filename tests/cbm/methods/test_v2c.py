"""V2C in a world whose words are known: the planted concepts, words of nothing, and words that must not get in."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from cbm.errors import DataError
from cbm.methods import fit
from cbm.preprocessing import Preprocessing

NOISE = ("zigzag", "marble", "office", "candy")


class PlantedWords:
    """Reads each planted concept as its direction, with what all texts share; a class name as the sum of its concepts."""

    id, contract, preprocessing = "planted", "planted-contract", Preprocessing(size=(8, 8))

    def __init__(self, planted):
        self.vectors = dict(zip(planted.bank.names, planted.bank.vectors, strict=True))
        self.dim = planted.bank.vectors.shape[1]
        self.vectors |= {name: self.vectors[a] + self.vectors[b] for name, (a, b) in planted.class_concepts.items()}
        self.vectors["small bird of the reeds"] = self.vectors["wren"]

    def encode_images(self, images):
        raise NotImplementedError("this encoder reads words only")

    encode_pixels = encode_images

    def knows(self, text):
        return "gibberish" not in text

    def encode_texts(self, texts):
        return torch.stack([self.vector(text) for text in texts])

    def vector(self, text):
        named = [vector for name, vector in self.vectors.items() if text == name or text.endswith(f" {name}")]
        noise = torch.randn(self.dim, generator=torch.Generator().manual_seed(sum(map(ord, text.split()[-1]))))
        return normalize(named[-1] if named else 0.2 * noise, dim=0) + 0.5 * torch.ones(self.dim) / self.dim**0.5


@pytest.fixture(scope="module")
def world(planted):
    words = (*planted.bank.names, *NOISE, "wren", "teals", "small bird of the reeds", "bullshit", "gibberish")
    return replace(planted.training, encoder=PlantedWords(planted), vocabulary=words, concepts=(), concept_labels=None)


@pytest.fixture(scope="module")
def model(world):
    return fit("v2c", world, scale=5, phrases=0)


def accuracy(model, data):
    return float((model.predict(data.x) == data.labels).double().mean())


def test_the_planted_concepts_are_found_for_their_classes_and_decide(model, world, planted):
    assert accuracy(model, world.split("test")) > 0.95
    for label, pair in enumerate(planted.class_concepts.values()):
        strongest = [model.concepts[i] for i in model.head.weight[label].topk(2).indices]
        assert set(strongest) == set(pair)


def test_words_that_name_a_class_are_left_out_by_lemma_and_by_meaning(model, world):
    assert {"wren", "teals", "small bird of the reeds"}.isdisjoint(model.concepts)
    assert {"bullshit", "gibberish"}.isdisjoint(model.concepts)
    assert "2 blocked, 2 naming a class" in model.recipe.notes[0]
    assert "1 unknown to the encoder" in model.recipe.notes[0]
    assert "1 stand for a class name" in model.recipe.notes[1]

    named = fit("v2c", world, scale=5, phrases=0, drop_named=False)
    assert {"wren", "small bird of the reeds"} & set(named.concepts)


def test_each_word_says_who_voted_for_it_and_where_it_was_seen_best(model, world):
    for name, origin in zip(model.concepts, model.bank.origin, strict=True):
        assert origin.source == "vocabulary"
        assert " images for " in origin.detail, name
        best = origin.detail.rsplit("named best by ", 1)[1]
        assert best in set(world.split("train").ids)
    assert "120 images for" not in model.bank.origin[0].detail  # a quarter of 240 training images are voters
    assert "of 60 images for" in model.bank.origin[0].detail


def test_few_words_stay_few_and_are_told(world, planted):
    strict = fit("v2c", world, scale=5, phrases=0, votes=30, top=2)

    assert set(strict.concepts) <= {concept for pair in planted.class_concepts.values() for concept in pair}
    assert any("classes have few words" in note for note in strict.recipe.notes)


def test_phrases_are_made_of_words_that_passed_and_not_of_all(world, monkeypatch):
    read: list[str] = []
    encoder = world.encoder
    whole = type(encoder).encode_texts
    monkeypatch.setattr(type(encoder), "encode_texts", lambda self, texts: read.extend(texts) or whole(self, texts))
    words = (*world.vocabulary, "red", "blue", "wing", "tail", "spoon")

    fit("v2c", replace(world, vocabulary=words), scale=5, phrases=2)

    phrases = {text for text in read if text.split()[-1] in {"wing", "tail", "spoon"} and len(text.split()) == 2}
    assert phrases
    assert len(phrases) < 4 * 3 * 3


def test_labels_of_the_pool_are_not_read_when_there_are_few_shots(world):
    """Of four classes one labelled image each; all others vote, and with wrong labels they vote the same."""
    from cbm.methods.labo import few_shot

    shots = set(few_shot(world.split("train"), "1", seed=0).ids)
    labelled = torch.tensor([id in shots for id in world.ids])
    train = torch.from_numpy(world.splits == "train")

    one = fit("v2c", world, shots=1, scale=5, phrases=0)

    assert one.recipe.images == 4
    assert "240 training images voted" in one.recipe.notes[-2]
    assert accuracy(one, world.split("test")) > 0.7
    assert int((labelled & train).sum()) == 4


def test_published_votes_have_no_gates_and_do_not_fill_up(world):
    found = fit("v2c", world, scale=5, voting="published", voters=20)

    assert found.concepts
    assert len(found.concepts) <= len(world.vocabulary)
    assert all("times as often" not in origin.detail for origin in found.bank.origin)


def test_names_find_the_voters_when_asked_to(world):
    made = fit("v2c", world, scale=5, phrases=0, prototypes="names")

    assert accuracy(made, world.split("test")) > 0.95


def test_a_pool_that_does_not_show_a_class_is_told(world, planted):
    """Without images of the loon no image is near its name."""
    some = replace(world, classes=(*world.classes, "dodo"))

    notes = fit("v2c", some, scale=5, phrases=0).recipe.notes

    assert any("hardly shows 1 classes" in note and "dodo" in note for note in notes)


def test_words_of_nothing_are_refused_with_what_went_wrong(world):
    with pytest.raises(DataError, match="none of 2 words can be used: 1 are unknown"):
        fit("v2c", replace(world, vocabulary=("gibberish", "wrens")), scale=5)
    with pytest.raises(DataError, match="no word describes any class"):
        fit("v2c", world, scale=5, votes=10_000)


def test_annotated_words_are_measured(world, planted):
    labelled = replace(world, concepts=planted.training.concepts, concept_labels=planted.training.concept_labels)

    bank = fit("v2c", labelled, scale=5, phrases=0).bank

    assert bank.quality[bank.index("striped")].auroc > 0.95
