"""The screen Home: it finds the mistake that one concept explains, and leads through the correction."""

from collections.abc import Callable
from pathlib import Path

from shore import fill
from streamlit.testing.v1 import AppTest

from app import jobs, store
from app.workspace import Workspace
from cbm.edits import PruneWeight

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]


def test_the_guided_path_names_the_split_that_suffers_and_the_concept_to_blame(
    open_screen: Open, shore: Workspace, words: Words
) -> None:
    page = open_screen("home")

    assert not page.exception
    assert "On the split **shifted** the model is right on 0 % of the images, and on 100 % elsewhere" in words(page)
    assert "to blame more than any other: **water**" in words(page)


def test_after_the_correction_it_says_what_that_brought(open_screen: Open, shore: Workspace, words: Words) -> None:
    store.append(shore, "shore-posthoc", [PruneWeight("water")])

    text = words(open_screen("home"))

    assert "the fitted model is right on 0 % of the images, yours on 100 %" in text
    assert "to blame more than any other" not in text


def test_the_second_half_finds_masks_and_measures_with_one_click_each(
    open_screen: Open, workspace: Workspace, tmp_path: Path, words: Words
) -> None:
    fill(workspace, tmp_path / "shore", each=8, place="the far shore")
    page = open_screen("home")
    assert "right on 100 % of the shore where it was fitted, and on 0 % of those from **the far shore**" in words(page)
    assert page.button(key="tour_mask").disabled

    page.button(key="tour_find").click().run()
    assert "**water** is misactivated: it rises by" in words(page)

    page.button(key="tour_mask").click().run()
    assert store.history(workspace, "shore-posthoc").edits == ()
    [edit] = store.history(workspace, "shore-posthoc", "the far shore").edits
    assert edit.mask == ("water",)
    assert "**0 %** becomes **100 % (75.8 to 100.0, n = 12)**, without the labelled images" in words(page)

    page.button(key="tour_back").click().run()
    assert store.branches(workspace, "shore-posthoc") == ["main"]
    assert page.button(key="tour_mask").disabled


def test_where_the_unusual_split_is_no_place_of_its_own_there_is_no_second_half(
    open_screen: Open, shore: Workspace, words: Words
) -> None:
    assert "From one place to another" not in [title.value for title in open_screen("home").subheader]


def test_models_data_sets_and_running_jobs_are_listed(open_screen: Open, shore: Workspace, words: Words) -> None:
    jobs.enqueue(shore, "embed", {"dataset": "shore", "encoder": "test:shore"})
    page = open_screen("home")

    assert "48 images of 3 classes" in words(page)
    assert "shore\\-posthoc" in words(page)
    assert len(page.get("progress")) == 1


def test_an_empty_workspace_says_how_to_begin(open_screen: Open, workspace: Workspace, words: Words) -> None:
    page = open_screen("home")

    assert not page.exception
    assert "No data set yet" in words(page)
