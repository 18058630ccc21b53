"""Models that come in: a folder of the Label-free CBM project by the command line."""

import json

import torch
from click.testing import CliRunner

from app import exports, store
from app.cli import main


def saved_folder(place):
    place.mkdir()
    generator = torch.Generator().manual_seed(0)
    shapes = {"W_c": (2, 4), "W_g": (3, 2), "b_g": (3,), "proj_mean": (1, 2), "proj_std": (1, 2)}
    for name, shape in shapes.items():
        torch.save(torch.rand(shape, generator=generator) + 0.5, place / f"{name}.pt")
    (place / "concepts.txt").write_text("red wing\nlong tail\n")
    (place / "classes.txt").write_text("wren\nteal\nloon\n")
    return place


def test_a_folder_of_the_label_free_project_comes_in(workspace, tmp_path):
    folder = saved_folder(tmp_path / "cub")

    row = exports.import_bundle(workspace, folder, "cub", classes=("wren", "teal", "loon"), encoder="timm:resnet18")

    model = store.model(workspace, "cub")
    assert (row.method, row.encoder) == ("labelfree", "timm:resnet18")
    assert model.concepts == ("red wing", "long tail")
    assert model.classes == ("wren", "teal", "loon")
    assert model.logits(torch.ones(1, 4)).shape == (1, 3)


def test_the_command_reads_its_classes_from_a_file(tmp_path):
    folder, home = saved_folder(tmp_path / "cub"), tmp_path / "home"
    command = ["import", str(folder), "--classes", str(folder / "classes.txt"), "--encoder", "timm:resnet18", "--json"]

    result = CliRunner().invoke(main, command, env={"PELLUCID_HOME": str(home)})

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["model"] == "cub"
