"""The screen Trust, its job and its command: the shore's birds, of whose concepts three are annotated and the water is not."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from shore import MODEL, fill
from streamlit.testing.v1 import AppTest

from app import store
from app.cli import main
from app.trusting import kept_trust
from app.workspace import Workspace
from cbm.edits import RenameConcept

Open, Words, Work = Callable[..., AppTest], Callable[[AppTest], str], Callable[[], None]


@pytest.fixture
def annotated(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Twelve birds of each kind and split, whose wings are annotated."""
    exchanged = {"small": "black wing", "black wing": "small"}
    model = replace(MODEL, concepts=tuple(exchanged.get(name, name) for name in MODEL.concepts))
    fill(workspace, tmp_path / "shore", each=12, model=model, annotated=True)
    return workspace


def test_before_anybody_looked_there_is_a_button_and_after_it_the_verdicts(
    open_screen: Open, annotated: Workspace, words: Words, work: Work
) -> None:
    page = open_screen("trust", dataset="shore")
    assert not page.exception
    assert "Nobody has looked yet" in words(page)

    page.button(key="look").click().run()
    work()
    page = open_screen("trust", dataset="shore")

    assert not page.exception
    assert "Nobody has looked yet" not in words(page)
    shown = next(frame.value for frame in page.dataframe if "verdict" in frame.value).set_index("concept")
    assert shown.loc["white wing", "exists"] == 1.0
    assert shown.loc["white wing", "verdict"] != "doubtful name"
    assert shown.loc["small", "verdict"] == shown.loc["black wing", "verdict"] == "doubtful name"
    assert shown.loc["water", "verdict"] == "unchecked"
    assert "Does it exist under its name?" in words(page)


def test_verdicts_are_those_of_the_chosen_images(
    open_screen: Open, annotated: Workspace, words: Words, work: Work
) -> None:
    page = open_screen("trust", dataset="shore")
    page.button(key="look").click().run()
    work()

    assert "Nobody has looked yet" in words(open_screen("trust", dataset="shore", on="val"))


def test_the_command_gives_what_the_screen_shows_and_keeps_it_until_an_edit(annotated: Workspace) -> None:
    home = ["--workspace", str(annotated.settings.home), "-q"]

    printed = CliRunner().invoke(main, ["trust", "shore-posthoc", "--json", *home])

    assert printed.exit_code == 0, printed.output
    found = json.loads(printed.stdout)
    assert kept_trust(annotated, "shore-posthoc", "test") == found
    assert {v["concept"]: v["verdict"] for v in found["verdicts"]}["small"] == "doubtful name"
    assert found["figures"].keys() >= {"accuracy", "ctl", "comprehensiveness", "deletion_gap"}
    assert "relevance_mass" in found["not_computed"]
    lines = CliRunner().invoke(main, ["trust", "shore-posthoc", *home]).stdout
    assert "doubtful name" in lines

    store.append(annotated, "shore-posthoc", [RenameConcept("small", "tiny")], expect_version=0)

    assert kept_trust(annotated, "shore-posthoc", "test") is None


def test_an_unknown_split_is_refused(annotated: Workspace) -> None:
    printed = CliRunner().invoke(
        main, ["trust", "shore-posthoc", "--split", "tset", "--workspace", str(annotated.settings.home), "-q"]
    )

    assert printed.exit_code == 1
    assert "tset" in printed.output
