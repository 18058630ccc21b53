"""The command `pellucid probe maps`, with the demo encoder and a rendered bird."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image

from app.cli import main
from app.commands.probes import MAP_METHODS
from app.workspace import Workspace
from probes.maps import METHODS


@pytest.fixture
def call(birds: Workspace, tmp_path: Path):
    """Run the command on the model "birds-text"."""

    def called(*words: object) -> Result:
        command = ["probe", "maps", "birds-text", *map(str, words), "--workspace", str(birds.settings.home)]
        return CliRunner().invoke(main, command)

    return called


def test_maps_are_written_and_their_places_and_rest_sum_to_the_score(call, tmp_path: Path) -> None:
    out = tmp_path / "maps.png"

    found = call("2.png", "--concept", "forked tail", "--concept", "red_crown", "--out", out, "--json")

    answer = json.loads(found.stdout)
    assert [item["concept"] for item in answer["items"]] == ["forked tail", "red_crown"]
    for item in answer["items"]:
        assert len(item["values"]) == len(item["values"][0]) == 8
        assert sum(map(sum, item["values"])) + item["rest"] == pytest.approx(item["score"], abs=1e-4)
    with Image.open(out) as sheet:
        assert sheet.size == (3 * 384 + 2 * 8, 384)


def test_an_image_is_an_id_or_a_file(call, tmp_path: Path) -> None:
    by_id, by_file = call("2.png"), call(tmp_path / "2.png")

    assert by_id.exit_code == by_file.exit_code == 0
    assert by_id.stdout == by_file.stdout
    assert "forked tail" in by_id.stdout


def test_what_cannot_be_drawn_is_refused_in_words(call, tmp_path: Path) -> None:
    wrong_name, no_image = call("2.png", "--out", tmp_path / "maps.jpg"), call("7.png", "--concept", "forked tail")

    assert (wrong_name.exit_code, no_image.exit_code) == (2, 1)
    assert "does not end in .png" in wrong_name.stderr
    assert "7.png" in no_image.stderr


def test_methods_are_rows_of_the_picture_each_with_its_scale(call, tmp_path: Path) -> None:
    out = tmp_path / "maps.png"
    methods = ("--method", "decomposition", "--method", "occlusion", "--method", "rollout")

    found = call("2.png", "--concept", "forked tail", *methods, "--out", out, "--json")

    answer = json.loads(found.stdout)
    assert [item["method"] for item in answer["items"]] == ["decomposition", "occlusion", "rollout"]
    assert list(answer["scales"]) == ["decomposition", "occlusion", "rollout"]
    assert answer["scale"] == answer["scales"]["decomposition"]
    assert [item["rest"] is None for item in answer["items"]] == [False, True, True]
    with Image.open(out) as sheet:
        assert sheet.size == (2 * 384 + 8, 3 * 384 + 2 * 8)
    assert call("2.png", "--method", "guess").exit_code == 2


def test_the_commands_methods_are_those_of_the_library() -> None:
    assert tuple(METHODS) == MAP_METHODS


def run(birds: Workspace, *words: object) -> Result:
    return CliRunner().invoke(main, ["probe", *map(str, words), "--workspace", str(birds.settings.home)])


def test_attention_of_every_head_is_written_and_told(birds: Workspace, tmp_path: Path) -> None:
    out = tmp_path / "heads.png"

    found = run(birds, "attention", "birds-text", "2.png", "--concept", "forked tail", "--out", out, "--json")

    answer = json.loads(found.stdout)
    assert [len(answer["attention"]), len(answer["attention"][0]), len(answer["attention"][0][0])] == [6, 4, 8]
    assert 0 < sum(map(sum, answer["rollout"])) < 1
    maps = json.loads(run(birds, "maps", "birds-text", "2.png", "--concept", "forked tail", "--json").stdout)
    places = [[head[0][0] for head in layer] for layer in answer["effects"]]
    assert sum(map(sum, places)) == pytest.approx(maps["items"][0]["values"][0][0], abs=1e-5)  # the map, head by head
    with Image.open(out) as sheet:
        assert sheet.size == (4 * 96 + 3 * 6, 6 * 96 + 5 * 6)


def test_a_picture_of_heads_ends_in_png(birds: Workspace) -> None:
    assert run(birds, "attention", "birds-text", "2.png", "--out", "heads.jpg").exit_code == 2
