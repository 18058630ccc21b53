"""Candidate sentences: what is read, what is refused, and what cleaning takes out."""

import json
from pathlib import Path

import numpy as np
import pytest

from cbm.errors import DataError
from cbm.vocabulary import checked, clean, clean_as_published, read_candidates, shipped_candidates

REFERENCE = Path(__file__).parents[1] / "reference" / "labo.npz"


def reasons(cleaned):
    return {(one.class_, one.sentence): one.reason for one in cleaned.dropped}


def test_a_file_in_the_usual_layout_is_read(tmp_path):
    file = tmp_path / "sentences.json"
    file.write_text(json.dumps({"cat": ["long whiskers"], "dog": ["wags its tail", "barks"]}))

    assert read_candidates(file) == {"cat": ("long whiskers",), "dog": ("wags its tail", "barks")}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: the text ends in the middle of a list"),
        ("[]", "not an object"),
        ("{}", "not an object"),
        ('{"cat": "long whiskers"}', "candidates of 'cat' are not a list"),
        ('{"cat": ["fine"], "dog": [1]}', "candidates of 'dog' are not a list"),
    ],
)
def test_another_layout_is_refused_with_what_is_wrong(tmp_path, text, message):
    file = tmp_path / "sentences.json"
    file.write_text(text)

    with pytest.raises(DataError, match=message):
        read_candidates(file)


def test_a_file_that_is_not_there_is_a_plain_error(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        read_candidates(tmp_path / "none.json")


def test_sentences_that_name_a_class_are_left_out_whatever_their_case():
    cleaned = clean(
        {"cat": ["Cat whiskers", "category of thing", "two cats", "soft"], "great auk": ["a great-auk egg", "tall"]},
        ["cat", "great_auk"],
    )

    assert cleaned.sentences == ("category of thing", "soft", "tall")
    assert {sentence for _, sentence in reasons(cleaned)} == {"Cat whiskers", "two cats", "a great-auk egg"}
    assert reasons(cleaned)["cat", "Cat whiskers"] == "naming the class “cat”"


def test_empty_long_and_repeated_sentences_are_left_out_with_the_reason():
    cleaned = clean({"a": ["red  wing", " ", "Red wing", "one two three four", "x y"]}, ["a"], longest=3, names=False)

    assert cleaned.sentences == ("red wing", "x y")
    assert [one.reason for one in cleaned.dropped] == ["empty", "repeated", "longer than 3 words"]
    assert cleaned.summary() == "2 sentences to choose from; left out: 1 empty, 1 repeated, 1 longer than 3 words"


def test_a_shared_sentence_belongs_to_all_who_list_it():
    cleaned = clean({"a": ["red wing", "x"], "b": ["Red wing"]}, ["a", "b"])

    assert dict(zip(cleaned.sentences, cleaned.owners, strict=True)) == {"red wing": (0, 1), "x": (0,)}


def test_a_class_left_without_a_sentence_is_refused():
    with pytest.raises(DataError, match="class 'b' is not among the candidates"):
        clean({"a": ["red"]}, ["a", "b"])
    with pytest.raises(DataError, match="class 'b' has no sentence that may stay"):
        clean({"a": ["red"], "b": ["like b"]}, ["a", "b"])


def test_classes_of_no_interest_are_not_looked_at():
    assert clean({"a": ["red"], "z": ["blue"]}, ["a"]).sentences == ("red",)


@pytest.mark.parametrize("names", [False, True])
def test_the_published_cleaning_is_reproduced(names):
    arrays = np.load(REFERENCE)
    first, second = map(str, arrays["clean_names"])
    raw = [str(sentence) for sentence in arrays["clean_raw"]]
    candidates = {first: tuple(raw[:4]), second: tuple(raw[4:])}

    kept, index = clean_as_published(candidates, names=names)

    assert [raw[i] for i in index] == list(kept)
    assert list(kept) == arrays[f"clean_{int(names)}_kept"].tolist()


def test_the_published_cleaning_finds_names_inside_words_and_misses_other_cases():
    """Ours keeps "category of thing" and leaves "Cat whiskers" out; the published code does the opposite."""
    arrays = np.load(REFERENCE)
    candidates = {"cat": tuple(map(str, arrays["clean_raw"])), "dog": ("barks",)}

    ours = clean(candidates, ["cat", "dog"]).sentences
    published, _ = clean_as_published(candidates, names=True)

    assert "category of thing" in ours
    assert "category of thing" not in published
    assert "Cat whiskers" not in ours
    assert "Cat whiskers" in published


def test_sentences_ship_for_the_demo_world_and_for_nothing_else():
    classes = tuple(json.loads((Path(__file__).parents[2] / "assets/sentences/cells.json").read_text()))

    found = shipped_candidates(classes)

    assert found is not None
    assert checked(found) == found
    assert clean(found, classes).sentences
    assert shipped_candidates(("cat", "dog")) is None


def test_a_bank_needs_no_sentence_of_every_class_but_of_one():
    assert clean({"a": ["red"]}, ["a", "b"], every=False).sentences == ("red",)
    with pytest.raises(DataError, match="class 'a' is not among"):
        clean({"z": ["red"]}, ["a", "b"], every=False)
