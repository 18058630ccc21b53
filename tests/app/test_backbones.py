"""A backbone from the command line: embedded with, learned from, looked into, and refused where words are needed."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from app.cli import main

sys.path.insert(0, str(Path(__file__).parents[1] / "cbm"))  # tests are imported without packages
from small_models import timm_folder

CLASSES = ("ember", "leaf", "sky")


def run(home, *arguments):
    """Exit code and the JSON object that a command printed."""
    result = CliRunner().invoke(main, [*map(str, arguments), "--workspace", str(home), "--json", "-q"])
    return result.exit_code, json.loads(result.stdout)


def done(home, *arguments):
    code, value = run(home, *arguments)
    assert code == 0, value
    return value


def draw_tiles(folder, n=120):
    """Tiles whose class is their strongest colour; the concepts are the two colours that it may lean to."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    lines = [["path", "label", "split", "c:reddish", "c:greenish"]]
    for i in range(n):
        colour = rng.integers(0, 200, 3)
        colour[i % 3] = 255
        Image.new("RGB", (16, 16), tuple(map(int, colour))).save(folder / f"{i:03}.png")
        split = ("train", "train", "val", "test")[(i // 3) % 4]
        lines.append([f"{i:03}.png", CLASSES[i % 3], split, *(int(value > 120) for value in colour[:2])])
    with (folder / "tiles.csv").open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return folder / "tiles.csv"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A workspace with tiles embedded by a vision transformer of timm with random weights, and the encoder's id."""
    home, files = tmp_path_factory.mktemp("backbone") / "home", tmp_path_factory.mktemp("files")
    encoder = timm_folder(files / "vit", name="test_vit")
    done(home, "data", "import", draw_tiles(files / "tiles"), "--name", "tiles")
    embedded = done(home, "embed", "tiles", "--encoder", encoder)
    assert (embedded["computed"], embedded["skipped"]) == (120, [])
    return home, encoder


def test_a_backbone_serves_a_linear_probe_and_concepts_from_examples(built):
    home, encoder = built
    chosen = ("tiles", "--encoder", encoder)

    probe = done(home, "train", "linear-probe", *chosen, "--name", "probe")
    bank = done(home, "concepts", "build", *chosen, "--from", "examples", "--name", "colours")
    model = done(home, "train", "posthoc", *chosen, "--concepts", "colours", "--name", "tinted")

    assert bank["bank"] == "colours"
    for found in (probe, model):  # even random features know plain colours; chance is a third
        assert found["metrics"]["accuracy"]["value"] > 0.6


def test_atoms_of_a_backbone_are_numbered_and_serve_discover_then_name(built):
    home, encoder = built
    chosen = ("tiles", "--encoder", encoder)

    found = done(home, "concepts", "build", *chosen, "--from", "sae", "--name", "atoms")
    model = done(home, "train", "dncbm", *chosen, "--concepts", "atoms", "--name", "found")

    names = [concept["name"] for concept in done(home, "concepts", "show", "atoms")["items"]]
    assert found["bank"] == "atoms"
    assert names == [f"atom {place}" for place in range(1, len(names) + 1)]
    assert model["metrics"]["accuracy"]["value"] > 0.5


def test_maps_of_a_backbone_are_made_from_the_command_line(built, tmp_path):
    home, encoder = built
    chosen = ("tiles", "--encoder", encoder)
    done(home, "concepts", "build", *chosen, "--from", "examples", "--name", "hues")
    done(home, "train", "posthoc", *chosen, "--concepts", "hues", "--name", "hued")

    made = done(home, "probe", "maps", "hued", "000.png", "--method", "gradcam", "--out", tmp_path / "map.png")

    assert (tmp_path / "map.png").is_file()
    assert made


@pytest.mark.parametrize(
    "arguments",
    [
        ("concepts", "build", "tiles", "--from", "texts", "--file", "words.txt", "--name", "words"),
        ("train", "zero-shot", "tiles"),
        ("train", "labo", "tiles"),
    ],
    ids=["texts", "zero-shot", "labo"],
)
def test_what_needs_words_is_refused_in_one_sentence(built, arguments, tmp_path, monkeypatch):
    home, encoder = built
    monkeypatch.chdir(tmp_path)
    Path("words.txt").write_text("red\ngreen\n")

    code, value = run(home, *arguments, "--encoder", encoder)

    assert code == 1
    assert "reads text" in value["error"]["message"] or "reads no text" in value["error"]["message"]
    assert value["error"]["hint"]


@pytest.mark.parametrize(
    "encoder",
    [
        "open_clip:ViT-B-32/openai",
        "open_clip:hf-hub:me/mine",
        "hf:me/mine",
        "timm:resnet18.a1_in1k",
        "torchvision:resnet18",
    ],
)
def test_a_checkpoint_that_is_not_here_comes_with_the_command_that_fetches_it(built, encoder, tmp_path, monkeypatch):
    import torch
    from huggingface_hub import constants

    home, _ = built
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))

    code, value = run(home, "embed", "tiles", "--encoder", encoder)

    assert code == 1
    assert value["error"]["message"] == f"the weights of {encoder} are not on this machine"
    assert value["error"]["hint"].endswith(f"pellucid embed DATASET --encoder {encoder} --allow-download")
