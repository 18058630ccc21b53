"""Every screen keeps the house rules: no complaint in the console or the log, no scrolling sideways, words for pictures."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from server import Server
from tab import Tab

import app

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
SCREENS = sorted(path.stem for path in Path(app.__file__).with_name("screens").glob("[a-z]*.py"))
NARROW = 800
# Streamlit draws a picture without words for its own canvas and for the icon font's glyphs, which are hidden or named.
WORDLESS = """() => [...document.querySelectorAll("[data-testid=stMain] img, [data-testid=stMain] [role=img]")]
    .filter(e => e.checkVisibility() && !e.closest("[aria-hidden=true]"))
    .filter(e => !(e.getAttribute("alt") || e.getAttribute("aria-label") || "").trim()).map(e => e.outerHTML.slice(0, 200))"""
UNSEEN = """() => [...document.querySelectorAll("[data-testid=stMain] img")]
    .filter(e => e.complete && !e.naturalWidth).map(e => e.src)"""
SIDEWAYS = """() => [document.documentElement, document.querySelector("[data-testid=stMain]")]
    .map(e => e.scrollWidth - e.clientWidth)"""


@pytest.mark.parametrize("screen", SCREENS)
def test_a_screen_fits_a_narrow_window_and_says_its_pictures(open_tab: Callable[..., Tab], screen: str) -> None:
    tab = open_tab("" if screen == "home" else screen, width=NARROW)

    expect(tab.main.get_by_text("error of ours")).to_have_count(0)
    assert tab.page.evaluate(SIDEWAYS) == [0, 0]
    assert tab.page.evaluate(WORDLESS) == []
    assert tab.page.evaluate(UNSEEN) == []
    # that the console stayed silent is asserted for every test, by `open_tab`


def test_the_server_has_nothing_to_complain_about(open_tab: Callable[..., Tab], server: Server) -> None:
    open_tab()

    log = server.log.read_text()

    assert [line for line in log.splitlines() if "Traceback" in line or "deprecat" in line.lower()] == []
