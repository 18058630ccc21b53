"""The words that ship, and what is left out of a list of words."""

import pytest

from cbm.errors import DataError, UnknownName
from cbm.words import Word, as_words, blocked, grammar, names_and_kinds, read_words, shipped, sift, tells


def test_ten_thousand_visual_words_ship_once_each_with_their_part_of_speech():
    words = shipped("visual")

    assert len(words) >= 10_000
    assert len({word.text for word in words}) == len(words)
    assert {word.part for word in words} == {"noun", "adjective"}
    assert {"animal", "plant", "food", "material", "shape"} <= {word.group for word in words}


def test_attributes_are_grouped_and_are_not_among_the_others():
    attributes = {word.text: word.group for word in shipped("attributes")}

    assert len(attributes) >= 300
    assert {"colour", "texture", "shape", "material", "part", "setting"} <= set(attributes.values())
    assert attributes["turquoise"] == "colour"
    assert attributes.keys().isdisjoint(word.text for word in shipped("visual"))


def test_no_word_that_ships_is_blocked():
    assert len(sift(shipped("all")).words) == len(shipped("all"))
    assert "useful" in blocked()


def test_visual_words_are_there_and_others_are_not():
    words = {word.text for word in shipped("all")}

    assert {"zebra", "scaly", "petal", "fire engine", "wooden", "marble"} <= words
    assert words.isdisjoint({"theory", "knowledge", "because", "french", "politician", "fuck"})


def test_an_unknown_list_is_refused_with_the_names_of_those_there_are():
    with pytest.raises(UnknownName, match="word list"):
        shipped("visuals")


def test_plain_texts_learn_what_the_lists_know_and_lose_repetitions():
    red, wing, other = as_words(["red", "wing", " Red ", "gribbly  thing", ""])

    assert red == Word("red", "adjective", "colour")
    assert wing.part == "noun"
    assert other == Word("gribbly thing")


def test_words_are_counted_by_the_reason_for_which_they_go():
    words = as_words(["red", "wing", "gulls", "a bad word", "useful", "blue", "ring-billed gull"])

    sifted = sift(words, names=["Ring_billed gull"], most=2)

    assert [word.text for word in sifted.words] == ["red", "wing"]
    assert dict(sifted.dropped) == {"naming a class": 2, "blocked": 2, "less common": 1}
    assert sifted.summary() == "2 words; left out: 2 naming a class, 2 blocked, 1 less common"
    assert [word.text for word in sift(words, parts={"adjective"}, groups={"colour"}).words] == ["red", "blue"]


@pytest.mark.parametrize(
    ("phrase", "leaks"),
    [("Sea lake", True), ("lakes", True), ("sea", False), ("lakeside", False), ("blue lake view", True)],
)
def test_a_class_name_is_found_by_its_words_and_not_inside_others(phrase, leaks):
    assert tells(phrase, names_and_kinds(["sea/lake"])) is leaks


def test_the_grammar_counts_as_published():
    """Adjectives, nouns, and adjective noun alone and after each of four relations: a + n + 5 a n."""
    phrases = list(grammar(["big", "wet", "old"], ["ear", "fur"], ["has", "part of", "at location", "made of"]))

    assert len(phrases) == len(set(phrases)) == 3 + 2 + 5 * 3 * 2
    assert list(grammar(["big"], ["ear"], atoms=False)) == ["big ear"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", "# mine\nstriped wing\n\n yellow bill ", ("striped wing", "yellow bill")),
        ("a.csv", "group,concept\nwing,striped wing\n", ("striped wing",)),
        ("a.csv", "word,pos\nred,adjective\n", ("red",)),
        ("a.csv", "red\nblue\n", ("red", "blue")),
        ("a.json", '{"wren": ["striped wing"], "tit": ["blue cap"]}', ("striped wing", "blue cap")),
    ],
)
def test_words_are_read_from_three_kinds_of_file(name, content, words):
    assert read_words(name, content.encode()) == words


@pytest.mark.parametrize("content", [b"{", b'{"a": 3}', b'["a", 3]', b"\xff\xfe\xff"])
def test_a_file_of_another_layout_is_refused(content):
    with pytest.raises(DataError, match=r"words\.json"):
        read_words("words.json", content)
