"""Folders that the Label-free CBM project saves: what is read, and what is not even opened."""

import pickle
import zipfile

import pytest
import torch

from cbm import labelfree_files
from cbm.errors import BundleError
from cbm.io import fingerprint, load, save
from cbm.labelfree_files import is_saved, read_saved

K, D, C = 3, 5, 2


@pytest.fixture
def tensors():
    generator = torch.Generator().manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    return {"W_c": draw(K, D), "W_g": draw(C, K), "b_g": draw(C), "proj_mean": draw(1, K), "proj_std": draw(1, K).abs() + 0.1}  # fmt: skip


@pytest.fixture
def folder(tmp_path, tensors):
    place = tmp_path / "cub_lf_cbm"
    place.mkdir()
    for name, tensor in tensors.items():
        torch.save(tensor, place / f"{name}.pt")
    (place / "concepts.txt").write_text("red wing\nlong tail\nsmall\n")
    return place


def test_logits_are_those_of_the_published_forward_pass(folder, tensors):
    x = torch.randn(7, D, generator=torch.Generator().manual_seed(1))

    model = read_saved(folder, classes=("wren", "teal"), encoder_id="timm:resnet18")

    activations = (x @ tensors["W_c"].T - tensors["proj_mean"]) / tensors["proj_std"]
    assert (model.logits(x) - (activations @ tensors["W_g"].T + tensors["b_g"])).abs().max() < 1e-5
    assert model.concepts == ("red wing", "long tail", "small")
    assert model.classes == ("wren", "teal")


def test_it_becomes_a_bundle_like_any_other(folder, tmp_path):
    model = read_saved(folder)

    assert model.classes == ("class 1", "class 2")
    assert fingerprint(load(save(model, tmp_path / "bundle"))) == fingerprint(model)


@pytest.mark.parametrize("inside", ["", "saved_models/cub_lf_cbm/"])
def test_a_zip_file_of_the_folder_is_the_same_model(folder, tmp_path, inside):
    path = tmp_path / "sent.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, inside + file.name)

    assert is_saved(path)
    sent, there = read_saved(path), read_saved(folder)

    x = torch.randn(3, D, generator=torch.Generator().manual_seed(2))
    assert torch.equal(sent.logits(x), there.logits(x))
    assert sent.recipe.notes == ("read from the Label-free CBM folder sent",)


def test_other_files_are_none_of_these(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("config.json", "{}")
    (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04")

    assert not any(is_saved(tmp_path / name) for name in ("other.zip", "broken.zip", "missing", "missing.zip"))


def test_code_in_a_tensor_file_does_not_run(folder, tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save(Trap(), folder / "b_g.pt")

    with pytest.raises(BundleError, match=r"b_g.pt holds something else than a tensor"):
        read_saved(folder)
    assert not (tmp_path / "sprung").exists()


def test_a_plain_pickle_is_not_opened(folder):
    (folder / "W_g.pt").write_bytes(pickle.dumps([1.0]))

    with pytest.raises(BundleError, match=r"W_g.pt is not an archive"):
        read_saved(folder)


def test_an_archive_that_unpacks_to_too_much_is_not_opened(folder, monkeypatch):
    monkeypatch.setattr(labelfree_files, "LARGEST_TENSOR", 100_000)
    with zipfile.ZipFile(folder / "W_c.pt", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("W_c/data/9", bytes(200_000))

    with pytest.raises(BundleError, match="the limit is 100,000"):
        read_saved(folder)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("b_g", torch.zeros(5), r"b_g.pt has shape \(5,\)|W_g.pt has shape \(2, 3\)"),
        ("proj_std", torch.zeros(1, K), "'red wing' has no spread"),
        ("W_g", torch.full((C, K), torch.nan), "not finite"),
        ("W_g", torch.zeros(C, K, dtype=torch.int64), "one tensor of numbers"),
        ("W_g", [torch.zeros(C, K)], "one tensor of numbers"),
    ],
)
def test_what_does_not_fit_is_named(folder, name, value, message):
    torch.save(value, folder / f"{name}.pt")

    with pytest.raises(BundleError, match=message):
        read_saved(folder)


def test_missing_files_and_wrong_lists_are_named(folder):
    (folder / "concepts.txt").write_text("red wing\n\nsmall\n")
    with pytest.raises(BundleError, match=r"concepts.txt has a blank line"):
        read_saved(folder)
    (folder / "concepts.txt").unlink()
    with pytest.raises(BundleError, match=r"concepts.txt cannot be read"):
        read_saved(folder)
    (folder / "W_c.pt").unlink()
    with pytest.raises(BundleError, match=r"W_c.pt cannot be read"):
        read_saved(folder)


def test_the_number_of_classes_has_to_fit(folder):
    with pytest.raises(BundleError, match="ask for"):
        read_saved(folder, classes=("one", "two", "three"))
