import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cbm.clip import contract_of, offline
from cbm.encoders import check_contract, list_encoders, load_encoder
from cbm.errors import EncoderError, UnknownName
from cbm.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing, from_open_clip
from cbm.torchvision_guard import ensure_torchvision, missing_operator

ARCHITECTURE = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
OPEN_CLIP_DEFAULTS = {
    "size": 32,
    "resize_mode": "shortest",
    "interpolation": "bicubic",
    "fill_color": 0,
    "mean": CLIP_MEAN,
    "std": CLIP_STD,
}


def make_clip_folder(folder: Path, *, seed: int = 0, preprocessing: dict | None = None, half: bool = False) -> str:
    """A tiny CLIP model with random weights, as open_clip saves one; returns its encoder id."""
    ensure_torchvision()
    from open_clip import CLIP
    from safetensors.torch import save_file

    torch.manual_seed(seed)
    weights = CLIP(**ARCHITECTURE).state_dict()
    if half:
        weights = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
    folder.mkdir(exist_ok=True)
    save_file(weights, folder / "open_clip_model.safetensors")
    config = {
        "model_cfg": ARCHITECTURE,
        "preprocess_cfg": {"mean": CLIP_MEAN, "std": CLIP_STD, **(preprocessing or {})},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    return f"open_clip:local-dir:{folder}"


@pytest.fixture(scope="module")
def clip_id(tmp_path_factory):
    return make_clip_folder(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def encoder(clip_id):
    return load_encoder(clip_id)


def noise(height: int, width: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [32, (24, 40), 64])
@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_preprocessing_equals_open_clips_transform(mode, size, interpolation):
    ensure_torchvision()
    from open_clip.transform import image_transform

    settings = OPEN_CLIP_DEFAULTS | {"size": size, "resize_mode": mode, "interpolation": interpolation, "fill_color": 7}
    theirs = image_transform(size, False, resize_mode=mode, interpolation=interpolation, fill_color=7)
    ours = from_open_clip(settings)

    for shape in [(50, 71), (71, 50), (20, 90), (33, 33), (200, 64)]:
        image = noise(*shape)
        np.testing.assert_allclose(ours(image), theirs(image).numpy(), rtol=0, atol=1e-6)


def test_a_resize_before_the_crop_keeps_the_middle():
    picture = np.zeros((256, 256, 3), np.uint8)
    picture[16:240, 16:240] = 255  # exactly the middle 224 x 224

    seen = Preprocessing(size=(224, 224), resize=256).frame(Image.fromarray(picture))

    assert np.asarray(seen).min() == 255


def test_preprocessing_survives_json_and_names_what_differs():
    small = Preprocessing(size=(128, 128), mean=(0.5, 0.5, 0.5))

    assert Preprocessing.from_dict(json.loads(json.dumps(small.to_dict()))) == small
    assert small.difference(replace(small, size=(224, 224))) == "size 128 x 128, not 224 x 224"
    assert small.difference(small) == ""


def test_a_local_folder_gives_what_open_clip_gives(clip_id, encoder):
    import open_clip

    model, _, transform = open_clip.create_model_and_transforms(clip_id.removeprefix("open_clip:"))
    image, texts = noise(50, 71), ["a bird", "a dog on the grass"]
    with torch.no_grad():
        theirs = model.eval().encode_image(transform(image)[None], normalize=True)
        their_texts = model.encode_text(open_clip.tokenize(texts, 16), normalize=True)

    assert encoder.dim == 16
    torch.testing.assert_close(encoder.encode_images([image]), theirs, rtol=0, atol=1e-6)
    torch.testing.assert_close(encoder.encode_texts(texts), their_texts, rtol=0, atol=1e-6)


def test_embeddings_are_unit_rows_in_single_precision_outside_inference_mode(encoder):
    images = encoder.encode_images([noise(40, 40), noise(90, 30)])
    texts = encoder.encode_texts([f"text {i}" for i in range(70)])  # more than one batch

    for rows in (images, texts):
        assert rows.dtype == torch.float32
        assert not rows.is_inference()
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))


def test_half_precision_weights_are_computed_in_single_precision(tmp_path, encoder):
    half = load_encoder(make_clip_folder(tmp_path, half=True))

    assert next(half.model.parameters()).dtype == torch.float32
    assert half.contract != encoder.contract  # rounding changed the weights
    torch.testing.assert_close(
        half.encode_images([noise(40, 40)]), encoder.encode_images([noise(40, 40)]), rtol=0, atol=5e-3
    )


