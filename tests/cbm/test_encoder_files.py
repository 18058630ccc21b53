"""Files of encoders of every family as they come: from the hub's cache, by a tag, in half precision, with a wrong processor."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # tests are imported without packages
from small_models import clip_folder, siglip_folder, timm_folder, torchvision_file
from test_encoders import ARCHITECTURE, make_clip_folder

from cbm.backbones import load_strictly, make_backbone_encoder
from cbm.clip import _published
from cbm.encoders import load_encoder
from cbm.errors import EncoderError
from cbm.preprocessing import Preprocessing
from cbm.torchvision_backbones import without_classifier
from cbm.torchvision_guard import ensure_torchvision

COMMIT = "a" * 40
PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 71, 3), dtype=np.uint8))
MAKERS = {
    "open_clip": make_clip_folder,
    "clip": clip_folder,
    "siglip": siglip_folder,
    "timm": timm_folder,
    "timm vit": lambda folder: timm_folder(folder, name="test_vit"),
    "timm convnext": lambda folder: timm_folder(folder, name="test_convnext"),
    "timm swin": lambda folder: timm_folder(folder, name="swin_tiny_patch4_window7_224"),
    "torchvision": lambda folder: torchvision_file(folder.with_suffix(".safetensors")),
}


def cached(cache, repository):
    """An empty snapshot of a repository in the hub's cache, at its main branch."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "snapshots" / COMMIT).mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(COMMIT)
    return folder / "snapshots" / COMMIT


def weight_file(folder):
    return next(path for path in (folder.with_suffix(".safetensors"), *folder.glob("*.safetensors")) if path.is_file())


@pytest.fixture
def cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_a_model_of_the_hub_is_read_from_its_cache(cache, tmp_path):
    make_clip_folder(cached(cache, "me/mine"))
    wanted = load_encoder(make_clip_folder(tmp_path / "mine"))

    found = load_encoder("open_clip:hf-hub:me/mine")

    assert found.contract == wanted.contract
    assert torch.equal(found.encode_images([PICTURE]), wanted.encode_images([PICTURE]))


@pytest.mark.parametrize("quick", [False, True])
def test_a_tag_is_read_from_the_cache_with_the_activation_that_it_was_trained_with(quick, cache, tmp_path, monkeypatch):
    ensure_torchvision()
    import open_clip
    from open_clip import factory, pretrained
    from safetensors.torch import load_file

    make_clip_folder(cached(cache, "me/tiny"))
    tag = {"hf_hub": "me/tiny/open_clip_model.safetensors", "mean": (0.5,) * 3, "std": (0.5,) * 3, "quick_gelu": quick}
    for table in (pretrained, _published()):
        monkeypatch.setitem(table._PRETRAINED, "tiny", {"test": tag})
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", ARCHITECTURE)
    theirs = open_clip.CLIP(**ARCHITECTURE, quick_gelu=quick).eval()
    theirs.load_state_dict(load_file(cache / "models--me--tiny" / "snapshots" / COMMIT / "open_clip_model.safetensors"))

    found = load_encoder("open_clip:tiny/test")

    assert found.preprocessing.mean == (0.5, 0.5, 0.5)
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        wanted = theirs.encode_image(pixels, normalize=True)
    torch.testing.assert_close(found.encode_pixels(pixels), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("family", MAKERS)
def test_half_precision_is_cast_when_it_is_loaded(family, tmp_path):
    from safetensors.torch import load_file, save_file

    id = MAKERS[family](tmp_path / "model")
    whole = load_encoder(id).encode_images([PICTURE])
    file = weight_file(tmp_path / "model")
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in load_file(file).items()}
    save_file(halves, file, metadata={"format": "pt"})

    encoder = load_encoder(id)

    kinds = {tensor.dtype for tensor in encoder.visual.state_dict().values() if tensor.is_floating_point()}
    assert kinds == {torch.float32}  # products of half floats take thirty times as long on a CPU
    torch.testing.assert_close(encoder.encode_images([PICTURE]), whole, rtol=0, atol=5e-3)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "swin_tiny_patch4_window7_224"])
