"""Nothing that a person says of a model is lost: not by a refresh, not by a server that stops, not by a second tab."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect
from server import Server
from tab import Tab

from app import store
from app.workspace import Workspace
from cbm.edits import PruneWeight

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
Open = Callable[..., Tab]


def prune(tab: Tab, concept: str) -> None:
    """Prune a concept for every class on the screen Edit."""
    tab.choose("Concept that should not count", concept)
    tab.says(f"Prune “{concept}” for every class")  # the change is previewed
    tab.press("Save edit")
    expect(listed(tab, concept)).to_be_visible()


def listed(tab: Tab, concept: str) -> Locator:
    """The line of the list of edits that prunes a concept."""
    return tab.main.get_by_role("listitem").filter(has_text=f"Prune “{concept}” for every class")


def test_edits_and_drafts_survive_a_refresh_and_a_new_server(
    open_tab: Open, ws: Workspace, model: str, server: Server
) -> None:
    tab = open_tab("edit", dataset="birds", model=model)
    prune(tab, "water background")
    prune(tab, "land background")
    tab.press("Undo")
    tab.says("undone: Prune “land background” for every class")
    tab.menu("Intervene")
    slider = tab.main.get_by_role("slider").first
    slider.press("Home")
    tab.says("1 concept changed")
    moved = slider.input_value()

    tab.refresh()
    tab.says("1 concept changed")
    server.stop()
    server.start()
    tab.refresh()
    tab.complaints.clear()  # that nobody answered for a while

    tab.says("1 concept changed")
    expect(tab.main.get_by_role("slider").first).to_have_value(moved)
    tab.menu("Edit")
    expect(listed(tab, "water background")).to_be_visible()
    tab.press("Redo")
    expect(listed(tab, "land background")).to_be_visible()
    assert store.history(ws, model).edits == (PruneWeight("water background"), PruneWeight("land background"))


def test_two_tabs_that_edit_one_model_lose_nothing(open_tab: Open, ws: Workspace, model: str) -> None:
    first = open_tab("edit", dataset="birds", model=model)
    second = open_tab("edit", dataset="birds", model=model)

    prune(first, "water background")
    prune(second, "red crown")
    assert store.history(ws, model).edits == (PruneWeight("water background"), PruneWeight("red crown"))

    first.press("Undo")  # it has not seen the second tab's edit, which would be the one undone
    first.says("have changed since you looked at them")
    assert len(store.history(ws, model).edits) == 2
    expect(listed(first, "red crown")).to_be_visible()
    first.press("Undo")
    first.says("undone: Prune “red crown” for every class")
    assert store.history(ws, model).edits == (PruneWeight("water background"),)


def test_the_address_alone_shows_the_same_view_to_somebody_else(open_tab: Open, model: str) -> None:
    tab = open_tab("explain", dataset="birds", model=model, image="test-000007")
    tab.choose("Explain the logit of", "Lochlet")
    expect(tab.main.get_by_role("figure", name=re.compile("for and against Lochlet"))).to_be_visible()

    other = open_tab()
    other.page.goto(tab.page.url)
    other.settled()

    other.says("test-000007 (")
    expect(other.main.get_by_role("figure", name=re.compile("for and against Lochlet"))).to_be_visible()
