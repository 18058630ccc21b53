"""What every kind of encoder promises, tried on tiny models with random weights; nothing is fetched."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))  # tests are imported without packages
from small_models import clip_folder, siglip_folder, timm_folder, torchvision_file

from cbm.encoders import TextEncoder, check_contract, list_encoders, load_encoder, reading, reads_text
from cbm.errors import EncoderError, UnknownName
from cbm.preprocessing import from_transformers
from cbm.torchvision_backbones import preprocessing_of as torchvision_preprocessing
from cbm.torchvision_backbones import read_published, without_classifier

MAKERS = {
    "clip": (clip_folder, 12),
    "siglip": (siglip_folder, 16),
    "timm": (timm_folder, 96),
    "torchvision": (lambda path, **settings: torchvision_file(path.with_suffix(".safetensors"), **settings), 512),
}
SHAPES = [(50, 71), (71, 50), (20, 90), (33, 33), (200, 65)]


def noise(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def ids(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: make(folder / name) for name, (make, _) in MAKERS.items()}


@pytest.fixture(scope="module")
def encoders(ids):
    return {name: load_encoder(id) for name, id in ids.items()}


@pytest.fixture(params=list(MAKERS))
def family(request):
    return request.param


def test_embeddings_are_unit_rows_of_the_stated_length(family, encoders):
    x = encoders[family].encode_images([noise(*shape) for shape in SHAPES])

    assert x.shape == (len(SHAPES), encoders[family].dim) == (len(SHAPES), MAKERS[family][1])
    assert x.dtype == torch.float32
    assert not x.is_inference()
    torch.testing.assert_close(x.norm(dim=1), torch.ones(len(x)))


def test_an_image_has_one_embedding_whatever_is_beside_it_and_whenever_it_is_asked(family, ids, encoders):
    images = [noise(*shape) for shape in SHAPES]
    together = encoders[family].encode_images(images)

    alone = torch.cat([encoders[family].encode_images([image]) for image in images])
    again = load_encoder(ids[family])

    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)
    assert torch.equal(again.encode_images(images), together)
    assert again.contract == encoders[family].contract


def test_a_contract_changes_with_the_weights_and_with_the_precision(family, tmp_path, ids, encoders):
    other = load_encoder(MAKERS[family][0](tmp_path / "other", seed=1))
    brief = load_encoder(ids[family], precision="bf16")

    assert len({other.contract, brief.contract, encoders[family].contract}) == 3
    image = [noise(50, 71)]
    assert float((brief.encode_images(image) * encoders[family].encode_images(image)).sum()) > 0.999
    with pytest.raises(EncoderError, match="not made with the weights of"):
        check_contract(other, encoders[family].contract)


def test_a_contract_changes_with_the_preprocessing_and_says_how(tmp_path, encoders):
    clip = load_encoder(clip_folder(tmp_path / "clip", size={"shortest_edge": 48}))
    timm = load_encoder(timm_folder(tmp_path / "timm", crop_pct=1.0))

    with pytest.raises(EncoderError, match="different preprocessing: resize 40, not 48"):
        check_contract(clip, encoders["clip"].contract, made_with=encoders["clip"].preprocessing)
    with pytest.raises(EncoderError, match="different preprocessing: resize 71, not 0"):
        check_contract(timm, encoders["timm"].contract, made_with=encoders["timm"].preprocessing)


def test_a_contract_sees_what_the_weights_do_not_show(tmp_path, encoders):
    folder = tmp_path / "clip"
    name = clip_folder(folder)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_attention_heads"] = 4  # the same weights, read in other pieces
    (folder / "config.json").write_text(json.dumps(config))

    assert load_encoder(name).contract != encoders["clip"].contract


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_embeddings_of_transformers_are_its_own(kind, ids, encoders):
    import transformers

    folder, encoder = ids[kind].removeprefix("hf:"), encoders[kind]
    model = getattr(transformers, {"clip": "CLIPModel", "siglip": "SiglipModel"}[kind]).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    pixels, texts = torch.randn(2, 3, 32, 32), ["a bird", "the red dog on the grass"]
    tokens = tokenizer(texts, padding="max_length", max_length=12, return_tensors="pt")
    with torch.no_grad():
        theirs = model(pixel_values=pixels, input_ids=tokens["input_ids"], attention_mask=None)

    torch.testing.assert_close(encoder.encode_pixels(pixels), theirs.image_embeds, rtol=0, atol=1e-6)
    torch.testing.assert_close(encoder.encode_texts(texts), theirs.text_embeds, rtol=0, atol=1e-6)
    torch.testing.assert_close(encoder.encode_texts(texts[:1]), theirs.text_embeds[:1], rtol=0, atol=1e-6)


def test_clip_reads_nothing_after_the_end_of_a_text(ids, encoders):
    import transformers

    folder = ids["clip"].removeprefix("hf:")
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(["a bird"], return_tensors="pt")  # not filled up
    with torch.no_grad():
        theirs = model.text_projection(model.text_model(**tokens).pooler_output)

    ours = encoders["clip"].encode_texts(["a bird"])
    torch.testing.assert_close(ours, torch.nn.functional.normalize(theirs, dim=1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_preprocessing_is_that_of_transformers(kind, ids, encoders):
    import transformers

    named = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}[kind]
    folder = ids[kind].removeprefix("hf:")
    by_pil = getattr(transformers, f"{named}Pil", None)
    usual = getattr(transformers, named).from_pretrained(folder)
    levels = 255 * min(encoders[kind].preprocessing.std)

    for shape in SHAPES:
        image = noise(*shape)
        ours = encoders[kind].preprocessing(image)
        theirs = usual(image, return_tensors="np")["pixel_values"][0]
        # torchvision resizes tensors a few levels of 255 off PIL on noise; another crop or filter would be off by a hundred
        assert np.abs(ours - theirs).max() * levels < 5
        if by_pil is not None:
            exact = by_pil.from_pretrained(folder)(image, return_tensors="np")["pixel_values"][0]
            np.testing.assert_allclose(ours, exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize("settings", [{}, {"crop_pct": 1.0}, {"crop_mode": "squash"}, {"interpolation": "bicubic"}])
def test_preprocessing_is_that_of_timm(settings, tmp_path):
    encoder = load_encoder(timm_folder(tmp_path / "model", **settings))
    from timm.data import create_transform

    known = json.loads((tmp_path / "model" / "config.json").read_text())["pretrained_cfg"]
    names = ("input_size", "interpolation", "mean", "std", "crop_pct")
    theirs = create_transform(**{name: known[name] for name in names}, crop_mode=known.get("crop_mode"))

    for shape in SHAPES:
        np.testing.assert_allclose(
            encoder.preprocessing(noise(*shape)), theirs(noise(*shape)).numpy(), rtol=0, atol=1e-6
        )


@pytest.mark.parametrize("name", ["resnet50", "vit_b_16", "inception_v3", "swin_t"])
def test_preprocessing_is_that_of_torchvision(name):
    from torchvision.models import get_model_weights

    transform = get_model_weights(name).DEFAULT.transforms()
    ours = torchvision_preprocessing(transform)

    for shape in SHAPES:
        np.testing.assert_allclose(ours(noise(*shape)), transform(noise(*shape)).numpy(), rtol=0, atol=1e-6)


def test_pooled_features_are_what_the_classifier_reads(ids, encoders):
    import timm
    from safetensors.torch import load_file
    from torchvision.models import resnet18

    theirs = resnet18().eval()
    theirs.load_state_dict(load_file(ids["torchvision"].partition("@")[2]))
    whole = timm.create_model("test_resnet", num_classes=5).eval()
    whole.load_state_dict(load_file(f"{ids['timm'].removeprefix('timm:local-dir:')}/model.safetensors"))
    pixels = {"torchvision": torch.randn(2, 3, 224, 224), "timm": torch.randn(2, 3, 64, 64)}
    read = []
    theirs.fc.register_forward_pre_hook(lambda module, inputs: read.append(inputs[0]))
    with torch.no_grad():
        theirs(pixels["torchvision"])
        read.append(whole.forward_head(whole.forward_features(pixels["timm"]), pre_logits=True))

    for name, features in zip(("torchvision", "timm"), read, strict=True):
        unit = torch.nn.functional.normalize(features, dim=1)
        torch.testing.assert_close(encoders[name].encode_pixels(pixels[name]), unit, rtol=0, atol=1e-6)


def test_who_reads_text_is_known_from_the_id(family, ids, encoders):
    assert reads_text(ids[family]) == isinstance(encoders[family], TextEncoder) == (family in ("clip", "siglip"))

    if reads_text(ids[family]):
        assert reading(encoders[family]) is encoders[family]
    else:
        with pytest.raises(EncoderError, match="reads no text, so words cannot become concepts"):
            reading(encoders[family])


@pytest.mark.parametrize(
    "id", ["hf:nobody/nothing", "hf:nobody/nothing@v1", "timm:resnet18.a1_in1k", "torchvision:resnet18"]
)
def test_weights_that_are_not_here_come_with_the_command_that_fetches_them(id, tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))

    with pytest.raises(EncoderError) as caught:
        load_encoder(id)

    assert caught.value.message == f"the weights of {id} are not on this machine"
    assert caught.value.hint.endswith(f"pellucid embed DATASET --encoder {id} --allow-download")


def test_pickles_are_refused_with_the_reason(tmp_path, ids):
    for name in ("hf", "timm"):
        folder = tmp_path / name
        (clip_folder if name == "hf" else timm_folder)(folder)
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(EncoderError, match=r"only as a pickle \(pytorch_model.bin\).*may run code"):
            load_encoder(f"hf:{folder}" if name == "hf" else f"timm:local-dir:{folder}")

    with pytest.raises(EncoderError, match="not a safetensors file; a pickle may run code"):
        load_encoder(f"torchvision:resnet18@{tmp_path}/weights.pth")


@pytest.mark.parametrize("family", ["clip", "timm", "torchvision"])
def test_weights_with_a_hole_are_refused_instead_of_filled_at_random(family, tmp_path):
    from safetensors.torch import load_file, save_file

    id = MAKERS[family][0](tmp_path / "model")
    file = tmp_path / ("model.safetensors" if family == "torchvision" else "model/model.safetensors")
    weights = load_file(file)
    hole = next(name for name in weights if name.endswith("weight") and "text" not in name)
    save_file({name: tensor for name, tensor in weights.items() if name != hole}, file, metadata={"format": "pt"})

    with pytest.raises(EncoderError, match=hole.replace(".", r"\.")):
        load_encoder(id)


def test_other_models_of_transformers_and_other_preprocessings_are_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(EncoderError, match="type 'bert'; of transformers, CLIP and SigLIP are read"):
        load_encoder(f"hf:{tmp_path}")

    plain = {"size": 32, "crop_size": 32, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    assert from_transformers(plain).size == (32, 32)
    for wrong in ({"do_normalize": False}, {"resample": 1}, {"rescale_factor": 1.0}, {"size": {"longest_edge": 9}}):
        with pytest.raises(EncoderError, match="not one that we know"):
            from_transformers(plain | wrong)


def test_published_pickles_of_torchvision_are_read_as_tensors_after_their_checksum(tmp_path):
    torch.save({"w": torch.ones(2)}, tmp_path / "tensors.pth")
    torch.save({"w": print}, tmp_path / "code.pth")
    named = {}
    for name in ("tensors", "code"):
        digest = hashlib.sha256((tmp_path / f"{name}.pth").read_bytes()).hexdigest()
        named[name] = (tmp_path / f"{name}.pth").rename(tmp_path / f"{name}-{digest[:8]}.pth")

    assert torch.equal(read_published(named["tensors"])["w"], torch.ones(2))
    with pytest.raises(EncoderError, match="other things than tensors"):
        read_published(named["code"])
    named["tensors"].write_bytes(named["tensors"].read_bytes() + b"\0")
    with pytest.raises(EncoderError, match="not the file that was published"):
        read_published(named["tensors"])


def test_a_network_without_a_linear_classifier_is_refused():
    with pytest.raises(EncoderError, match="squeezenet1_1 does not end in a linear classifier"):
        without_classifier("squeezenet1_1", size=224)


@pytest.mark.parametrize(
    ("id", "close"),
    [
        ("timm:resnt18", "resnet18"),
        ("timm:resnet18.a9_in1k", "resnet18.a1_in1k"),
        ("torchvision:resnet51", "resnet50"),
        ("torchvision:resnet50/IMAGENET1K_V3", "IMAGENET1K_V2"),
    ],
)
def test_an_unknown_backbone_names_those_that_are_close(id, close):
    with pytest.raises(UnknownName) as caught:
        load_encoder(id)

    assert close in caught.value.hint


def test_the_list_has_every_family_and_what_is_in_the_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    clip_folder(tmp_path / "models--me--mine" / "snapshots" / "1")
    timm_folder(tmp_path / "models--timm--test_resnet.r160_in1k" / "snapshots" / "1")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet18-f37072fd.pth").touch()

    installed = [info.id for info in list_encoders() if not info.id.startswith(("builtin:", "open_clip:"))]
    known = {info.id: info.installed for info in list_encoders("resnet18")}

    assert installed == ["hf:me/mine", "torchvision:resnet18/IMAGENET1K_V1", "timm:test_resnet.r160_in1k"]
    assert known["torchvision:resnet18/IMAGENET1K_V1"] is True
    assert known["timm:resnet18.a1_in1k"] is False
    assert [info.id for info in list_encoders("siglip-base")][-1].startswith("hf:google/siglip-base")


def test_the_hub_reads_a_cached_snapshot_at_a_revision_without_a_network(tmp_path, monkeypatch, encoders):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--me--mine"
    clip_folder(repository / "snapshots" / ("a" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text("a" * 40)

    found = load_encoder("hf:me/mine@v1")

    assert found.contract == encoders["clip"].contract
    assert found.id == "hf:me/mine@v1"
    assert found.preprocessing == encoders["clip"].preprocessing
