"""The screen Attention, with the demo encoder and rendered birds."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

sys.path.insert(0, str(Path(__file__).parents[1]))  # tests are imported without packages
from colour_encoder import ColourEncoder

from app.probing import HEADS, heads_params, layers_params, probed
from app.ui.head_measures import GATES
from app.workspace import Workspace

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]


def test_switching_a_head_off_shows_the_decision_without_it(open_screen: Open, birds: Workspace, words: Words) -> None:
    page = open_screen("attention", image="2.png", concept="forked tail", head="4.3")
    assert not page.exception
    assert not page.error
    assert page.selectbox(key="head").value == "4.3"
    assert "to the score of forked tail" in words(page)
    assert "Switch heads off" in words(page)

    page.button(key="switch").click().run()

    assert not page.exception
    assert page.multiselect(key="off").value == ["4.3"]
    assert "with 1 head off" in words(page)
    page.button(key="all_on").click().run()
    assert page.multiselect(key="off").value == []
    assert "Switch heads off" in words(page)


def test_a_link_restores_the_heads_that_are_off(open_screen: Open, birds: Workspace, words: Words) -> None:
    page = open_screen("attention", image="2.png", off="6.4")

    assert page.multiselect(key="off").value == ["6.4"]
    assert "with 1 head off" in words(page)


def test_a_place_has_its_concepts(open_screen: Open, birds: Workspace, words: Words) -> None:
    page = open_screen("attention", image="2.png")

    page.selectbox(key="place").set_value("row 8, column 8").run()

    assert not page.exception
    assert "all places and a rest sum to each score" in words(page)


def test_the_heads_are_measured_by_a_job_and_kept(
    open_screen: Open, birds: Workspace, work: Callable[[], None], words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HEADS, "images", 2)
    monkeypatch.setattr("app.probing._drawn", lambda *_: torch.arange(2))  # of three, one a split
    page = open_screen("attention", look="Heads")
    assert "Nothing is measured yet" in words(page)

    page.button(key="measure_heads").click().run()
    work()
    page = open_screen("attention", look="Heads")

    assert not page.exception
    assert not page.error
    assert "mean over 2 images" in words(page)
    assert page.button(key="learn_gates")
    found = probed(birds, "heads", heads_params("birds-text", "main"))
    assert found is not None
    assert len(found["ablation"]) == 6
    assert probed(birds, "heads", heads_params("birds-text", "main", concept="forked tail")) is None


def test_learned_gates_say_which_heads_can_go(
    open_screen: Open, birds: Workspace, work: Callable[[], None], words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(HEADS, "images", 2)
    monkeypatch.setitem(GATES, "steps", 3)
    monkeypatch.setitem(GATES, "seeds", 1)
    monkeypatch.setattr("app.probing._drawn", lambda *_: torch.arange(2))  # of three, one a split
    open_screen("attention", look="Heads").button(key="learn_gates").click().run()
    work()

    page = open_screen("attention", look="Heads")

    assert not page.exception
    assert not page.error
    assert "of 24 heads can go" in words(page)
    assert "Kendall" in words(page)
    assert "learn_gates" not in {button.key for button in page.button}


def test_a_concept_of_too_few_images_is_refused_in_words(
    open_screen: Open, birds: Workspace, work: Callable[[], None], words: Words
) -> None:
    page = open_screen("attention", look="Layers", concept="forked tail")
    page.button(key="probe_layers").click().run()
    work()

    page = open_screen("attention", look="Layers", concept="forked tail")

    assert not page.exception
    assert "training images" in words(page)
    assert probed(birds, "layers", layers_params("birds-text", "main", "forked tail")) is None


def test_an_encoder_without_attention_says_so(
    open_screen: Open, shore: Workspace, words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.load_encoder", lambda ws, id: ColourEncoder())

    page = open_screen("attention", image="036.png")

    assert not page.exception
    assert "This encoder has no attention to look into" in words(page)
