"""Which precision and which sizes a data set is embedded with, and what is told about it."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

import cbm.agreement
import cbm.sizing
from app import encoding, store, tasks
from app.cli import main
from app.workspace import Workspace
from cbm.agreement import Agreement
from cbm.data import ImageDataset
from cbm.errors import EncoderError, UsageError
from cbm.progress import silent
from cbm.sizing import Sizes

FINE = Agreement(images=12, mean_cosine=0.9999, worst_cosine=0.999, nearest=1.0, among=200, speed=2.5)
DEMO = {"dataset": "tiles", "encoder": "builtin:demo"}


@pytest.fixture
def stored(workspace: Workspace, tiles: ImageDataset) -> Workspace:
    store.add_dataset(workspace, tiles, {})
    return workspace


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> list[Agreement]:
    """What the comparison with fp32 is to find; each comparison takes one."""
    planted: list[Agreement] = []
    monkeypatch.setattr(cbm.agreement, "agreement", lambda *given: planted.pop())
    monkeypatch.setattr(encoding, "_multiplies_in_bf16", lambda device: True)
    return planted


def test_the_agreement_is_measured_kept_and_told(stored: Workspace) -> None:
    result = tasks.run(stored, "embed", {**DEMO, "precision": "bf16"}, silent)

    assert (result["encoder"], result["precision"], result["computed"]) == ("builtin:demo:bf16", "bf16", 12)
    assert 0.999 < result["agreement"]["worst_cosine"] < 1
    assert result["agreement"]["images"] == 12
    assert result["agreement"]["among"] == encoding.TEXTS
    assert encoding.agreements(stored, "tiles") == {"builtin:demo:bf16": Agreement(**result["agreement"])}
    assert store.training_set(stored, "tiles", "builtin:demo:bf16").contract == result["contract"]
    assert store.dataset_row(stored, "tiles").encoders == ("builtin:demo:bf16",)


def test_the_same_comparison_is_not_made_twice(stored: Workspace, found: list[Agreement]) -> None:
    found.append(FINE)

    first = tasks.run(stored, "embed", {**DEMO, "precision": "bf16"}, silent)
    again = tasks.run(stored, "embed", {**DEMO, "encoder": "builtin:demo:bf16"}, silent)

    assert first["agreement"] == again["agreement"] == FINE.to_dict()
    assert (again["computed"], again["reused"]) == (0, 12)


def test_auto_takes_bf16_only_where_it_is_close_and_fast(stored: Workspace, found: list[Agreement]) -> None:
    found += [FINE]
    taken = tasks.run(stored, "embed", {**DEMO, "precision": "auto"}, silent)
    store.embedding_store(stored).note(taken["contract"], "agreement", {})
    found += [replace(FINE, speed=1.0)]

    left = tasks.run(stored, "embed", {**DEMO, "precision": "auto"}, silent)

    assert taken["encoder"] == "builtin:demo:bf16"
    assert left["encoder"] == "builtin:demo"
    assert "agreement" not in left
    assert left["passed_over"]["bf16"]["speed"] == 1.0


def test_auto_is_fp32_where_the_processor_does_not_multiply_in_bf16(
    stored: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "_multiplies_in_bf16", lambda device: False)

    assert tasks.run(stored, "embed", {**DEMO, "precision": "auto"}, silent)["encoder"] == "builtin:demo"


def test_too_little_agreement_is_refused_unless_the_person_insists(stored: Workspace, found: list[Agreement]) -> None:
    found.append(replace(FINE, mean_cosine=0.84))

    with pytest.raises(EncoderError, match=r"builtin:demo:bf16 agrees too little: .* 0\.8400 on average"):
        tasks.run(stored, "embed", {**DEMO, "precision": "bf16"}, silent)
    assert store.dataset_row(stored, "tiles").encoders == ()

    insisted = tasks.run(stored, "embed", {**DEMO, "precision": "bf16", "insist": True}, silent)
    assert insisted["agreement"]["mean_cosine"] == 0.84


@pytest.mark.parametrize(("id", "precision"), [("builtin:demo:int8", "bf16"), ("builtin:demo", "fp8")])
def test_contradictions_and_unknown_precisions_are_wrong_usage(stored: Workspace, id: str, precision: str) -> None:
    with pytest.raises(UsageError):
        tasks.run(stored, "embed", {"dataset": "tiles", "encoder": id, "precision": precision}, silent)


def test_sizes_are_measured_once_where_it_is_worthwhile_and_used_again(
    stored: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ws = replace(stored, settings=replace(stored.settings, threads=0, device="cpu"))
    monkeypatch.setattr(cbm.sizing, "WORTH_MEASURING", 10)
    measured = [Sizes(batch=8, threads=1, decoders=3)]
    monkeypatch.setattr(cbm.sizing, "measured_sizes", lambda *given, **options: measured.pop())

    first = tasks.run(ws, "embed", DEMO, silent)
    again = tasks.run(ws, "embed", DEMO, silent)
    named = tasks.run(ws, "embed", {**DEMO, "threads": 1, "batch": 4}, silent)

    assert first["sizes"] == again["sizes"] == {"batch": 8, "threads": 1, "decoders": 3}
    assert named["sizes"] == {"batch": 4, "threads": 1, "decoders": 4}


def test_nothing_is_measured_of_few_images_nor_with_threads_that_are_given(
    stored: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cbm.sizing, "measured_sizes", lambda *given, **options: pytest.fail("measured"))
    free = replace(stored, settings=replace(stored.settings, threads=0, device="cpu"))
    given = replace(stored, settings=replace(stored.settings, threads=2, device="cpu"))

    assert tasks.run(free, "embed", DEMO, silent)["sizes"]["batch"] == 32
    monkeypatch.setattr(cbm.sizing, "WORTH_MEASURING", 1)
    assert tasks.run(given, "embed", {**DEMO, "fast_decode": True}, silent)["sizes"]["threads"] == 2


def test_the_command_says_what_further_commands_need(stored: Workspace) -> None:
    environ = stored.settings.to_environment()
    command = ["embed", "tiles", "--encoder", "builtin:demo", "--fast-decode", "--batch", "5", "--threads", "1"]

    told = CliRunner().invoke(main, command, env=environ)
    asked = CliRunner().invoke(main, [*command, "--json"], env=environ)

    assert told.exit_code == 0, told.stderr
    assert told.stdout.splitlines() == [
        "tiles with builtin:demo:fast-decode: 12 images embedded, 0 were there",
        "other commands know these embeddings by --encoder builtin:demo:fast-decode",
    ]
    answer = json.loads(asked.stdout)
    assert (answer["reused"], answer["sizes"]["batch"], answer["precision"]) == (12, 5, "fp32")
