"""Banks of words and of sentences: what is in them, and where they say it came from."""

import pytest
import torch

from cbm.errors import DataError
from cbm.vocabulary import clean
from cbm.word_banks import bank_from_sentences, bank_from_words
from cbm.words import as_words


@pytest.fixture
def reader(word_encoder):
    """The planted word encoder, which does not know every word."""

    class Reader(type(word_encoder)):
        def knows(self, text):
            return "zebra" not in text

    return Reader()


def test_words_become_concepts_in_their_groups_without_those_unknown(reader):
    bank = bank_from_words(reader, as_words(["red", "zebra", "wing", "my thing"]))

    assert bank.names == ("red", "wing", "my thing")
    assert bank.groups == {"red": "colour", "wing": "part"}
    assert [origin.source for origin in bank.origin] == ["vocabulary"] * 3
    assert bank.origin[0].detail.startswith("adjective, prompts ")


def test_an_encoder_that_knows_no_word_is_named(reader):
    with pytest.raises(DataError, match="planted knows none of 1 words"):
        bank_from_words(reader, as_words(["zebra"]))


def test_sentences_are_read_as_they_are_and_say_for_which_classes_they_are_listed(word_encoder):
    cleaned = clean({"wren": ["short tail", "a wren"], "gull": ["short tail"]}, ["wren", "gull"])

    bank = bank_from_sentences(word_encoder, cleaned, ["wren", "gull"])

    assert bank.names == ("short tail",)
    assert bank.origin[0].source == "sentence"
    assert bank.origin[0].detail == "listed for wren, gull"
    assert torch.allclose(bank.vectors, word_encoder.encode_texts(["short tail"]), atol=1e-6)
