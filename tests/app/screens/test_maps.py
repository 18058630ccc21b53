"""The maps of the screen Explain, with the demo encoder and a rendered bird."""

from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from app.workspace import Workspace

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]


def test_the_maps_stand_beside_what_the_encoder_saw(open_screen: Open, birds: Workspace, words: Words) -> None:
    page = open_screen("explain", image="2.png", why="Where")

    assert not page.exception
    assert not page.error
    assert "What the encoder sees" in words(page)
    for concept in ("water background", "forked tail", "red\\_crown"):
        assert f"**{concept}**" in words(page)
    assert "add up to the score exactly" in words(page)
    assert any("pellucid probe maps birds-text 2.png" in code.value for code in page.code)


def test_the_slider_changes_the_maps_and_nothing_else(open_screen: Open, birds: Workspace, words: Words) -> None:
    page = open_screen("explain", image="2.png", why="Where")
    before = words(page)

    page.slider(key="opacity").set_value(0).run()

    assert not page.exception
    assert words(page) == before


def test_until_the_tab_is_opened_no_encoder_is_loaded(open_screen: Open, birds: Workspace, words: Words) -> None:
    page = open_screen("explain", image="2.png")

    assert [tab.label for tab in page.tabs] == ["What each concept adds", "How it adds up", "Where"]
    assert "What the encoder sees" not in words(page)


def test_an_encoder_that_has_no_places_has_no_tab(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("explain", image="036.png")

    assert [tab.label for tab in page.tabs] == ["What each concept adds", "How it adds up"]


def test_several_methods_stand_one_below_the_other_each_with_its_scale(
    open_screen: Open, birds: Workspace, words: Words
) -> None:
    page = open_screen("explain", image="2.png", why="Where", maps_by=["Decomposition", "Occlusion", "Rollout"])

    assert not page.exception
    assert not page.error
    said = words(page)
    for label in ("**Decomposition** :gray", "**Occlusion** :gray", "**Rollout** :gray"):
        assert label in said
    assert "Rollout knows no concepts" in said
    assert any("--method decomposition --method rollout --method occlusion" in code.value for code in page.code)


def test_on_intervene_the_maps_wait_behind_an_expander(open_screen: Open, birds: Workspace, words: Words) -> None:
    page = open_screen("intervene", image="2.png")

    assert not page.exception
    assert "Where the model sees these concepts" in [box.label for box in page.expander]
    assert "What the encoder sees" not in words(page)
