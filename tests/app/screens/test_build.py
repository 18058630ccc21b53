"""The screen Build: forms from options, reasons instead of dead buttons, and models beside their controls."""

from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest
from test_concepts import directions

from app import jobs, readings, store
from app.ui.form import as_settings, option_rows
from app.workspace import Workspace
from cbm.methods import methods, posthoc

Open, Words, Work = Callable[..., AppTest], Callable[[AppTest], str], Callable[[], None]
NUMBERS = {"value": 0.9, "low": 0.8, "high": 0.95, "n": 40}
METRICS = {
    "val": {
        "n": 40,
        "metrics": {"accuracy": NUMBERS, "random_concept_accuracy": {**NUMBERS, "value": 0.85}, "nec": {**NUMBERS, "value": 3}},
        "not_computed": {"ece": "no reason"},
    }
}  # fmt: skip


def test_a_method_that_lacks_something_is_grey_and_says_what(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("build", dataset="shore", show="Build a model")

    assert not page.exception
    assert page.button(key="method_posthoc").disabled
    assert not page.button(key="method_linear-probe").disabled
    assert "It needs a concept bank" in words(page)
    assert page.button(key="fit_all").label.startswith("Fit all 1 ")


def test_the_form_is_drawn_from_the_options_and_starts_a_job(open_screen: Open, shore: Workspace) -> None:
    store.add_bank(shore, "parts", directions(), dataset="shore")
    page = open_screen("build", dataset="shore", show="Build a model", method="posthoc")
    page.number_input(key="option_posthoc_nec").set_value(2).run()
    page.selectbox(key="option_posthoc_loss").set_value("one-vs-rest").run()
    page.button(key="fit").click().run()

    assert not page.exception
    (job,) = jobs.jobs(shore)
    assert job.params["options"] == {"nec": 2, "loss": "one-vs-rest"}
    assert (job.params["method"], job.params["bank"], job.params["name"]) == ("posthoc", "parts", "shore-posthoc-2")


def test_all_methods_are_one_button(open_screen: Open, shore: Workspace) -> None:
    store.add_bank(shore, "parts", directions(), dataset="shore")
    page = open_screen("build", dataset="shore", show="Build a model")
    page.button(key="fit_all").click().run()

    fitted = {job.params["method"] for job in jobs.jobs(shore)}
    assert {"posthoc", "posthoc-hybrid", "linear-probe"} <= fitted
    assert "zero-shot" not in fitted  # the encoder of these images reads no text


def test_a_fitted_model_lands_in_the_list(open_screen: Open, shore: Workspace, work: Work, words: Words) -> None:
    page = open_screen("build", dataset="shore", show="Build a model", method="linear-probe")
    page.text_input(key="model_name_linear-probe_shore").set_value("*probe*").run()
    page.button(key="fit").click().run()
    work()

    page = open_screen("build", dataset="shore")

    assert not page.exception
    assert r"\*probe\*" in words(page)
    assert "**100 %** right on val" in words(page)


def test_what_random_directions_reach_is_said_beside_the_accuracy(
    open_screen: Open, shore: Workspace, words: Words
) -> None:
    store.set_metrics(shore, "shore-posthoc", METRICS)

    page = open_screen("build", dataset="shore")

    assert not page.exception
    assert "the names explain little of the accuracy" in words(page)


def test_models_are_renamed_and_deleted(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("build", dataset="shore", model="shore-posthoc")
    page.text_input(key="rename_shore-posthoc").set_value("mine").run()
    page.button(key="rename_go_shore-posthoc").click().run()
    assert [row.name for row in store.models(shore)] == ["mine"]

    page.button(key="delete_mine").click().run()

    assert not page.exception
    assert store.models(shore) == []


@pytest.mark.parametrize("method", methods(), ids=lambda method: method.name)
def test_every_option_of_every_method_can_be_told(method: object) -> None:
    for name, _, bounds, help in option_rows(method.config):  # type: ignore[attr-defined]
        assert name
        assert bounds
        assert help


def test_options_become_settings_of_the_command() -> None:
    assert as_settings({"nec": None, "alpha": 0.5}) == ["--set", "nec=none", "--set", "alpha=0.5"]
    assert option_rows(posthoc.Config)[0][:3] == ("nec", "10", "1 to 10000 or none")


def test_curves_are_drawn_while_a_job_runs_and_kept_with_the_model(
    open_screen: Open, shore: Workspace, work: Work, words: Words
) -> None:
    job = jobs.enqueue(
        shore, "fit", {"dataset": "shore", "encoder": "test:shore", "method": "m", "name": "shore-posthoc"}
    )
    claim = jobs.claim(shore, "test")
    for i in range(3):
        readings.keep(shore, job.id, i / 3, f"epoch {i}", {"explained_variance": i / 4, "accuracy/val": 0.5})

    page = open_screen("build", dataset="shore")

    assert not page.exception
    assert "**Explained variance**" in words(page)
    assert "val 0.5" in words(page)

    jobs.succeed(shore, claim, {"model": "shore-posthoc"})
    page = open_screen("build", dataset="shore")
    assert "**Explained variance**" not in words(page)
    page.session_state["more_shore-posthoc"] = True
    page.run()
    assert not page.exception
