"""The screen Intervene: moving a concept moves the decision, and nothing that was moved is lost."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from app import store
from app.workspace import Workspace

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]
IMAGE = "036.png"  # a gull on land, taken for a crow
WATER = f"score|shore-posthoc|{IMAGE}|water"


def test_moving_the_concept_to_blame_flips_the_decision(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("intervene", image=IMAGE)
    assert page.slider(key=WATER).value == pytest.approx(-1.0)

    page.slider(key=WATER).set_value(1.0).run()

    assert "**crow** becomes **gull**" in words(page)
    assert "gull: place 3 to 1" in words(page)


def test_a_draft_survives_a_refresh_and_a_second_tab(open_screen: Open, shore: Workspace) -> None:
    open_screen("intervene", image=IMAGE).slider(key=WATER).set_value(0.5).run()

    page = open_screen("intervene", image=IMAGE)

    assert page.slider(key=WATER).value == pytest.approx(0.5, abs=0.01)
    assert store.draft(shore, "shore-posthoc", IMAGE)["water"] == pytest.approx(0.5, abs=0.01)


def test_unknown_is_the_mean_of_the_training_images(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("intervene", image=IMAGE)
    page.toggle(key=f"unknown|shore-posthoc|{IMAGE}|water").set_value(True).run()

    mean = (1 - 1 - 1) / 3  # gulls on water, wrens and crows on land
    assert store.draft(shore, "shore-posthoc", IMAGE) == {"water": pytest.approx(mean, abs=1e-3)}
    assert page.toggle(key=f"unknown|shore-posthoc|{IMAGE}|water").value is True


def test_reset_gives_one_concept_or_all_back_to_the_model(open_screen: Open, shore: Workspace) -> None:
    store.save_draft(shore, "shore-posthoc", IMAGE, {"water": 0.5, "small": 0.5})
    page = open_screen("intervene", image=IMAGE)

    page.button(key=f"reset|shore-posthoc|{IMAGE}|small").click().run()
    assert set(store.draft(shore, "shore-posthoc", IMAGE)) == {"water"}

    page.button(key="reset_all").click().run()
    assert store.draft(shore, "shore-posthoc", IMAGE) == {}
    assert page.slider(key=WATER).value == pytest.approx(-1.0)


def test_keeping_changes_makes_them_edits_of_the_model(open_screen: Open, shore: Workspace) -> None:
    store.save_draft(shore, "shore-posthoc", IMAGE, {"water": 0.5})
    open_screen("intervene", image=IMAGE).button(key="keep").click().run()

    (edit,) = store.history(shore, "shore-posthoc").edits
    assert (edit.concept, edit.value) == ("water", 0.5)
    assert store.draft(shore, "shore-posthoc", IMAGE) == {}


def test_a_draft_that_names_a_concept_of_an_earlier_version_is_harmless(open_screen: Open, shore: Workspace) -> None:
    store.save_draft(shore, "shore-posthoc", IMAGE, {"gone": 1.0})

    assert not open_screen("intervene", image=IMAGE).exception
