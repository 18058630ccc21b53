"""The screen of test-time fixes: on the shore it masks the water, live, and keeps that on a branch of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from shore import fill
from streamlit.testing.v1 import AppTest

from app import store
from app.workspace import Workspace

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]


@pytest.fixture
def coast(workspace: Workspace, tmp_path: Path) -> Workspace:
    """The workspace with eight birds of each kind in each split."""
    fill(workspace, tmp_path / "shore", each=8)
    return workspace


def numbers(page: AppTest) -> dict[str, tuple[str, str]]:
    """Accuracy and what it gains, by split."""
    return {metric.label: (metric.value, metric.delta) for metric in page.metric}


def water(page: AppTest):
    """The slider of the water."""
    return next(slider for slider in page.slider if "water" in slider.label)


def test_the_water_is_found_masked_and_kept_on_a_branch(open_screen: Open, coast: Workspace, words: Words) -> None:
    page = open_screen("fix")

    assert not page.exception
    assert "New place" in [box.label for box in page.selectbox]
    assert (water(page).value, "misactivated" in water(page).label) == (0.0, True)
    assert numbers(page) == {"On shifted": ("100 %", "+100.0 points"), "On test": ("100 %", "no change")}
    assert "n = 12; in the new place" in words(page)  # 24 without the support

    page.button(key="keep").click().run()

    assert store.history(coast, "shore-posthoc").edits == ()
    [edit] = store.history(coast, "shore-posthoc", "shifted").edits
    assert edit.mask == ("water",)
    assert page.query_params["version"] == "shifted"


def test_a_slider_changes_the_numbers_at_once(open_screen: Open, coast: Workspace) -> None:
    page = open_screen("fix")
    water(page).set_value(1.0).run()

    assert numbers(page) == {"On shifted": ("0 %", ""), "On test": ("100 %", "")}
    assert page.button(key="keep").disabled


def test_a_fix_that_costs_the_source_asks_twice(open_screen: Open, coast: Workspace) -> None:
    page = open_screen("fix")
    water(page).set_value(3.0).run()
    page.multiselect[0].set_value(["small"]).run()
    next(slider for slider in page.slider if "small" in slider.label).set_value(0.0).run()

    assert numbers(page)["On test"] == ("66.7 %", "-33.3 points")  # wrens are taken for crows
    assert page.button(key="keep").disabled
    page.checkbox(key="sure").check().run()
    assert not page.button(key="keep").disabled


def test_detaching_takes_the_fix_back_and_the_branch_can_go(open_screen: Open, coast: Workspace, words: Words) -> None:
    open_screen("fix").button(key="keep").click().run()
    page = open_screen("fix", model="shore-posthoc", version="shifted")
    assert "This version masks water" in words(page)

    page.button(key="detach").click().run()
    past = store.history(coast, "shore-posthoc", "shifted")
    assert (len(past.edits), len(past.undone)) == (0, 1)

    store.redo(coast, "shore-posthoc", branch="shifted")
    open_screen("fix", model="shore-posthoc", version="shifted").button(key="delete_branch").click().run()
    assert store.branches(coast, "shore-posthoc") == ["main"]


def test_where_nothing_misleads_nothing_is_changed(open_screen: Open, coast: Workspace, words: Words) -> None:
    page = open_screen("fix", place="val")

    assert "Nothing was found that helps" in words(page)
    assert page.button(key="keep").disabled


def test_images_can_be_picked_by_eye(open_screen: Open, coast: Workspace, words: Words) -> None:
    page = open_screen("fix", support="Pick")
    data = store.training_set(coast, "shore", "test:shore")
    for class_ in data.classes:
        page.selectbox(key="support_class").set_value(class_).run()
        for i, id in enumerate(data.ids):
            if data.splits[i] == "shifted" and data.classes[int(data.labels[i])] == class_ and i % 8 < 2:
                page.button(key=f"support|{id}").click().run()

    assert not page.exception
    assert "Picked: gull 2, wren 2, crow 2" in words(page)
    assert water(page).value == 0.0


def test_an_image_that_is_not_there_to_draw_is_said_in_words(open_screen: Open, coast: Workspace) -> None:
    page = open_screen("fix", each="16")

    assert not page.exception
    assert "has 8 images in shifted, fewer than 16" in page.error[0].value
