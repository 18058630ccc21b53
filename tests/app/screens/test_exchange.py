"""The screens Export, Settings and Help."""

import csv
import io
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest

from app import exports, store
from app.glossary import METRICS
from app.ui.measured import figure
from app.workspace import Workspace
from cbm.edits import DropConcept, RenameConcept
from cbm.errors import BundleError, UsageError
from cbm.io import fingerprint
from cbm.methods import MODULES
from probes import metrics as measures
from probes.intervals import Estimate

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]


def test_the_screen_shows_the_edits_and_the_checksum(open_screen: Open, shore: Workspace, words: Words) -> None:
    store.append(shore, "shore-posthoc", [DropConcept("water")])

    page = open_screen("export", dataset="shore", model="shore-posthoc")

    assert not page.exception
    assert "1. Drop “water”" in words(page)
    printed = [block.value for block in page.code]
    assert fingerprint(store.model(shore, "shore-posthoc")) in printed


def test_a_bundle_comes_back_as_the_same_model_on_its_data_set(shore: Workspace, tmp_path: Path) -> None:
    store.append(shore, "shore-posthoc", [DropConcept("water")])

    done = exports.write_bundle(shore, "shore-posthoc", tmp_path / "final.zip")
    row = exports.import_bundle(shore, done.path, "again")

    assert (row.fingerprint, row.dataset) == (done.fingerprint, "shore")
    assert done.edits == ("Drop “water”",)
    assert len(done.sha256) == 64


def test_a_bundle_is_written_to_a_path_of_the_server(open_screen: Open, shore: Workspace, tmp_path: Path) -> None:
    page = open_screen("export", dataset="shore", model="shore-posthoc")
    page.text_input(key="bundle_path").set_value(str(tmp_path / "out" / "m.zip")).run()
    page.button(key="write_bundle").click().run()

    assert not page.exception
    assert (tmp_path / "out" / "m.zip").is_file()


