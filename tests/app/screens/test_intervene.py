"""The screen Intervene: moving a concept moves the decision, and nothing that was moved is lost."""

from collections.abc import Callable
from pathlib import Path

import pytest
import streamlit as st
from shore import fill
from streamlit.testing.v1 import AppTest

from app import store
from app.casebook import casebook
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


@pytest.fixture
def annotated(workspace: Workspace, tmp_path: Path) -> Workspace:
    """The workspace with birds whose wings and size are annotated."""
    fill(workspace, tmp_path / "shore", annotated=True)
    return workspace


def test_many_images_show_every_policy_and_what_it_is_worth(
    open_screen: Open, annotated: Workspace, words: Words
) -> None:
    page = open_screen("intervene", scope="Many images", split="shifted")

    (areas,) = (frame.value for frame in page.dataframe if "area under the curve" in frame.value)
    assert not page.exception
    assert set(areas["policy"]) >= {"random", "contribution", "best possible"}
    assert "right on **0 %** of 12 images" in words(page)  # the water outvotes every bird there
    assert "Right concepts alone do not help here" in words(page)  # since nobody corrects the water


def test_of_many_images_some_are_drawn_and_it_says_so(
    open_screen: Open, annotated: Workspace, words: Words, monkeypatch: pytest.MonkeyPatch
) -> None:
    st.cache_resource.clear()  # other tests asked about the same birds
    monkeypatch.setattr("app.ui.many_images.MOST_IMAGES", 6)

    text = words(open_screen("intervene", scope="Many images", split="shifted"))

    assert "right on **0 %** of 6 images" in text
    assert "Of the 12 images 6 are drawn" in text


def test_experts_who_err_and_groups_are_in_the_curves_and_the_command(
    open_screen: Open, annotated: Workspace, words: Words
) -> None:
    page = open_screen("intervene", scope="Many images", error="50", groups="true")

    assert not page.exception
    assert "with 2 groups corrected" in words(page)  # white wing and black wing are one, small is the other
    assert any("--error 0.5 --groups" in code.value for code in page.code)


def test_taking_concepts_away_is_said_to_tell_nothing(open_screen: Open, annotated: Workspace, words: Words) -> None:
    page = open_screen("intervene", scope="Many images", to="unknown")

    assert not page.exception
    assert "nothing is told" in " ".join(caption.value for caption in page.caption)


def test_many_images_without_annotations_say_what_is_missing(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("intervene", scope="Many images")

    assert not page.exception
    assert "the images are not annotated with concepts" in words(page)


def test_ask_next_sets_what_the_answer_stands_for(open_screen: Open, annotated: Workspace) -> None:
    page = open_screen("intervene", image=IMAGE)
    key = next(button.key for button in page.button if button.key.startswith("Yes|"))
    concept = key.split("|")[2]

    page.button(key=key).click().run()

    assert store.draft(annotated, "shore-posthoc", IMAGE)[concept] == pytest.approx(1.0, abs=0.06)
    assert key not in {button.key for button in page.button}


def test_nothing_is_asked_where_nobody_annotated(open_screen: Open, shore: Workspace, words: Words) -> None:
    assert "Ask next" not in words(open_screen("intervene", image=IMAGE))


def test_a_slider_is_read_aloud_without_markdown(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("intervene", image=IMAGE)

    slider = page.slider(key=WATER)
    assert slider.label.startswith("water, model ")
    assert not set(slider.label) & set("*:[]")


def test_every_correction_is_in_the_log_in_order(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("intervene", image=IMAGE)
    page.slider(key=WATER).set_value(1.0).run()
    page.button(key=f"reset|shore-posthoc|{IMAGE}|water").click().run()

    said, taken_back = casebook(shore, "shore-posthoc")

    assert (said.what, said.concept, said.decision) == ("set", "water", "gull")
    assert (said.before, said.after) == (pytest.approx(-1.0), pytest.approx(1.0, abs=0.02))
    assert (taken_back.what, taken_back.after, taken_back.decision) == ("reset", pytest.approx(-1.0), "crow")
    (log,) = (frame.value for frame in page.dataframe if "model decides" in frame.value)
    assert list(log["what"]) == ["reset", "set"]


def test_a_persons_own_decision_is_kept_with_confidence_and_note(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("intervene", image=IMAGE)
    key = f"shore-posthoc|{IMAGE}"
    page.selectbox(key=f"verdict|{key}").select("wren")
    page.text_input(key=f"note|{key}").set_value("<b>odd</b> wing")
    page.button(key="log").click().run()

    (entry,) = casebook(shore, "shore-posthoc")
    assert not page.exception
    assert (entry.what, entry.verdict, entry.decision, entry.text) == ("verdict", "wren", "crow", "<b>odd</b> wing")
    assert page.text_input(key=f"note|{key}").value == ""


def test_a_group_is_set_at_once_to_what_is_usual_in_a_class(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("intervene", image=IMAGE)
    key = f"shore-posthoc|{IMAGE}"
    page.multiselect(key=f"groups|{key}").select("wing").run()
    page.selectbox(key=f"several_to|{key}").select("crow").run()
    page.button(key="set_several").click().run()

    assert not page.exception
    draft = store.draft(shore, "shore-posthoc", IMAGE)
    assert draft == {"white wing": pytest.approx(0, abs=0.06), "black wing": pytest.approx(1, abs=0.06)}
    assert {entry.concept for entry in casebook(shore, "shore-posthoc")} == set(draft)
