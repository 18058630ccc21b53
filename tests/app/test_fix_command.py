"""`pellucid fix`: on the shore, where the water stands where it does not belong, the fix masks the water."""

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from app import fixing, store
from app.cli import main
from cbm.errors import DataError, StoreError

sys.path.insert(0, str(Path(__file__).parent / "screens"))  # for shore.py; tests are imported without packages
from shore import fill


@pytest.fixture
def coast(workspace, tmp_path):
    """The workspace with twelve birds of each kind in each split."""
    fill(workspace, tmp_path / "shore", each=12)
    return workspace


def run(ws, *arguments):
    """Exit code and the JSON object of `pellucid fix fit shore-posthoc`."""
    words = ["fix", "fit", "shore-posthoc", *map(str, arguments), "--draws", "5"]
    result = CliRunner().invoke(main, [*words, "--workspace", str(ws.settings.home), "--json", "-q"])
    return result.exit_code, json.loads(result.stdout)


def test_a_fix_is_kept_on_a_branch_and_the_model_stays_as_it_is(coast):
    code, found = run(coast, "--split", "shifted")

    assert (code, found["stored"], found["images"]) == (0, "shore-posthoc@shifted", 12)
    assert found["masked"] == ["water"]
    assert {e["concept"]: e["verdict"] for e in found["evidence"]}["water"] == "misactivated"
    assert found["report"]["target_before"] == pytest.approx({"value": 0, "low": 0, "high": 0.138, "n": 24}, abs=1e-3)
    assert found["report"]["target_after"]["value"] == found["report"]["source_after"]["value"] == 1
    assert found["null_check"]["masks"]["value"] == 0
    assert store.history(coast, "shore-posthoc").edits == ()
    [edit] = store.history(coast, "shore-posthoc", "shifted").edits
    assert edit.mask == ("water",)


def test_a_manifest_names_the_support_and_its_images_do_not_count(coast, tmp_path):
    data = store.training_set(coast, "shore", "test:shore")
    rows = [i for i, split in enumerate(data.splits) if split == "shifted"][::4]
    lines = ["path,label", *(f"{data.ids[i]},{data.classes[int(data.labels[i])]}" for i in rows)]
    manifest = tmp_path / "shore" / "new.csv"  # beside the pictures
    manifest.write_text("\n".join(lines))

    code, found = run(coast, "--support", manifest, "--dry-run")

    assert (code, found["stored"], found["masked"]) == (0, None, ["water"])
    assert sorted(found["report"]["support"]) == sorted(data.ids[i] for i in rows)
    assert found["report"]["target_before"]["n"] == 36 - len(rows)
    assert store.branches(coast, "shore-posthoc") == ["main"]


def test_it_can_be_a_model_of_its_own(coast):
    code, found = run(coast, "--name", "shore-inland")

    assert (code, found["stored"]) == (0, "shore-inland")
    assert store.model_row(coast, "shore-inland").edits == 1
    assert store.branches(coast, "shore-posthoc") == ["main"]


def test_a_branch_is_never_overwritten(coast):
    run(coast)
    code, found = run(coast)

    assert (code, found["error"]["kind"]) == (1, "store")
    assert fixing.free_branch(coast, "shore-posthoc", "shifted") == "shifted-2"


def test_where_nothing_has_moved_nothing_is_stored(coast):
    code, found = run(coast, "--split", "val")

    assert (code, found["stored"], found["edits"]) == (0, None, [])
    with pytest.raises(StoreError, match="nothing to keep"):
        fixing.keep_profile(coast, "shore-posthoc", "val", ())


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("path,label\n000.png,heron", "'heron' is not a class"),
        ("path,label\nnowhere.png,gull", "neither a file nor an image"),
        ("path,label\n000.png,gull\n000.png,gull", "twice"),
        ("path,label", "lists no image"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_refused(coast, tmp_path, lines, message):
    manifest = tmp_path / "shore" / "new.csv"
    manifest.write_text(lines)
    data = store.training_set(coast, "shore", "test:shore")

    with pytest.raises(DataError, match=message):
        fixing.listed_support(coast, "shore", data, manifest)
