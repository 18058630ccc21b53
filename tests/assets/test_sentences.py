import json

import pytest

from assets import path
from assets.sentences import bird_sentences, cell_sentences
from assets.species import SPECIES

WORLDS = {"birds": bird_sentences, "cells": cell_sentences}


@pytest.mark.parametrize("world", WORLDS)
def test_shipped_sentences_are_what_the_code_writes(world):
    plain = json.loads(path(f"sentences/{world}.json").read_text())

    assert plain == {name: [sentence.text for sentence in about] for name, about in WORLDS[world]().items()}


@pytest.mark.parametrize("world", WORLDS)
def test_every_class_has_thirty_to_fifty_different_sentences_of_every_kind(world):
    truth = json.loads(path(f"sentences/{world}_truth.json").read_text())

    for about in truth.values():
        assert 30 <= len({sentence["text"] for sentence in about}) == len(about) <= 50
        assert {"true", "wrong", "not visual", "general"} <= {sentence["truth"] for sentence in about}


def test_truth_agrees_with_the_species_table():
    for species in SPECIES:
        for sentence in bird_sentences()[species.name]:
            if sentence.truth == "true":
                assert set(sentence.concepts) <= set(species.traits)
            if sentence.truth == "wrong":
                assert not set(sentence.concepts) & set(species.traits)
            if sentence.truth == "setting":
                assert sentence.concepts == (f"{species.habitat} background",)
