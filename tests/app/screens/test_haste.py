"""Who types and presses a button at once gets what was typed: the browser sends both together, before the page has run."""

from collections.abc import Callable
from pathlib import Path

import torch
from streamlit.testing.v1 import AppTest

from app import jobs, store
from app.workspace import Workspace
from cbm.bank import ConceptBank, Origin, Quality
from cbm.edits import PruneWeight

Open, Work = Callable[..., AppTest], Callable[[], None]


def directions() -> ConceptBank:
    """The four concepts of the shore."""
    names = ("white wing", "small", "black wing", "water")
    origin = tuple(Origin("text", name) for name in names)
    return ConceptBank(
        names, torch.eye(4), torch.zeros(4), origin, tuple(Quality() for _ in names), "test:shore", "d" * 64
    )


def test_a_data_set_gets_the_name_that_was_just_typed(
    open_screen: Open, shore: Workspace, work: Work, tmp_path: Path
) -> None:
    check = jobs.enqueue(shore, "check", {"path": str(tmp_path / "shore"), "layout": "auto"})
    for class_ in ("gull", "wren"):
        (tmp_path / "shore" / class_).mkdir()
        for path in (tmp_path / "shore").glob("*.png"):
            (tmp_path / "shore" / class_ / path.name).write_bytes(path.read_bytes() + class_.encode())
    work()
    page = open_screen("data", show="Import", check=str(check.id))

    page.text_input(key="import_name").set_value("beach")
    page.button(key="import").click().run()

    assert jobs.jobs(shore)[0].params["name"] == "beach"


def test_a_bank_gets_the_name_that_was_just_typed(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("concepts", dataset="shore")

    page.text_area(key="bank_texts").set_value("striped wing")
    page.text_input(key="bank_name_From phrases").set_value("words")
    page.button(key="build_bank").click().run()

    assert (jobs.jobs(shore)[0].params["name"], jobs.jobs(shore)[0].params["texts"]) == ("words", ["striped wing"])


def test_a_model_gets_the_name_and_the_options_that_were_just_typed(open_screen: Open, shore: Workspace) -> None:
    store.add_bank(shore, "parts", directions(), dataset="shore")
    page = open_screen("build", dataset="shore", show="Build a model", method="posthoc")

    page.number_input(key="option_posthoc_nec").set_value(2)
    page.text_input(key="model_name_posthoc_shore").set_value("sparse")
    page.button(key="fit").click().run()

    assert (jobs.jobs(shore)[0].params["name"], jobs.jobs(shore)[0].params["options"]) == ("sparse", {"nec": 2})


def test_an_edit_that_was_not_previewed_is_not_saved(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("edit", concept="water")

    page.selectbox(key="choose_concept").set_value("small")
    page.button(key="save").click().run()

    assert store.history(shore, "shore-posthoc").edits == ()
    assert "form has changed since this preview" in page.error[0].value
    page.button(key="save").click().run()
    assert store.history(shore, "shore-posthoc").edits == (PruneWeight("small"),)