def test_a_file_that_is_no_bundle_is_refused_in_words(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("export", show="Bring in")
    page.file_uploader(key="bundle_file").upload("odd.zip", b"PK\x03\x04 not really").run()
    page.button(key="import_bundle").click().run()

    assert not page.exception
    assert len(page.error) == 1
    assert [row.name for row in store.models(shore)] == ["shore-posthoc"]
    assert list((shore.settings.home / "uploads").iterdir()) == []


def test_a_zip_file_of_the_labelfree_project_becomes_a_model(
    open_screen: Open, shore: Workspace, tmp_path: Path
) -> None:
    sent = tmp_path / "lf.zip"
    tensors = {"W_c": (2, 4), "W_g": (3, 2), "b_g": (3,), "proj_mean": (1, 2), "proj_std": (1, 2)}
    with zipfile.ZipFile(sent, "w") as archive:
        for name, shape in tensors.items():
            torch.save(torch.ones(shape), tmp_path / f"{name}.pt")
            archive.write(tmp_path / f"{name}.pt", f"shore_lf/{name}.pt")
        archive.writestr("shore_lf/concepts.txt", "water\nsmall\n")

    page = open_screen("export", show="Bring in")
    page.text_area(key="labelfree_classes").set_value("gull\nwren\ncrow\n").run()
    page.text_input(key="labelfree_encoder").set_value("test:shore").run()
    page.file_uploader(key="bundle_file").upload("lf.zip", sent.read_bytes()).run()
    page.button(key="import_bundle").click().run()

    assert not page.exception
    row = store.model_row(shore, "lf")
    assert (row.method, row.dataset, row.encoder) == ("labelfree", "shore", "test:shore")
    assert store.model(shore, "lf").concepts == ("water", "small")


def test_names_that_a_spreadsheet_would_compute_are_kept_from_it(shore: Workspace, tmp_path: Path) -> None:
    store.append(shore, "shore-posthoc", [RenameConcept("water", "=1+1")])

    count = exports.write_explanations(shore, "shore-posthoc", tmp_path / "a.csv", split="test")

    text = (tmp_path / "a.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == count == 12
    assert not any(cell.startswith(("=", "@")) for row in rows for cell in [*row, *row.values()])


def test_without_a_data_set_there_is_nothing_to_explain(shore: Workspace, tmp_path: Path) -> None:
    store.add_model(shore, "loose", replace(store.base_model(shore, "shore-posthoc"), classes=("a", "b", "c")))

    with pytest.raises(UsageError, match="does not belong to a data set"):
        exports.write_explanations(shore, "loose", tmp_path / "a.csv")
    with pytest.raises(BundleError):
        exports.import_bundle(shore, tmp_path / "nothing.zip", "x")


def test_settings_hide_the_database_password(
    open_screen: Open, shore: Workspace, monkeypatch: pytest.MonkeyPatch, words: Words
) -> None:
    monkeypatch.setattr("app.commands.health.examine", lambda settings: iter(()))

    page = open_screen("settings")

    assert not page.exception
    table = page.dataframe[0].value.set_index("setting")
    assert table.loc["database url", "value"].startswith("sqlite:///")
    assert [metric.value for metric in page.metric] == ["1", "48", "0", "1"]


def test_a_database_url_is_shown_without_its_password(shore: Workspace) -> None:
    from sqlalchemy import make_url

    settings = replace(shore.settings, database_url="postgres://me:secret@host/db")

    assert "secret" not in make_url(settings.url).render_as_string(hide_password=True)


@pytest.mark.parametrize("show", ["First steps", "Methods", "Words", "Numbers", "Keys"])
def test_every_page_of_the_help_opens(open_screen: Open, show: str) -> None:
    assert not open_screen("help", show=show).exception


@pytest.mark.parametrize("method", MODULES)
def test_every_method_has_a_page_with_its_options(open_screen: Open, method: str, words: Words) -> None:
    page = open_screen("help", show="Methods", method=method)

    assert not page.exception
    assert page.selectbox(key="method").value == method


def test_every_metric_is_explained() -> None:
    assert set(METRICS) == {
        *measures._MEASURES, *measures.control_fits.CONTROLS, *measures.ANEC, *measures.RANDOM_ANEC,
    }  # fmt: skip


def test_numbers_carry_their_interval_and_count() -> None:
    value = Estimate(0.95, 0.835, 0.986, 40)

    assert figure("accuracy", value) == "95.0 % (83.5 to 98.6, n = 40)"
    assert figure("nec", Estimate(8.3, 8.3, 8.3, 20)) == "8.3"


def test_a_bundle_carries_a_card_licences_and_whom_to_cite(shore: Workspace, tmp_path: Path) -> None:
    done = exports.write_bundle(shore, "shore-posthoc", tmp_path / "hub")

    assert "Post-hoc CBM" in (done.path / "README.md").read_text()
    assert "yuksekgonul2023posthoc" in (done.path / "CITATION.bib").read_text()
    assert "is not among these files" in (done.path / "LICENSES").read_text()


def test_the_card_of_an_edited_model_has_its_own_figures_or_none(shore: Workspace, tmp_path: Path) -> None:
    store.append(shore, "shore-posthoc", [DropConcept("water")])

    assert "Nothing was measured." in exports.card_of(shore, "shore-posthoc")
    exports.write_bundle(shore, "shore-posthoc", tmp_path / "hub", measure=True)
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "Drop “water”" in card
    assert "Control: Random concepts" in card


def test_the_report_is_one_page_that_asks_for_nothing(shore: Workspace, tmp_path: Path) -> None:
    store.append(shore, "shore-posthoc", [RenameConcept("water", "<script>alert(1)</script>")])

    page = exports.write_report(shore, "shore-posthoc", tmp_path / "report.html").read_text()

    assert "data:image/jpeg;base64," in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert "What each class is told by" in page


def test_the_screen_offers_a_report_onnx_and_the_card(open_screen: Open, shore: Workspace, words: Words) -> None:
    page = open_screen("export", dataset="shore", model="shore-posthoc")

    assert not page.exception
    assert "## Model details" in words(page)
    assert {"download_html", "download_onnx"} <= {element.key for element in page.get("download_button")}
