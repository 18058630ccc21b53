"""The command line: one JSON object or plain lines on standard output, and exit codes that tell what happened."""

import csv
import json
import math
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from app import store
from app.cli import main
from app.commands.serve import free_port
from app.settings import Settings
from cbm.embeddings import embed_images
from cbm.errors import StoreError
from cbm.preprocessing import Preprocessing
from probes.policies import POLICIES
from tests.cbm.miniatures import celeba
from tests.cbm.test_hf_tables import repository

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("ember", "leaf", "sky")  # red, green and blue tiles
CONCEPTS = ("reddish", "greenish", "bluish")
PLAIN = Preprocessing(size=(4, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@dataclass(frozen=True)
class ColourEncoder:
    """The mean red, green and blue of a picture as a unit vector."""

    id: str = "test:colour"
    dim: int = 3
    contract: str = "c" * 64
    preprocessing: Preprocessing = PLAIN

    def encode_images(self, images):
        return self.encode_pixels(torch.stack([torch.from_numpy(self.preprocessing(image)) for image in images]))

    def encode_pixels(self, pixels):
        return torch.nn.functional.normalize(pixels.mean((2, 3)), dim=1)


def draw_tiles(folder, n=180):
    """Tiles whose class is their strongest colour, and a manifest that says which colours are strong."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    lines = [["path", "label", "split", *(f"c:{concept}" for concept in CONCEPTS)]]
    for i in range(n):
        colour = rng.integers(0, 200, 3)
        colour[i % 3] = 255
        Image.new("RGB", (8, 8), tuple(map(int, colour))).save(folder / f"{i:03}.png")
        split = ("train", "train", "val", "test")[(i // 3) % 4]
        lines.append([f"{i:03}.png", CLASSES[i % 3], split, *(int(value > 120) for value in colour)])
    with (folder / "tiles.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return folder / "tiles.csv"


def run(home, *arguments):
    """Exit code and the JSON object that a command printed."""
    result = CliRunner().invoke(main, [*map(str, arguments), "--workspace", str(home), "--json", "-q"])
    return result.exit_code, json.loads(result.stdout)


def done(home, *arguments):
    """The JSON object of a command that must succeed."""
    code, value = run(home, *arguments)
    assert code == 0, value
    return value


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A workspace with tiles, their embeddings, a bank and a model, all made by commands."""
    home, pictures = tmp_path_factory.mktemp("cli") / "home", tmp_path_factory.mktemp("pictures") / "tiles"
    done(home, "data", "import", draw_tiles(pictures), "--name", "tiles")
    ws = store.open_workspace(Settings(home=home))
    embed_images(store.dataset(ws, "tiles"), ColourEncoder(), store.embedding_store(ws))
    store.mark_embedded(ws, "tiles", "test:colour", "c" * 64)
    ws.close()
    with_encoder = ("tiles", "--encoder", "test:colour")
    done(home, "concepts", "build", *with_encoder, "--from", "examples", "--name", "colours")
    done(home, "train", "posthoc", *with_encoder, "--concepts", "colours", "--set", "nec=3", "--name", "tinted")
    return home


@pytest.fixture
def home(built, tmp_path):
    """A copy of that workspace, to be changed."""
    return shutil.copytree(built, tmp_path / "home")


def test_an_import_says_what_it_found(built):
    (item,) = done(built, "data", "list")["items"]

    assert item["name"] == "tiles"
    assert item["images"] == 180
    assert item["splits"] == {"train": 90, "val": 45, "test": 45}


def test_validate_names_a_broken_file_and_fails(tmp_path):
    manifest = draw_tiles(tmp_path / "tiles")
    (tmp_path / "tiles" / "007.png").write_bytes(b"no picture")

    code, report = run(tmp_path / "home", "data", "validate", manifest)

    assert code == 1
    assert any("007.png" in problem["path"] for problem in report["problems"])
    assert not (tmp_path / "home").exists()


def test_train_measures_on_the_validation_images(home):
    result = done(home, "train", "linear-probe", "tiles", "--encoder", "test:colour")

    assert result["model"] == "tiles-linear-probe"
    assert result["method"] == "linear-probe"
    assert result["seconds"] > 0
    assert result["metrics"]["accuracy"]["n"] == 45
    assert result["metrics"]["accuracy"]["value"] > 0.9  # the strongest colour is linear


def test_train_reads_candidate_sentences_and_refuses_another_layout(home, tmp_path):
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps({name: ["is colourful"] for name in CLASSES}))
    bad.write_text('{"ember": "is colourful"}')

    code, refused = run(home, "train", "linear-probe", "tiles", "--encoder", "test:colour", "--candidates", bad)
    made = done(
        home, "train", "linear-probe", "tiles", "--encoder", "test:colour", "--candidates", good, "--name", "told"
    )

    assert code == 1
    assert "candidates of 'ember' are not a list" in refused["error"]["message"]
    assert made["model"] == "told"


def test_eval_has_intervals_and_reasons(built):
    found = done(built, "eval", "tinted", "--no-controls")

    accuracy = found["metrics"]["accuracy"]
    assert (found["split"], found["n"]) == ("test", 45)
    assert 0 <= accuracy["low"] <= accuracy["value"] <= accuracy["high"] <= 1
    assert "random_concept_accuracy" in found["not_computed"]
    assert set(found["not_computed"]).isdisjoint(found["metrics"])


def test_an_explanation_adds_up_to_the_logit(built):
    whole, short = (
        done(built, "explain", "tinted", "002.png"),
        done(built, "explain", "tinted", "002.png", "--top", "1"),
    )

    for found in (whole, short):
        total = sum(concept["contribution"] for concept in found["concepts"]) + found["rest"]
        assert found["exact"]
        assert math.isclose(total + found["bias"] + found["residual"], found["logit"], abs_tol=1e-4)
    assert whole["rest"] == 0
    assert len(short["concepts"]) == 1


def test_an_explanation_ends_with_the_changes_that_turn_the_decision(built):
    found = done(built, "explain", "tinted", "002.png")

    turned = found["counterfactual"]
    assert turned["exact"]
    assert turned["becomes"] != found["prediction"]
    scores = {concept["name"]: concept["score"] for concept in found["concepts"]}
    for change in turned["changes"]:
        assert change["score"] == pytest.approx(scores[change["concept"]], abs=1e-5)
        assert change["to"] != change["score"]


def test_explain_asks_for_an_image_that_exists(built):
    code, value = run(built, "explain", "tinted", "missing.png")

    assert code == 2
    assert "missing.png" in value["error"]["message"]


def test_an_intervention_curve_starts_at_the_models_accuracy(built):
    measured = done(built, "eval", "tinted", "--no-controls")["metrics"]["accuracy"]

    found = done(built, "intervene", "tinted", "--policy", "greedy", "--steps", "2")

    assert (found["policy"], found["split"], found["n"], found["concepts"]) == ("greedy", "test", 45, 3)
    assert [point["n"] for point in found["accuracy"]] == [45, 45, 45]
    assert found["accuracy"][0] == measured
    first, second, third = (point["value"] for point in found["accuracy"])
    assert found["area"]["value"] == pytest.approx((first / 2 + second + third / 2) / 2)


def test_corrections_in_groups_with_costs_and_errors(built, tmp_path):
    plain = done(built, "intervene", "tinted", "--policy", "random")
    (tmp_path / "costs.json").write_text(
        json.dumps(dict.fromkeys(done(built, "models", "show", "tinted")["concepts"], 2))
    )
    (tmp_path / "none.json").write_text("[]")

    dear = done(built, "intervene", "tinted", "--policy", "random", "--cost", str(tmp_path / "costs.json"))
    grouped = done(built, "intervene", "tinted", "--groups", "--error", "0.25", "--steps", "1")

    assert dear["accuracy"] == plain["accuracy"]
    assert dear["spent"] == [2 * spent for spent in plain["spent"]]
    assert (grouped["error"], grouped["to"], len(grouped["accuracy"])) == (0.25, "answer", 2)
    assert run(built, "intervene", "tinted", "--cost", str(tmp_path / "none.json"))[0] == 2


def test_the_command_knows_every_policy(built):
    code, refused = run(built, "intervene", "tinted", "--policy", "best")

    assert code == 2
    assert all(name in refused["error"]["message"] for name in POLICIES)


def test_an_edit_is_undone_and_redone(home, tmp_path):
    script = tmp_path / "edits.json"
    script.write_text('{"format": 1, "edits": [{"kind": "DropConcept", "concept": "bluish"}]}')

    applied = done(home, "edit", "apply", "tinted", "--script", script)
    dropped = done(home, "models", "show", "tinted")
    undone = done(home, "edit", "undo", "tinted")
    whole = done(home, "models", "show", "tinted")
    redone = done(home, "edit", "redo", "tinted")

    assert [edit["kind"] for edit in applied["edits"]] == ["DropConcept"]
    assert dropped["concepts"] == ["reddish", "greenish"]
    assert (undone["edits"], undone["undone"]) == ([], applied["edits"])
    assert whole["concepts"] == list(CONCEPTS)
    assert redone["edits"] == applied["edits"]


def test_edits_under_another_name_leave_the_model_alone(home, tmp_path):
    script = tmp_path / "edits.json"
    script.write_text('{"format": 1, "edits": [{"kind": "RenameConcept", "concept": "bluish", "name": "blue"}]}')

    done(home, "edit", "apply", "tinted", "--script", script, "--name", "renamed")
    difference = done(home, "edit", "diff", "tinted", "renamed")

    assert done(home, "edit", "log", "tinted")["edits"] == []
    assert (difference["common"], difference["left"], len(difference["right"])) == ([], [], 1)
    assert difference["same_base"]


def test_a_dry_run_checks_and_changes_nothing(home, tmp_path):
    script = tmp_path / "edits.json"
    script.write_text('{"format": 1, "edits": [{"kind": "DropConcept", "concept": "blueish"}]}')

    code, value = run(home, "edit", "apply", "tinted", "--script", script, "--dry-run")
    kept = done(home, "models", "delete", "tinted", "--dry-run")

    assert code == 1
    assert "bluish" in value["error"]["hint"]
    assert not kept["removed"]
    assert [item["name"] for item in done(home, "models", "list")["items"]] == ["tinted"]


def test_a_bundle_comes_back_as_the_same_model(home, tmp_path):
    exported = done(home, "export", "bundle", "tinted", "-o", tmp_path / "tinted.zip")
    imported = done(home, "import", tmp_path / "tinted.zip", "--name", "again")

    assert imported["fingerprint"] == exported["fingerprint"]


def test_a_damaged_bundle_is_refused(home, tmp_path):
    done(home, "export", "bundle", "tinted", "-o", tmp_path / "tinted")
    config = tmp_path / "tinted" / "config.json"
    config.write_text(config.read_text().replace("ember", "amber"))

    code, value = run(home, "import", tmp_path / "tinted")

    assert code == 1
    assert value["error"]["kind"] == "bundle"


def test_exported_explanations_add_up_in_every_row(built, tmp_path):
    done(built, "export", "csv", "tinted", "-o", tmp_path / "out.csv", "--split", "test")

    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    parts = [sum(float(row[f"contribution:{concept}"]) for concept in CONCEPTS) + float(row["rest"]) for row in rows]
    assert len(rows) == 45
    assert parts == pytest.approx([float(row["logit"]) for row in rows], abs=1e-4)


def test_compare_shows_models_side_by_side(home):
    done(home, "train", "linear-probe", "tiles", "--encoder", "test:colour", "--name", "probe")

    found = done(home, "compare", "tinted", "probe")

    items, (pair,) = found["items"], found["pairs"]
    assert [item["name"] for item in items] == ["tinted", "probe"]
    assert (found["baseline"], found["correction"], pair["second"]) == ("tinted", "holm", "probe")
    first, second = (item["metrics"]["accuracy"] for item in items)
    assert pair["difference"]["value"] == pytest.approx(second["value"] - first["value"])
    assert (
        pair["n"] == first["n"] == pair["both"] + pair["neither"] + len(pair["only_first"]) + len(pair["only_second"])
    )
    assert {"anec_5", "anec_avg"} <= set(items[0]["metrics"])
    assert items[1]["not_computed"]["anec_5"] == "the model has no concepts"
    assert sum(one["accuracy"]["n"] for one in items[0]["reliability"]) == first["n"]


def test_compare_tests_several_models_together_and_can_leave_anec_out(home):
    done(home, "train", "linear-probe", "tiles", "--encoder", "test:colour", "--name", "probe")

    found = done(home, "compare", "tinted", "probe", "tinted", "--no-anec")

    assert [pair["p_corrected"] for pair in found["pairs"]][-1] == 1.0
    assert found["pairs"][0]["p_corrected"] == min(1.0, 2 * found["pairs"][0]["p_value"])
    assert "anec_5" in found["items"][0]["not_computed"]


def test_every_method_states_needs_and_options(tmp_path):
    items = {item["name"]: item for item in done(tmp_path, "methods")["items"]}

    nec = next(option for option in items["posthoc"]["options"] if option["name"] == "nec")
    assert items["posthoc"]["needs"] == ["concept_bank"]
    assert (nec["type"], nec["default"], nec["low"]) == ("int", 10, 1)


def test_a_method_says_what_it_misses(built):
    code, value = run(built, "train", "posthoc", "tiles", "--encoder", "test:colour", "--name", "none")

    assert code == 1
    assert "concept bank" in value["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "code", "kind"),
    [
        (("models", "show", "tintet"), 1, "unknown"),
        (("train", "posthok", "tiles", "--encoder", "test:colour"), 1, "unknown"),
        (("train", "posthoc", "tiles", "--set", "nec"), 2, "usage"),
        (
            ("train", "posthoc", "tiles", "--encoder", "test:colour", "--concepts", "colours", "--set", "nec=0"),
            2,
            "usage",
        ),
        (("eval",), 2, "usage"),
        (("no-such-command",), 2, "usage"),
    ],
)
def test_failures_are_one_json_object_and_an_exit_code(built, arguments, code, kind):
    given, value = run(built, *arguments)

    assert given == code
    assert list(value) == ["error"]
    assert value["error"]["kind"] == kind
    assert value["error"]["message"]
    assert value["error"]["hint"]


def test_a_failure_without_json_goes_to_standard_error(built):
    result = CliRunner().invoke(main, ["models", "show", "tintet", "--workspace", str(built)])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "error: there is no model named 'tintet'\ndid you mean tinted?" in result.stderr


def test_layouts_are_listed_with_their_options(tmp_path):
    items = {item["name"]: item for item in done(tmp_path / "home", "data", "layouts")["items"]}

    assert {"folder", "manifest", "hf", "cub", "awa2", "celeba", "derm7pt", "wbcatt", "skincon"} <= set(items)
    assert [option["name"] for option in items["celeba"]["options"]] == ["label"]


def test_a_published_data_set_is_imported_with_the_label_that_is_asked_for(tmp_path):
    celeba(tmp_path / "celeba")

    report = done(tmp_path / "home", "data", "import", tmp_path / "celeba", "--name", "faces", "--label", "Bald")
    code, refusal = run(tmp_path / "home", "data", "validate", tmp_path / "celeba", "--set", "label=Hat")

    assert (report["classes"], report["source"]["layout"]) == (["Bald", "not Bald"], "celeba")
    assert (code, refusal["error"]["kind"]) == (1, "unknown")
    assert "Bald, Smiling, Wearing_Hat" in refusal["error"]["hint"]


def test_a_backup_opens_as_a_database(built, tmp_path):
    made = done(built, "db", "backup", tmp_path / "copy.db")

    home = tmp_path / "restored"
    home.mkdir()
    Path(made["path"]).rename(home / "pellucid.db")
    assert done(home, "db", "check")["ok"]
    assert done(home, "models", "list")["items"][0]["name"] == "tinted"


def test_check_finds_no_database_where_none_is(tmp_path):
    code, value = run(tmp_path, "db", "check")

    assert code == 1
    assert value["error"]["kind"] == "store"


def test_no_jobs_is_an_empty_list(built):
    assert done(built, "jobs", "list") == {"items": []}


def test_a_bank_exports_as_a_bundle(built, tmp_path):
    done(built, "concepts", "export", "colours", tmp_path / "colours.zip")

    items = done(built, "concepts", "show", "colours")["items"]
    assert (tmp_path / "colours.zip").stat().st_size > 500
    assert [item["name"] for item in items] == list(CONCEPTS)
    assert all(item["auroc"] > 0.9 for item in items)


@pytest.mark.parametrize("group", [(), *[(name,) for name in sorted(main.commands)]])
def test_every_command_explains_itself_with_an_example(group):
    result = CliRunner().invoke(main, [*group, "--help"])

    assert result.exit_code == 0
    found = main if not group else main.commands[group[0]]
    for command in getattr(found, "commands", {}).values():
        assert command.help
    if not hasattr(found, "commands"):
        assert "pellucid " in result.stdout


def test_the_installed_command_prints_only_the_answer(built):
    command = [sys.executable, "-m", "app.cli", "models", "list", "--json", "-vv", "--workspace", str(built)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    assert json.loads(done.stdout)["items"][0]["name"] == "tinted"


def test_the_workspace_may_come_from_the_environment(built):
    command = [sys.executable, "-m", "app.cli", "data", "list"]

    environment = {**os.environ, "PELLUCID_HOME": str(built)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[1].startswith("tiles")


def test_a_taken_port_is_refused_and_another_one_found():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(StoreError, match=f"port {port} is in use"):
            free_port("127.0.0.1", port)

    assert free_port("127.0.0.1", None) in range(8501, 8521)


def test_banks_come_from_words_that_ship_and_from_printed_sentences(birds, tmp_path):
    home, answer, mine = birds.settings.home, tmp_path / "answer.txt", tmp_path / "mine.csv"
    answer.write_text("Sure!\n\n**tern**:\n- forked tail\n- a tern in flight\n\n**wren**:\n- short tail\n")
    mine.write_text("word\nred crown\nuseful\nspreadsheet\n")
    build = ("concepts", "build", "birds", "--encoder", "builtin:demo", "--name")

    colours = done(home, *build, "colours", "--from", "vocabulary", "--list", "attributes", "--group", "colour")
    told = done(home, *build, "told", "--from", "sentences", "--file", answer)
    own = done(home, *build, "own", "--from", "vocabulary", "--file", mine)

    assert {item["group"] for item in colours["items"]} == {"colour"}
    assert "unknown to the encoder" in colours["left_out"]
    assert [(item["name"], item["source"], item["detail"]) for item in told["items"]] == [
        ("forked tail", "sentence", "listed for tern"),
        ("short tail", "sentence", "listed for wren"),
    ]
    assert told["left_out"].endswith("1 naming the class")
    assert [item["name"] for item in own["items"]] == ["red crown"]


def test_where_words_come_from_is_said_without_contradiction(home, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("red")
    build = ("concepts", "build", "tiles", "--encoder", "test:colour", "--name", "x")

    for wrong in (("--from", "texts", "--group", "colour"), ("--from", "vocabulary", "--list", "all", "--file", words)):
        code, refused = run(home, *build, *wrong)
        assert code == 2, refused
        assert refused["error"]["hint"]
    assert run(home, *build, "--from", "sentences")[0] == 2


def test_edits_go_from_branch_to_branch_and_from_model_to_model(home, tmp_path):
    script = tmp_path / "edits.json"
    script.write_text('[{"kind": "ScaleScore", "concept": "bluish", "factor": 2.0}]')
    done(home, "edit", "apply", "tinted", "--script", script, "--name", "first")
    done(home, "edit", "apply", "tinted", "--script", script, "--name", "second")
    script.write_text('[{"kind": "PruneWeight", "concept": "bluish"}, {"kind": "DropConcept", "concept": "reddish"}]')
    done(home, "edit", "apply", "first", "--script", script)

    looked = done(home, "edit", "replay", "first", "second", "--dry-run")
    replayed = done(home, "edit", "replay", "first", "second")

    assert looked["stored"] is False
    assert [step["fate"] for step in replayed["steps"]] == ["applied", "applied", "applied"]
    assert len(done(home, "edit", "log", "second")["edits"]) == 4
    merged = done(home, "edit", "merge", "second@main", "--dry-run")
    assert (merged["edits"], merged["conflicts"]) == ([], [])


def test_a_branch_stands_behind_the_model_or_in_its_option(home, tmp_path):
    script = tmp_path / "edits.json"
    script.write_text('[{"kind": "ScaleScore", "concept": "bluish", "factor": 2.0}]')
    done(home, "edit", "apply", "tinted", "--script", script, "--name", "forked")

    behind = done(home, "edit", "log", "forked@main")
    option = done(home, "edit", "log", "forked", "--branch", "main")
    undone = done(home, "edit", "undo", "forked@main")
    code, refused = run(home, "edit", "redo", "forked@main", "--branch", "other")

    assert behind == option
    assert (len(behind["edits"]), len(undone["edits"])) == (1, 0)
    assert (code, refused["error"]["kind"]) == (2, "usage")


def test_an_option_that_a_method_does_not_have_is_wrong_usage(home):
    for wrong in ("alhpa=1", "head=cubic"):
        code, refused = run(home, "train", "posthoc", "tiles", "--encoder", "test:colour", "--set", wrong)
        assert code == 2, refused


def test_methods_that_read_texts_are_measured_with_their_controls(workspace, monkeypatch):
    from app import store

    loaded = []
    monkeypatch.setattr("app.embedded.load_text_encoder", lambda ws, id: loaded.append(id))
    monkeypatch.setattr("app.embedded.training_set", lambda ws, dataset, id, encoder=None: None)

    store.training_set_of(workspace, "v2c", "birds", "builtin:demo")
    store.training_set_of(workspace, "posthoc", "birds", "builtin:demo")

    assert loaded == ["builtin:demo"]


def test_tables_with_pictures_are_copied_and_not_left_in_place(tmp_path):
    root = repository(tmp_path / "birds")

    code, refusal = run(tmp_path / "home", "data", "import", root, "--name", "birds", "--reference")
    report = done(tmp_path / "home", "data", "import", root, "--name", "birds")

    assert (code, refusal["error"]["hint"]) == (2, "they can only be copied")
    assert report["splits"] == {"train": 6, "test": 2}
    assert [*(tmp_path / "home" / "uploads").iterdir()] == []


def test_scans_are_imported_without_their_patients(tmp_path):
    pytest.importorskip("pydicom")
    from tests.cbm.test_dicom import SECRETS, clinic, written

    home, scans = tmp_path / "home", clinic(tmp_path / "scans")
    for name in ("a", "b"):
        done(home, "data", "import", scans, "--name", name, "--window", "1000,2000")
    groups = [store.dataset(store.open_workspace(Settings(home=home)), name).groups for name in ("a", "b")]

    assert groups[0] == groups[1]
    assert (home / "patients.salt").stat().st_mode & 0o077 == 0
    content = written(home)
    assert not [secret for secret in SECRETS if secret.encode() in content]
