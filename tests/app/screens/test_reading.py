"""Encoders that read no text, and banks without any: what needs words is grey and says why; what text cannot do is said."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from streamlit.testing.v1 import AppTest
from test_concepts import directions

from app import store
from app.workspace import Workspace
from cbm.bank import Origin
from cbm.encoders import limits_of_text
from cbm.methods import Need

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]
BACKBONE, PHOTO = "timm:resnet18.a1_in1k", "builtin:photo"
READING = ("zero-shot", "cms", "labo", "v2c")


def seen_by(ws: Workspace, encoder: str, source: str) -> Workspace:
    """The birds as if this encoder had embedded them, with a bank "parts" that came from one source."""
    store.mark_embedded(ws, "shore", encoder, "d" * 64)
    origin = (Origin(source),) * 4  # type: ignore[arg-type]
    store.add_bank(ws, "parts", replace(directions(), encoder_id=encoder, origin=origin), dataset="shore")
    return ws


def plain(text: str) -> str:
    """A text without the signs that keep Markdown from reading it."""
    return text.replace("\\", "")


def grey(page: AppTest) -> set[str]:
    """Methods whose buttons are dead."""
    keys = {str(button.key): button.disabled for button in page.button}
    return {key.removeprefix("method_") for key, dead in keys.items() if key.startswith("method_") and dead}


@pytest.mark.parametrize("encoder", [BACKBONE, "builtin:photo-levels"])
def test_methods_that_read_text_are_grey_for_a_network_alone(
    open_screen: Open, shore: Workspace, words: Words, encoder: str
) -> None:
    seen_by(shore, encoder, "annotation")

    page = open_screen("build", **{"dataset": "shore", "show": "Build a model", "with": encoder})

    assert not page.exception
    assert page.selectbox(key="bank").value == "parts"
    assert {*READING, "labelfree", "dncbm"} <= grey(page)
    assert not {"posthoc", "posthoc-hybrid", "linear-probe", "sparse"} & grey(page)
    for need in (Need.TEXT_ENCODER, Need.TEXT_BANK, Need.TEXT_OR_ATOMS):
        assert need.value[3:40] in plain(words(page))  # the first letter is a capital there


@pytest.mark.parametrize(("source", "dead"), [("annotation", True), ("atom", True), ("text", False)])
def test_label_free_is_grey_for_a_bank_that_no_text_made(
    open_screen: Open, shore: Workspace, words: Words, source: str, dead: bool
) -> None:
    seen_by(shore, PHOTO, source)

    page = open_screen("build", **{"dataset": "shore", "show": "Build a model", "with": PHOTO})

    assert not page.exception
    assert ("labelfree" in grey(page)) is dead
    assert ("this one has no texts" in words(page)) is dead
    assert "zero-shot" not in grey(page)


@pytest.mark.parametrize("way", ["From phrases", "From a vocabulary", "From sentences"])
def test_a_bank_of_words_is_refused_in_the_form_for_a_network_alone(
    open_screen: Open, shore: Workspace, words: Words, way: str
) -> None:
    seen_by(shore, BACKBONE, "annotation")
    page = open_screen("concepts", dataset="shore", show="Build a bank", way=way)
    page.selectbox(key="bank_encoder").set_value(BACKBONE).run()

    assert not page.exception
    assert f"{BACKBONE} reads no text: its concepts come from annotated images" in plain(words(page))
    assert page.button(key="build_bank").disabled


def test_what_needs_no_words_is_offered_for_a_network_alone(open_screen: Open, shore: Workspace, words: Words) -> None:
    seen_by(shore, BACKBONE, "annotation")
    page = open_screen("concepts", dataset="shore", show="Build a bank", way="Found without words")
    page.selectbox(key="bank_encoder").set_value(BACKBONE).run()

    assert not page.exception
    assert not page.button(key="build_bank").disabled


def test_what_photo_cannot_do_from_text_is_said_where_texts_are_scored(
    open_screen: Open, shore: Workspace, words: Words
) -> None:
    seen_by(shore, PHOTO, "text")
    told = limits_of_text(PHOTO)
    concepts = open_screen("concepts", dataset="shore", show="Build a bank", way="From phrases")
    assert told not in plain(words(concepts))  # of the encoder that stands first
    concepts.selectbox(key="bank_encoder").set_value(PHOTO).run()
    looked = open_screen("concepts", dataset="shore", bank="parts")
    fitting = {"dataset": "shore", "show": "Build a model", "with": PHOTO}

    assert told
    assert told in plain(words(concepts))
    assert told in plain(words(looked))
    assert told in plain(words(open_screen("build", **fitting, method="zero-shot")))
    assert told not in plain(words(open_screen("build", **fitting, method="posthoc")))
