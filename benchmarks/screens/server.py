"""What a screen costs the server: its script in this process, without a browser, by Streamlit's own test harness."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import streamlit as st
from streamlit.testing.v1 import AppTest

from benchmarks.measure import Clock, Row

MAIN = Path(__file__).parents[2] / "app" / "main.py"
AGAIN = 5  # times that a gesture is repeated
Gesture = Callable[[AppTest, int], object]


@dataclass(frozen=True)
class Screen:
    """A screen, the parameters of its address, and what people do there most.

    Attributes
    ----------
    gesture
        Does it for the first, second ... time; the page is then run again.
    """

    name: str
    does: str = ""
    gesture: Gesture | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)


def _choose(key: str) -> Gesture:
    """Another option of a list."""
    return lambda page, turn: page.selectbox(key=key).set_value(page.selectbox(key=key).options[1 + turn])


def _press(key: str) -> Gesture:
    return lambda page, turn: page.button(key=key).click()


def _page(page: AppTest, turn: int) -> None:
    page.session_state["page"] = 2 + 700 * turn


def _switch(key: str) -> Gesture:
    return lambda page, turn: page.toggle(key=key).set_value(not page.toggle(key=key).value)


def _slide(page: AppTest, turn: int) -> None:
    slider = page.slider[0]
    slider.set_value(slider.min + (slider.max - slider.min) * (0.2 + 0.1 * turn))


def _concept(page: AppTest, turn: int) -> None:
    page.query_params["concept"] = f"trait {10 + turn:02}"


def _class(page: AppTest, turn: int) -> None:
    page.query_params["class"] = f"kind {10 + turn:02}"


SCREENS = (
    Screen("home"),
    Screen("data", "another page", _page),
    Screen("data", "one class", _choose("label"), {"split": "test"}),
    Screen("data", "one concept", _choose("has")),
    Screen("data", "a page of mistakes", _page, {"decision": "wrong"}),
    Screen("data", parameters={"show": "Contents"}),
    Screen("concepts", "another concept", _concept),
    Screen("build", parameters={"show": "Models"}),
    Screen("build", parameters={"show": "Build a model"}),
    Screen("explain", "the next image", _press("go_Next")),
    Screen("explain", "only mistakes", _switch("wrong")),
    Screen("explain", "another class", _class, {"view": "One class"}),
    Screen("intervene", "a slider", _slide),
    Screen("intervene", parameters={"scope": "Many images"}),
    Screen("trust"),
    Screen("attention"),
    Screen("compare"),
    Screen("compare", parameters={"of": "Where they differ"}),
    Screen("edit", "another concept", _choose("choose_concept")),
    Screen("fix"),
    Screen("export"),
    Screen("jobs"),
    Screen("settings"),
    Screen("help"),
)


def opened(screen: Screen, **parameters: str) -> tuple[AppTest, float]:
    """The screen in a new session, and the wall seconds that its script took."""
    page = AppTest.from_file(str(MAIN), default_timeout=120)
    for name, value in {**screen.parameters, **parameters}.items():
        page.query_params[name] = value
    page.switch_page(f"screens/{screen.name}.py")
    clock = Clock()
    page.run()
    return page, clock.read()[1]


def measured(screens: tuple[Screen, ...], **parameters: str) -> list[Row]:
    """A row for each screen: seconds with empty caches, in another person's session, and of what people do there.

    Libraries are imported before, since a server imports them while its first visitor's browser loads the page.
    """
    opened(SCREENS[0], **parameters)
    rows = []
    for screen in screens:
        st.cache_resource.clear()
        st.cache_data.clear()
        first, again = opened(screen, **parameters)[1], opened(screen, **parameters)
        row: Row = {
            "screen": screen.name,
            "view": " ".join(screen.parameters.values()),
            "first_s": first,
            "again_s": again[1],
        }
        page = again[0]
        if page.exception or page.error:
            row["view"] = f"{row['view']} FAILED {[e.value for e in page.error]}"
        if screen.gesture is not None:
            taken = []
            for turn in range(AGAIN):
                screen.gesture(page, turn)
                clock = Clock()
                page.run()
                taken.append(clock.read())
            row |= {
                "does": screen.does,
                "wall_s": min(wall for _, wall in taken),
                "cpu_s": sorted(cpu for cpu, _ in taken)[AGAIN // 2],
            }
        rows.append(row)
    return rows
