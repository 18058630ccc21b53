"""Intervene before a model that infers its scores: correcting the white wing moves the small, and conditionals are shown."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from shore import CLASSES, CONCEPTS, fill
from streamlit.testing.v1 import AppTest

from app.workspace import Workspace
from cbm.energy import initial
from cbm.energy_parts import parts_of
from cbm.model import ConceptModel, Recipe

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]


def bound() -> ConceptModel:
    """Concepts that the image says nothing of, of which the first two share one hidden unit: together, or neither."""
    usual = torch.full((4,), 0.5)
    parts = parts_of(
        initial(4, 4, 3, 2, torch.Generator().manual_seed(0)),
        torch.ones(3),
        usual=usual,
        centre=torch.zeros(4),
        scale=1.0,
    )
    change = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [0.0, 0.0], [0.0, 0.0]])
    parts = replace(
        parts, concept_table=torch.zeros(4, 2), class_table=torch.zeros(3, 2), start=torch.zeros(2), change=change,
        global_table=torch.full((3, 2), 4.0),
    )  # fmt: skip
    recipe = Recipe("ecbm", encoder_id="test:shore", contract="d" * 64, images=12)
    return ConceptModel(CONCEPTS, CLASSES, parts, parts.head, recipe)


@pytest.fixture
def shore(workspace: Workspace, tmp_path: Path) -> Workspace:
    fill(workspace, tmp_path / "shore", model=bound(), annotated=False)
    return workspace


def test_the_concept_that_depends_on_a_correction_is_listed(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("intervene", image="036.png")
    assert "Moved with your changes" not in words(page)

    page.slider(key="score|shore-posthoc|036.png|white wing").set_value(1.0).run()

    assert not page.exception
    told = words(page).split("Moved with your changes")[1]
    assert "small" in told
    assert ":material/arrow_upward:" in told


@pytest.mark.parametrize("given", ["Concepts in a class", "Concepts with a concept", "Classes with a concept"])
def test_conditional_probabilities_are_shown(open_screen: Open, shore: Workspace, words: Words, given: str) -> None:
    page = open_screen("intervene", scope="Conditionals", given=given)

    assert not page.exception
    assert "weighted draws" in words(page)


def test_the_other_screens_open(open_screen: Open, shore: Workspace) -> None:
    for screen in ("explain", "edit", "compare", "trust", "export"):
        assert not open_screen(screen).exception, screen
    assert not open_screen("explain", view="One class").exception


def test_a_set_of_changes_is_searched_when_asked_for(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("explain", image="036.png")
    assert "search found" not in words(page)

    page.button(key="search_set").click().run()

    assert not page.exception
    told = words(page) + " ".join(caption.value for caption in page.caption)
    assert "search found" in told
