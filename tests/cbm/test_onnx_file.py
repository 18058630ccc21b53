"""ONNX files: what onnxruntime computes from them, and what is not in them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

import cbm.onnx_file
from cbm.bottleneck import LinearBottleneck
from cbm.encoders import load_encoder
from cbm.errors import BundleError, EncoderError, ModelError
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe
from cbm.onnx_file import write_onnx


def concept_model(width: int, contract: str = "") -> ConceptModel:
    g = torch.Generator().manual_seed(0)
    return ConceptModel(
        ("striped", "crested", "hooked bill"), ("wren", "teal"),
        LinearBottleneck(torch.randn(3, width, generator=g), torch.randn(3, generator=g)),
        LinearHead(torch.randn(2, 3, generator=g), torch.randn(2, generator=g), torch.randn(2, width, generator=g)),
        Recipe("posthoc", {}, "builtin:demo", contract),
    )  # fmt: skip


def outputs(path: Path, name: str, given: torch.Tensor):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(["scores", "logits"], {name: given.numpy()})


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_onnx(concept_model(8), tmp_path_factory.mktemp("onnx") / "small.onnx")


@pytest.mark.parametrize("images", [1, 7])
def test_onnxruntime_computes_what_the_model_does(written, images):
    x = torch.randn(images, 8, generator=torch.Generator().manual_seed(1))
    model = concept_model(8)

    scores, logits = outputs(written.path, "embedding", x)

    np.testing.assert_allclose(scores, model.scores(x), atol=1e-4)
    np.testing.assert_allclose(logits, model.logits(x), atol=1e-4)
    assert written.difference < 1e-4


def test_the_file_names_its_classes_and_no_folder_of_the_machine(written):
    told = {entry.key: entry.value for entry in onnx.load(written.path).metadata_props}

    assert told["classes"] == '["wren", "teal"]'
    content = written.path.read_bytes()
    assert str(Path(cbm.onnx_file.__file__).parent).encode() not in content
    assert b"File " not in content


def test_with_the_image_tower_pixels_go_in(tmp_path: Path):
    encoder = load_encoder("builtin:demo")
    model = concept_model(encoder.dim, encoder.contract)
    done = write_onnx(model, tmp_path / "whole.onnx", encoder=encoder)
    pixels = torch.rand(2, 3, *encoder.preprocessing.size, generator=torch.Generator().manual_seed(2))

    _, logits = outputs(done.path, done.input, pixels)

    assert done.input == "pixels"
    np.testing.assert_allclose(logits, model.logits(encoder.encode_pixels(pixels)), atol=1e-4)


def test_an_encoder_of_other_embeddings_is_refused(tmp_path: Path):
    encoder = load_encoder("builtin:demo")
    with pytest.raises(EncoderError):
        write_onnx(concept_model(encoder.dim, "another"), tmp_path / "no.onnx", encoder=encoder)


def test_a_file_that_onnxruntime_does_not_reproduce_is_not_kept(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(cbm.onnx_file, "TOLERANCE", -1.0)
    with pytest.raises(BundleError, match="differs from the model"):
        write_onnx(concept_model(8), tmp_path / "no.onnx")
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_traced_says_so_in_one_sentence(tmp_path: Path, capfd):
    class Untraceable(LinearBottleneck):
        def __call__(self, x, clamp=None):
            return super().__call__(x) * (1.0 if float(x.sum()) >= 0 else 2.0)

    model = concept_model(8)
    model = replace(model, bottleneck=Untraceable(model.bottleneck.weight, model.bottleneck.bias))

    with pytest.raises(ModelError, match="posthoc cannot be written as ONNX"):
        write_onnx(model, tmp_path / "no.onnx")
    assert "".join(capfd.readouterr()) == ""
    assert not list(tmp_path.iterdir())
