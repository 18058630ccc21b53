"""The screen Compare: two models of the shore's birds, one of which does not look at the water."""

from collections.abc import Callable
from dataclasses import replace

import torch
from shore import MODEL
from streamlit.testing.v1 import AppTest

from app import store
from app.ui.side_by_side import Pair
from app.workspace import Workspace
from cbm.heads import LinearHead

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]


def test_one_model_alone_is_not_compared(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("compare", dataset="shore")

    assert not page.exception
    assert "Two models are needed" in words(page)


def test_the_images_that_only_one_gets_right_are_counted(open_screen: Open, shore: Workspace, words: Words) -> None:
    weight = MODEL.head.weight.clone()  # type: ignore[attr-defined]
    weight[:, 3] = 0
    dry = replace(MODEL, head=LinearHead(weight, torch.zeros(3)))
    store.add_model(shore, "dry", dry, dataset="shore")

    page = open_screen("compare", dataset="shore", on="shifted")

    assert not page.exception
    assert "**dry** on 12" in words(page)
    table = next(f.value for f in page.dataframe if "metric" in f.value).set_index("metric")
    assert table.loc["Accuracy", "dry"].startswith("100 %")
    assert table.loc["Accuracy", "shore-posthoc"].startswith("0 %")


def test_ten_against_none_is_no_chance_and_five_against_five_is() -> None:
    assert Pair(0, 0, tuple("abcdefghij"), ()).p_value == 2 / 2**10
    assert Pair(9, 1, tuple("abcde"), tuple("fghij")).p_value == 1.0
    assert Pair(9, 1, (), ()).p_value == 1.0
