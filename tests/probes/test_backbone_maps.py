"""Maps and attention of encoders that are not open_clip's: what the structure allows works, and adds up."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "cbm"))  # tests are imported without packages
from small_models import clip_folder, siglip_folder, timm_folder

from cbm.backbones import load_strictly, make_backbone_encoder
from cbm.bottleneck import LinearBottleneck
from cbm.encoders import load_encoder
from cbm.errors import EncoderError
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe
from cbm.preprocessing import Preprocessing
from probes.head_effects import effects_of_heads, look
from probes.heads import ablate_heads
from probes.maps import METHODS, concept_maps, possible_methods, why_not_exact
from probes.views import view

ALL = tuple(METHODS)
NETWORK = ("decomposition", "dense", "gradcam", "integrated-gradients", "occlusion")
LEFT = ("gradcam", "integrated-gradients", "occlusion")


def torchvision_vit():
    """A tiny vision transformer of torchvision, without its classifier."""
    from torchvision.models.vision_transformer import VisionTransformer

    torch.manual_seed(0)
    network = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=24, mlp_dim=32)
    network.heads.head = torch.nn.Identity()
    return make_backbone_encoder("tiny", network, Preprocessing(size=(32, 32)), architecture="tiny")


def torchvision_resnet():
    """A tiny residual network of torchvision, without its classifier."""
    from torchvision.models.resnet import BasicBlock, ResNet

    torch.manual_seed(0)
    network = ResNet(BasicBlock, [1, 1, 1, 1])
    network.fc = torch.nn.Identity()
    return make_backbone_encoder("tiny", network, Preprocessing(size=(64, 64)), architecture="tiny")


def torchvision_tiny(kind):
    """A tiny Swin or ConvNeXt of torchvision, without its classifier."""
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt
    from torchvision.models.swin_transformer import SwinTransformer

    torch.manual_seed(0)
    if kind == "swin":
        network = SwinTransformer([4, 4], 16, [1, 1], [2, 2], [4, 4], stochastic_depth_prob=0.0)
        network.head = torch.nn.Identity()
    else:
        network = ConvNeXt([CNBlockConfig(16, 24, 1), CNBlockConfig(24, None, 1)])
        network.classifier[2] = torch.nn.Identity()
    return make_backbone_encoder("tiny", network, Preprocessing(size=(64, 64)), architecture="tiny")


SWIN = "swin_tiny_patch4_window7_224"
MAKERS = {
    "clip": (lambda folder: load_encoder(clip_folder(folder)), ALL, (4, 4)),
    "siglip": (lambda folder: load_encoder(siglip_folder(folder)), LEFT, (4, 4)),
    "timm vit": (lambda folder: load_encoder(timm_folder(folder, name="test_vit")), ALL, (10, 10)),
    "timm resnet": (lambda folder: load_encoder(timm_folder(folder)), NETWORK, None),
    "timm convnext": (lambda folder: load_encoder(timm_folder(folder, name="test_convnext")), LEFT, None),
    "timm swin": (lambda folder: load_encoder(timm_folder(folder, name=SWIN)), NETWORK, (4, 4)),
    "torchvision swin": (lambda folder: torchvision_tiny("swin"), NETWORK, (8, 8)),
    "torchvision convnext": (lambda folder: torchvision_tiny("convnext"), LEFT, (8, 8)),
    "torchvision vit": (lambda folder: torchvision_vit(), ALL, (4, 4)),
    "torchvision resnet": (lambda folder: torchvision_resnet(), NETWORK, (2, 2)),
}
ATTENTIVE = ("clip", "siglip", "timm vit", "torchvision vit")


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: make(folder / name.replace(" ", "-")) for name, (make, _, _) in MAKERS.items()}


@pytest.fixture(params=list(MAKERS))
def kind(request):
    return request.param


def picture():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 70, 3), dtype=np.uint8))


def model_of(encoder, k=2):
    """Two random directions as concepts, and two classes."""
    chance = torch.Generator().manual_seed(3)
    bottleneck = LinearBottleneck(torch.randn(k, encoder.dim, generator=chance), torch.tensor([0.5, -1.0]))
    head = LinearHead(torch.randn(2, k, generator=chance), torch.zeros(2))
    return ConceptModel(("one", "two"), ("a", "b"), bottleneck, head, Recipe("posthoc", contract=encoder.contract))


def test_the_structure_says_which_maps_there_are(kind, encoders):
    model = model_of(encoders[kind])
    told = why_not_exact(encoders[kind], model)

    assert possible_methods(encoders[kind], model) == MAKERS[kind][1]
    assert (told == "") == ("decomposition" in MAKERS[kind][1])
    assert "no exact share" in told or not told


def test_all_possible_maps_have_the_encoders_places_and_the_models_score(kind, encoders):
    encoder = encoders[kind]
    model, grid = model_of(encoder), view(encoder, picture()).grid
    scores = model.scores(encoder.encode_images([picture()]))[0]

    for method in MAKERS[kind][1]:
        found = concept_maps(model, encoder, picture(), method=method)
        assert [one.values.shape for one in found] == [grid, grid]
        assert [one.score for one in found] == pytest.approx(scores.tolist(), abs=1e-4)
        assert all(bool(torch.isfinite(one.values).all()) for one in found)
    assert MAKERS[kind][2] in (None, grid)


@pytest.mark.parametrize("kind", [name for name, (_, methods, _) in MAKERS.items() if "decomposition" in methods])
def test_places_and_rest_sum_to_the_score(kind, encoders):
    encoder = encoders[kind]

    found = concept_maps(model_of(encoder), encoder, picture())

    for one in found:
        assert float(one.values.sum()) + one.rest == pytest.approx(one.score, abs=1e-4)
        assert one.values.std() > 0


def test_a_network_of_averages_puts_a_score_where_the_features_are(encoders):
    encoder = encoders["torchvision resnet"]
    model, features = model_of(encoder), []
    handle = encoder.visual.trunk.layer4.register_forward_hook(lambda module, inputs, output: features.append(output))
    x = encoder.encode_images([picture()])
    handle.remove()

    (one, _) = concept_maps(model, encoder, picture())

    length = features[0].mean((2, 3)).norm()
    wanted = torch.einsum("chw,c->hw", features[0][0], model.bottleneck.weight[0]) / (4 * length)
    torch.testing.assert_close(one.values, wanted.clone(), rtol=0, atol=1e-5)
    assert one.rest == pytest.approx(0.5, abs=1e-4)  # the bottleneck's own bias
    assert x.shape == (1, 512)


@pytest.mark.parametrize("kind", ATTENTIVE)
def test_attention_can_be_looked_into_and_heads_closed(kind, encoders):
    encoder = encoders[kind]
    pixels = torch.from_numpy(encoder.preprocessing(picture()))

    seen = look(encoder, pixels)
    closed = ablate_heads(encoder, torch.stack([pixels, pixels.flip(2)]), replacement="zero")

    torch.testing.assert_close(seen.embedding, encoder.encode_pixels(pixels[None])[0], rtol=0, atol=1e-5)
    assert seen.attention().shape[-2:] == seen.grid
    assert (closed.without - closed.full).norm(dim=-1).min() > 0


@pytest.mark.parametrize("kind", ATTENTIVE)
def test_what_heads_add_and_the_rest_sum_to_the_score_or_it_is_said_why_not(kind, encoders):
    encoder = encoders[kind]
    model, seen = model_of(encoder), look(encoder, torch.from_numpy(encoder.preprocessing(picture())))
    if kind == "siglip":
        with pytest.raises(EncoderError, match="not read from a class token"):
            effects_of_heads(model, encoder, seen, model.concepts)
        return

    found = effects_of_heads(model, encoder, seen, model.concepts)

    scores = model.scores(encoder.encode_images([picture()]))[0]
    torch.testing.assert_close(found.heads.sum((1, 2)) + found.rest, scores, rtol=0, atol=1e-4)
    places = concept_maps(model, encoder, picture())
    for k, one in enumerate(places):  # the same places, taken apart by two ways
        torch.testing.assert_close(found.places[k].sum((0, 1)), one.values, rtol=0, atol=1e-4)


def test_a_network_without_attention_says_so(encoders):
    with pytest.raises(EncoderError):
        look(encoders["timm resnet"], torch.zeros(3, 64, 64))


class Last(torch.nn.Module):
    """A linear map of each cell, its channels kept last, and the mean of all cells."""

    def __init__(self, channels):
        super().__init__()
        self.cells, self.norm = torch.nn.Conv2d(3, channels, 8, stride=8), torch.nn.LayerNorm(channels)

    def forward(self, pixels):
        return self.norm(self.cells(pixels).permute(0, 2, 3, 1)).mean((1, 2))


@pytest.mark.parametrize("channels", [4, 6, 48])  # four is also the number of places in a row
def test_a_network_with_channels_last_is_read_so_and_not_taken_for_a_wide_map(channels):
    torch.manual_seed(0)
    encoder = make_backbone_encoder("last", Last(channels), Preprocessing(size=(32, 32)), architecture="last")
    model = model_of(encoder)
    picture = Image.new("RGB", (32, 32), (90, 90, 90))
    picture.paste((255, 0, 0), (16, 8, 24, 16))  # the second row's third cell

    found = concept_maps(model, encoder, picture)

    for one in found:
        assert one.values.shape == (4, 4)
        assert float(one.values.sum()) + one.rest == pytest.approx(one.score, abs=1e-4)
        apart = (one.values - one.values.median()).abs()
        assert divmod(int(apart.argmax()), 4) == (1, 2)
        assert int((apart > 1e-5).sum()) == 1
    if channels != 4:
        across = concept_maps(model, encoder, picture, method="gradcam")
        assert all(int(one.values.sub(one.values.median()).abs().argmax()) == 6 for one in across)


def test_places_in_an_order_that_is_not_known_are_refused():
    encoder = make_backbone_encoder("odd", OddMap(), Preprocessing(size=(32, 32)), architecture="odd")

    with pytest.raises(EncoderError, match="an order that is not known here"):
        concept_maps(model_of(encoder), encoder, picture(), method="occlusion")


class OddMap(torch.nn.Module):
    """Cells in one long row, the channels in the middle."""

    def __init__(self):
        super().__init__()
        self.cells, self.row = torch.nn.Conv2d(3, 48, 8, stride=8), torch.nn.Flatten(2)
        self.shaped = torch.nn.Unflatten(2, (16, 1))

    def forward(self, pixels):
        return self.shaped(self.row(self.cells(pixels))).mean((2, 3)) ** 2


def test_weights_that_do_not_fit_are_named():
    with pytest.raises(EncoderError, match="do not fit the network"):
        load_strictly(torch.nn.Linear(2, 2), {"weight": torch.zeros(3, 3)}, source="a file", classifiers=())
