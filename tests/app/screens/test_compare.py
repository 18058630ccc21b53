"""The screen Compare: models of the shore's birds, one of which does not look at the water."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from shore import MODEL
from streamlit.testing.v1 import AppTest

from app import store
from app.workspace import Workspace
from cbm.edits import PruneWeight
from cbm.heads import LinearHead
from cbm.model import ConceptModel

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]


def test_one_model_alone_is_not_compared(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("compare", dataset="shore")

    assert not page.exception
    assert "Two models are needed" in words(page)


def dry() -> ConceptModel:
    weight = MODEL.head.weight.clone()  # type: ignore[attr-defined]
    weight[:, 3] = 0
    return replace(MODEL, head=LinearHead(weight, torch.zeros(3)))


@pytest.fixture
def two(shore: Workspace) -> Workspace:
    store.add_model(shore, "dry", dry(), dataset="shore")
    return shore


def frame(page: AppTest, column: str) -> "object":
    """The table that has this column."""
    return next(f.value for f in page.dataframe if column in f.value)


def test_the_metrics_are_side_by_side_and_the_test_is_paired(open_screen: Open, two: Workspace, words: Words) -> None:
    page = open_screen("compare", dataset="shore", model="shore-posthoc", on="shifted")

    assert not page.exception
    table = frame(page, "metric").set_index("metric")
    assert list(table.columns) == ["shore-posthoc", "dry"]
    assert table.loc["Accuracy", "dry"].startswith("100 %")
    assert table.loc["Accuracy", "shore-posthoc"].startswith("0 %")
    test = frame(page, "p, corrected").iloc[0]
    assert test["accuracy gained (95 % interval)"].startswith("+100 points")
    assert (test["only shore-posthoc right"], test["only this one right"], test["images"]) == (0, 12, 12)
    assert (test["p"], test["beyond chance"]) == ("< 0.001", "yes")


def test_it_starts_with_the_model_that_is_selected_and_with_those_of_the_address(
    open_screen: Open, two: Workspace
) -> None:
    for name in ("a1", "a2", "a3", "a4"):
        store.add_model(two, name, replace(MODEL, recipe=replace(MODEL.recipe, notes=(name,))), dataset="shore")

    selected = open_screen("compare", dataset="shore", model="shore-posthoc")
    named = open_screen("compare", dataset="shore", model="shore-posthoc", models="a2")

    assert selected.multiselect(key="models").value == ["shore-posthoc", "a1", "a2", "a3"]
    assert named.multiselect(key="models").value == ["a2"]


def test_the_baseline_comes_first(open_screen: Open, two: Workspace) -> None:
    page = open_screen("compare", dataset="shore", model="shore-posthoc", baseline="dry", on="shifted")

    assert list(frame(page, "metric").columns)[1:] == ["dry", "shore-posthoc"]
    assert "only dry right" in frame(page, "p, corrected")


def test_where_they_differ_the_concept_to_blame_is_named(open_screen: Open, two: Workspace, words: Words) -> None:
    page = open_screen("compare", dataset="shore", model="shore-posthoc", on="shifted", of="Where they differ")

    assert not page.exception
    assert "only **dry** on 12" in words(page)
    figures = [json.loads(chart.proto.spec) for chart in page.get("plotly_chart")]
    own = next(f for f in figures if "margin" in str(f["layout"]["xaxis"]["title"]))
    assert own["layout"]["yaxis"]["ticktext"][0] == "water"  # of shore-posthoc, the first


@pytest.mark.parametrize("of", ["Few concepts", "Groups", "Calibration", "Corrections"])
def test_every_view_draws_both_models_or_says_why_not(open_screen: Open, two: Workspace, words: Words, of: str) -> None:
    store.append(two, "dry", [PruneWeight("small")])  # an edited head is cut at once; the other waits for a job

    page = open_screen("compare", dataset="shore", model="shore-posthoc", of=of)

    assert not page.exception
    said = words(page) + "".join(chart.proto.spec for chart in page.get("plotly_chart"))
    assert "dry" in said
    assert "shore" in said


def test_a_job_measures_controls_and_few_concepts_and_they_stay(
    open_screen: Open, two: Workspace, words: Words, work: Callable[[], None]
) -> None:
    page = open_screen("compare", dataset="shore", model="shore-posthoc", on="test", of="Few concepts")
    assert "Not measured yet" in words(page)

    page.button(key="measure").click().run()
    work()

    kept = store.model_row(two, "dry").metrics["test"]
    assert [point["level"] for point in kept["nec_curve"]["points"]] == [5, 10, 15, 20, 25, 30]
    assert {"anec_5", "anec_avg", "linear_probe_accuracy"} <= set(kept["metrics"])
    after = open_screen("compare", dataset="shore", model="shore-posthoc", on="test", of="Few concepts")
    assert "Not measured yet" not in words(after)
    assert list(frame(after, "ANEC-5")["model"]) == ["shore-posthoc", "dry", "random concepts"]
    assert not [button for button in after.button if button.key == "measure"]
