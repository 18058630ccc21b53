"""The log of a person's work: in order, following its model, and safe in a spreadsheet."""

import csv
import io
import json
from pathlib import Path

from click.testing import CliRunner

from app import store
from app.casebook import SET, VERDICT, Entry, casebook, record, to_csv
from app.cli import main
from app.workspace import Workspace

FIRST = Entry("=1+1.png", SET, concept="-water", before=-0.5, after=1.25, decision="gull", probability=0.75)
SECOND = Entry("b.png", VERDICT, verdict="wren", confidence="sure", text='@"quoted",\nlines')


def test_entries_come_back_in_order_with_their_time_and_follow_a_renamed_model(birds: Workspace) -> None:
    record(birds, "birds-text", [FIRST])
    record(birds, "birds-text", [SECOND])
    store.rename_model(birds, "birds-text", "renamed")

    first, second = casebook(birds, "renamed")

    assert (first.image, first.after, second.text) == (FIRST.image, FIRST.after, SECOND.text)
    assert 1.6e9 < first.time <= second.time


def test_the_file_has_a_row_an_entry_and_no_formula() -> None:
    header, first, second = csv.reader(io.StringIO(to_csv([FIRST, SECOND])))

    row = dict(zip(header, first, strict=True))
    assert (row["step"], row["time"], row["image"], row["concept"]) == (
        "1",
        "1970-01-01 00:00:00",
        "'=1+1.png",
        "'-water",
    )
    assert (float(row["before"]), float(row["after"])) == (-0.5, 1.25)  # numbers stay numbers
    assert dict(zip(header, second, strict=True))["text"] == "'" + SECOND.text


def test_the_command_shows_the_log_and_writes_it(birds: Workspace, tmp_path: Path) -> None:
    record(birds, "birds-text", [FIRST, SECOND])
    command = ["cases", "birds-text", "--out", str(tmp_path / "log.csv"), "--json"]

    found = CliRunner().invoke(main, [*command, "--workspace", str(birds.settings.home)])

    assert found.exit_code == 0
    assert [item["what"] for item in json.loads(found.stdout)["items"]] == [SET, VERDICT]
    assert len(list(csv.reader(io.StringIO((tmp_path / "log.csv").read_text())))) == 3  # a note of two lines is one row