def test_bf16_is_close_and_has_its_own_contract(clip_id, encoder):
    brief = load_encoder(clip_id, precision="bf16")

    cosine = (brief.encode_images([noise(40, 40)]) * encoder.encode_images([noise(40, 40)])).sum()
    assert float(cosine) > 0.999
    assert brief.contract != encoder.contract
    assert len(brief.encode_texts(["a bird"])) == 1


def test_a_contract_depends_on_weights_and_preprocessing_only(tmp_path, clip_id, encoder):
    assert load_encoder(clip_id).contract == encoder.contract
    assert load_encoder(make_clip_folder(tmp_path / "copy")).contract == encoder.contract
    assert load_encoder(make_clip_folder(tmp_path / "other", seed=1)).contract != encoder.contract
    grey = make_clip_folder(tmp_path / "grey", preprocessing={"mean": [0.5, 0.5, 0.5]})
    assert load_encoder(grey).contract != encoder.contract


def test_a_contract_sees_a_single_changed_bit():
    weights = {"w": torch.zeros(3)}
    before = contract_of(weights, Preprocessing())
    weights["w"][1] = 1e-45  # the smallest float

    assert contract_of(weights, Preprocessing()) != before


def test_embeddings_of_another_preprocessing_are_refused_with_the_difference(encoder):
    check_contract(encoder, encoder.contract)

    with pytest.raises(EncoderError, match="a different preprocessing: size 224 x 224, not 32 x 32"):
        check_contract(encoder, "0" * 64, made_with=replace(encoder.preprocessing, size=(224, 224)))
    with pytest.raises(EncoderError, match="not made with the weights of open_clip:local-dir"):
        check_contract(encoder, "0" * 64, made_with=encoder.preprocessing)


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("bultin:demo", "builtin:demo"),
        ("builtin:dema", "demo"),
        ("open_clip:ViT-B-33/openai", "ViT-B-32"),
        ("open_clip:ViT-B-32/opnai", "openai"),
        ("photo", "builtin:photo"),
    ],
)
def test_an_unknown_encoder_names_the_choices(name, close):
    with pytest.raises(UnknownName) as caught:
        load_encoder(name)

    assert close in caught.value.hint


@pytest.mark.parametrize("rest", ["ViT-B-32/laion2b_s34b_b79k", "ViT-B-32/openai", "hf-hub:nobody/nothing"])
def test_a_missing_checkpoint_says_how_to_fetch_it(rest, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(EncoderError, match="are not on this machine") as caught:
        load_encoder(f"open_clip:{rest}")
    assert caught.value.hint.endswith(f"--encoder open_clip:{rest} --allow-download")


def test_a_folder_without_a_model_or_with_a_pickle_is_refused(tmp_path):
    with pytest.raises(EncoderError, match="holds no open_clip model"):
        load_encoder(f"open_clip:local-dir:{tmp_path}")

    (tmp_path / "open_clip_config.json").write_text("{}")
    (tmp_path / "open_clip_model.bin").write_bytes(b"pickle")
    with pytest.raises(EncoderError, match="safetensors"):
        load_encoder(f"open_clip:local-dir:{tmp_path}")


def test_weights_that_do_not_fit_the_config_are_an_encoder_error(tmp_path):
    name = make_clip_folder(tmp_path)
    wrong = ARCHITECTURE | {"embed_dim": 8}
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": wrong}))

    with pytest.raises(EncoderError, match="cannot load"):
        load_encoder(name)


def test_the_list_has_the_builtin_ones_first_and_filters_by_pattern():
    everything = list_encoders()
    openai = list_encoders("b-32/openai")

    assert [info.id for info in everything][:2] == ["builtin:demo", "builtin:photo"]
    assert "open_clip:ViT-B-32/openai" in [info.id for info in openai]
    assert all("b-32/openai" in info.id.lower() for info in openai)


def test_offline_is_undone_afterwards(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with offline():
        assert constants.HF_HUB_OFFLINE
    assert not constants.HF_HUB_OFFLINE


def test_the_guard_only_swallows_the_known_missing_operators():
    other = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory"):
        missing_operator(other)
    with pytest.raises(RuntimeError, match="box_area"):
        missing_operator(RuntimeError("operator torchvision::box_area does not exist"))

    assert ensure_torchvision() is sys.modules["torchvision"]


def test_the_demo_encoder_loads_and_puts_images_and_texts_in_one_space():
    encoder = load_encoder("builtin:demo")

    assert encoder.preprocessing.size == (128, 128)
    assert encoder.encode_images([noise(150, 200)]).shape == encoder.encode_texts(["a bird"]).shape == (1, encoder.dim)