def test_features_of_timm_are_what_its_classifier_reads(name, tmp_path):
    import timm
    from safetensors.torch import load_file

    encoder = load_encoder(timm_folder(tmp_path / "model", name=name))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    whole = timm.create_model(name, num_classes=5, **config["model_args"]).eval()
    whole.load_state_dict(load_file(tmp_path / "model" / "model.safetensors"))
    pixels = torch.randn(2, 3, *encoder.preprocessing.size)
    with torch.no_grad():
        read = whole.forward_head(whole.forward_features(pixels), pre_logits=True)

    torch.testing.assert_close(
        encoder.encode_pixels(pixels), torch.nn.functional.normalize(read, dim=1), rtol=0, atol=1e-6
    )


def small_torchvision(name, weights=None, image_size=64):
    """As torchvision builds the network of that name, but with few and narrow layers."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt
    from torchvision.models.swin_transformer import SwinTransformer
    from torchvision.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    if name.startswith("vit"):
        return VisionTransformer(image_size, 32, 1, 2, 16, 32, num_classes=3)
    if name.startswith("swin"):
        return SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], stochastic_depth_prob=0.0, num_classes=3)
    return ConvNeXt([CNBlockConfig(16, 24, 1), CNBlockConfig(24, None, 1)], num_classes=3)


@pytest.mark.parametrize("name", ["vit_b_32", "swin_t", "convnext_tiny"])
def test_features_of_torchvision_are_what_its_classifier_reads(name, monkeypatch):
    ensure_torchvision()
    monkeypatch.setattr("torchvision.models.get_model", small_torchvision)
    whole = small_torchvision(name).eval()
    network, last = without_classifier(name, size=64)
    load_strictly(network, dict(whole.state_dict()), source="a file", classifiers=(last,))
    encoder = make_backbone_encoder(name, network, Preprocessing(size=(64, 64)), architecture=name)
    read, pixels = [], torch.randn(1, 3, 64, 64)
    whole.get_submodule(last).register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    with torch.no_grad():
        whole(pixels)

    unit = torch.nn.functional.normalize(read[0], dim=1)
    torch.testing.assert_close(encoder.encode_pixels(pixels), unit, rtol=0, atol=1e-5)


def test_a_model_that_does_not_say_how_images_are_prepared_is_refused_and_not_shown_clips_colours(tmp_path, cache):
    for folder, id in (
        (tmp_path / "mine", f"open_clip:local-dir:{tmp_path / 'mine'}"),
        (cached(cache, "me/mine"), "open_clip:hf-hub:me/mine"),
    ):
        make_clip_folder(folder)
        file = folder / "open_clip_config.json"
        file.write_text(json.dumps({"model_cfg": json.loads(file.read_text())["model_cfg"]}))

        with pytest.raises(EncoderError, match="does not say how images are prepared"):
            load_encoder(id)


@pytest.mark.parametrize("make", [clip_folder, siglip_folder])
def test_a_processor_of_another_model_is_refused(make, tmp_path):
    id = make(tmp_path / "model")
    file = tmp_path / "model" / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    larger = (
        {"crop_size": {"height": 48, "width": 48}} if make is clip_folder else {"size": {"height": 48, "width": 48}}
    )
    file.write_text(json.dumps(settings | larger))

    with pytest.raises(EncoderError, match="prepares images of 48 x 48, but its model was made for 32 x 32"):
        load_encoder(id)
    file.unlink()
    (tmp_path / "model" / "processor_config.json").unlink(missing_ok=True)
    with pytest.raises(EncoderError, match="does not say how images are prepared"):
        load_encoder(id)


def test_a_backbone_that_cannot_take_its_images_says_so(tmp_path):
    id = timm_folder(tmp_path / "model", name="swin_tiny_patch4_window7_224", input_size=(3, 48, 48))

    with pytest.raises(EncoderError, match="cannot take images of 48 x 48"):
        load_encoder(id)
