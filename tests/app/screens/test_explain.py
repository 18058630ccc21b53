"""The screen Explain on birds whose answers are known."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from shore import MODEL, fill
from streamlit.testing.v1 import AppTest

from app.workspace import Workspace
from cbm.heads import LinearHead

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]


def figure(page: AppTest, number: int) -> dict:
    """One of the page's Plotly figures."""
    return json.loads(page.get("plotly_chart")[number].proto.spec)


def test_an_image_shows_its_verdict_and_what_each_concept_adds(
    open_screen: Open, shore: Workspace, words: Words
) -> None:
    page = open_screen("explain", image="036.png")  # the first gull of shifted, on land

    assert not page.exception
    assert "Predicted **crow**" in words(page)
    assert "shifted, on land" in words(page).replace("\\", "")
    bars = next(f for f in [figure(page, i) for i in range(3)] if "logit of crow" in str(f["layout"]["xaxis"]["title"]))
    assert bars["layout"]["yaxis"]["ticktext"][0] == "water (low)"  # what speaks for a crow is that there is little
    assert bars["data"][0]["text"][0] == "+2.50"


def test_the_smallest_flip_names_a_concept_and_leads_to_intervene(
    open_screen: Open, shore: Workspace, words: Words
) -> None:
    page = open_screen("explain", image="036.png")

    assert "Smallest change that flips it" in words(page)


def test_where_one_concept_does_not_do_the_smallest_set_is_named(
    open_screen: Open, workspace: Workspace, tmp_path: Path, words: Words
) -> None:
    weight = 2.0 * torch.eye(3, 4)
    sure = replace(
        MODEL, head=LinearHead(weight, torch.tensor([1.0, 0.1, 0.0]))
    )  # a gull leads by 2.9; a concept moves 2
    fill(workspace, tmp_path / "shore", model=sure)

    page = open_screen("explain", image="024.png")

    assert not page.exception
    assert "No single concept" in words(page)
    assert "**2 changes together** make it **wren**, and fewer cannot" in words(page)


def test_another_class_can_be_explained(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("explain", image="036.png")
    page.selectbox(key="choose_class").select("gull").run()

    assert page.query_params["class"] == "gull"
    assert any("added to the logit of gull" in json.dumps(figure(page, i)) for i in range(3))


def test_only_mistakes_leaves_the_wrong_ones_and_next_walks_through_them(
    open_screen: Open, shore: Workspace, words: Words
) -> None:
    page = open_screen("explain", split="shifted", wrong="true", image="036.png")
    assert "1 of 12 images" in words(page)

    page.button(key="go_Next").click().run()

    assert page.query_params["image"] == "037.png"
    assert "2 of 12 images" in words(page)


def test_without_an_image_that_fits_the_screen_says_so(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("explain", split="test", wrong="true")

    assert "No image passes these filters." in words(page)


def test_a_class_shows_its_weights_and_whom_it_is_mixed_up_with(
    open_screen: Open, shore: Workspace, words: Words
) -> None:
    page = open_screen("explain", **{"view": "One class", "class": "gull"})

    assert not page.exception
    assert figure(page, 0)["layout"]["yaxis"]["ticktext"] == ["white wing", "water"]
    assert "**crow**" in words(page)  # gulls on land are taken for crows
    assert len(page.get("echarts_chart")) == 1


def test_every_chart_has_words_and_the_screen_can_be_copied(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("explain", image="036.png")

    assert all(chart.proto.alt for chart in page.get("plotly_chart"))
    assert "pellucid explain shore-posthoc 036.png" in page.code[0].value
    assert "cbm.explain(model, x)" in page.code[1].value


def test_an_unknown_model_is_named_with_what_to_do(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("explain", model="shore-posthok")

    assert not page.exception
    assert "shore-posthoc" in page.error[0].value.replace("\\", "")


def test_a_link_to_a_split_shows_its_first_image(open_screen: Open, shore: Workspace, words: Words) -> None:
    for screen in ("explain", "intervene"):
        page = open_screen(screen, split="shifted")
        assert page.selectbox(key="split").value == "shifted"
        assert "1 of 12 images" in words(page)
    assert "1 of 4 images" in words(open_screen("explain", split="shifted", label="crow"))
