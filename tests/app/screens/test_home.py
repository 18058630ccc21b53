"""The screen Home: it finds the mistake that one concept explains, and leads through the correction."""

from collections.abc import Callable

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
