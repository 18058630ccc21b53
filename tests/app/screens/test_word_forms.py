"""Words and sentences on the screens Concepts and Build: what filters leave is said before anything is built."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from app import jobs
from app.workspace import Workspace

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]
BUILD = "Build a bank"


def plain(text: str) -> str:
    """A text without the signs that keep Markdown from reading it."""
    return text.replace("\\", "")


def test_words_that_ship_are_filtered_before_the_job(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("concepts", dataset="shore", show=BUILD, way="From a vocabulary")
    assert "372 words" in plain(words(page))
    page.multiselect(key="words_groups").set_value(["colour"]).run()
    page.button_group(key="words_parts").set_value(["adjective"]).run()
    page.number_input(key="words_most").set_value(3).run()
    page.button(key="build_bank").click().run()

    assert not page.exception
    assert "3 words; left out:" in plain(words(page))
    assert "red, orange, yellow" in plain(words(page))
    (job,) = jobs.jobs(shore)
    told = {"source": "vocabulary", "list": "attributes", "groups": ["colour"], "parts": ["adjective"], "most": 3}
    assert told.items() <= job.params.items()


def test_words_of_ones_own_lose_blocked_ones_and_class_names(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("concepts", dataset="shore", show=BUILD, way="From a vocabulary")
    page.button_group(key="words_list").set_value("my own").run()
    assert "There is no word" in plain(words(page))
    page.text_area(key="words_own").set_value("striped wing\nuseful\ntwo gulls\nbeak").run()
    page.button(key="build_bank").click().run()

    assert not page.exception
    assert "2 words; left out: 1 blocked, 1 naming a class" in plain(words(page))
    assert jobs.jobs(shore)[0].params["words"] == ["striped wing", "useful", "two gulls", "beak"]


def test_pasted_sentences_are_cleaned_in_sight_and_sent_with_the_job(
    open_screen: Open, shore: Workspace, words: Words
) -> None:
    page = open_screen("concepts", dataset="shore", show=BUILD, way="From sentences")
    assert page.button(key="build_bank").disabled
    page.text_area(key="sentences_paste").set_value(
        'Sure!\n```\n{"gull": ["white wing", "a gull",], "osprey": ["x"]}\n```'
    ).run()
    assert "1 sentence to choose from; left out: 1 naming the class" in plain(words(page))
    assert "no class is called so: osprey" in plain(words(page))
    page.button(key="build_bank").click().run()

    assert not page.exception
    (job,) = jobs.jobs(shore)
    assert job.params["source"] == "sentences"
    assert job.params["candidates"] == {"gull": ["white wing", "a gull"], "osprey": ["x"]}


@pytest.mark.parametrize(
    ("text", "message"),
    [('{"gull": ["a" "b"]}', "line 1, column 15"), ("hello", "no list of sentences"), ('{"gull": 3}', "not a list")],
)
def test_what_cannot_be_read_is_said_with_its_place(
    open_screen: Open, shore: Workspace, words: Words, text: str, message: str
) -> None:
    page = open_screen("concepts", dataset="shore", show=BUILD, way="From sentences")
    page.text_area(key="sentences_paste").set_value(text).run()

    assert not page.exception
    assert message in plain(words(page))
    assert page.button(key="build_bank").disabled


def test_a_file_counts_when_nothing_is_pasted(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("concepts", dataset="shore", show=BUILD, way="From sentences")
    page.file_uploader(key="sentences_file").upload("answer.md", b"## wren\n- small\n- brown").run()

    assert not page.exception
    assert "2 sentences to choose from" in plain(words(page))


def test_labo_takes_pasted_sentences_where_none_ship(open_screen: Open, birds: Workspace, words: Words) -> None:
    page = open_screen("build", dataset="birds", show="Build a model", method="labo")
    assert not page.button(key="method_labo").disabled
    assert page.button(key="fit").disabled
    page.text_area(key="fit_sentences_paste").set_value("tern:\n- forked tail\n\nwren:\n- short tail").run()
    assert not page.button(key="fit").disabled
    page.button(key="fit").click().run()

    assert not page.exception
    (job,) = jobs.jobs(birds)
    assert job.params["candidates"] == {"tern": ["forked tail"], "wren": ["short tail"]}


def test_labo_waits_until_every_class_has_a_sentence(open_screen: Open, birds: Workspace, words: Words) -> None:
    page = open_screen("build", dataset="birds", show="Build a model", method="labo")
    page.text_area(key="fit_sentences_paste").set_value("tern:\n- forked tail").run()

    assert not page.exception
    assert "the class 'wren' is not among the candidates" in plain(words(page))
    assert page.button(key="fit").disabled


def test_v2c_takes_words_of_ones_own(open_screen: Open, birds: Workspace) -> None:
    page = open_screen("build", dataset="birds", show="Build a model", method="v2c")
    page.text_area(key="fit_words_own").set_value("forked tail\nred crown").run()
    page.button(key="fit").click().run()

    assert not page.exception
    assert jobs.jobs(birds)[0].params["vocabulary"] == ["forked tail", "red crown"]
