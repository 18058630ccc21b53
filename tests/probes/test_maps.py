"""Concept maps: they add up, they find planted places, and they stay pale for what is absent."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from assets.birds import render_bird, sample_mix
from assets.species import GROUP_OF, PARTS, PARTS_OF_GROUP
from cbm.bottleneck import LinearBottleneck, ProfileBottleneck, ReluBottleneck
from cbm.clip import make_clip_encoder
from cbm.encoders import load_encoder
from cbm.errors import EncoderError, ModelError, UnknownName, UsageError
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe
from cbm.preprocessing import Preprocessing
from cbm.torchvision_guard import ensure_torchvision
from probes.maps import METHODS, ConceptMap, common_scale, concept_map, concept_maps, decompose, possible_methods
from probes.overlays import GAP, LOWERS, RAISES, frame_png, overlay_png, sheet_png
from probes.views import view

CONCEPTS = ("striped", "long tail", "water")
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8))


def shaken(module, seed=0):
    """The module with random weights and buffers, none of them small."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape, generator=generator) * 0.3)
            if name.endswith("running_var"):
                value.abs_().add_(0.5)
    return module


def encoder_around(visual, preprocessing, weights=shaken):
    """An encoder with this image tower; every text is the same to it."""
    model = nn.Module()
    model.visual = weights(visual)
    model.encode_image = visual.forward
    model.encode_text = lambda tokens: torch.ones(len(tokens), 12)
    return make_clip_encoder("test:random", model, lambda texts: torch.zeros(len(texts), 1), preprocessing)


@pytest.fixture(scope="module")
def vit():
    ensure_torchvision()
    from open_clip.transformer import VisionTransformer

    visual = VisionTransformer((32, 48), 8, width=24, layers=3, heads=4, mlp_ratio=2.0, output_dim=12)
    return encoder_around(visual, Preprocessing(size=(32, 48), mode="squash"))


class Trunk(nn.Module):
    """Two convolutions and a mean, with the names that timm gives them."""

    def __init__(self):
        super().__init__()
        first = (nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.layers = nn.Sequential(*first, nn.Conv2d(8, 10, 3, 2, 1), nn.ReLU())

    def forward_features(self, pixels):
        return self.layers(pixels)

    def forward_head(self, features):
        return features.mean((2, 3))

    def forward(self, pixels):
        return self.forward_head(self.forward_features(pixels))


@pytest.fixture(scope="module")
def cnn():
    ensure_torchvision()
    from open_clip.timm_model import TimmModel

    visual = TimmModel.__new__(TimmModel)
    nn.Module.__init__(visual)
    visual.trunk, visual.head = Trunk(), nn.Sequential()
    visual.head.add_module("proj", nn.Linear(10, 12))
    return encoder_around(visual, Preprocessing(size=(32, 32)))


def model_of(encoder, weight=None, bottleneck=None):
    """A model with three concepts in arbitrary directions, or in those given."""
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(3, 12, generator=generator) if weight is None else weight
    concepts = CONCEPTS if len(weight) == 3 else tuple(f"c{k}" for k in range(len(weight)))
    linear = LinearBottleneck(weight, torch.arange(len(weight)) - 0.5)
    head = LinearHead(torch.zeros(2, len(weight)), torch.zeros(2))
    recipe = Recipe("posthoc", encoder_id=encoder.id, contract=encoder.contract)
    return ConceptModel(concepts, ("a", "b"), bottleneck or linear, head, recipe)


@pytest.mark.parametrize("name", ["vit", "cnn"])
def test_places_and_rest_sum_to_the_score(name, request):
    encoder = request.getfixturevalue(name)
    model = model_of(encoder)
    scores = model.scores(encoder.encode_images([NOISE]))[0]

    maps = concept_maps(model, encoder, NOISE)

    assert [m.concept for m in maps] == list(CONCEPTS)
    for m, score in zip(maps, scores.tolist(), strict=True):
        assert m.exact
        assert m.score == pytest.approx(score, abs=1e-4)
        assert float(m.values.sum()) + m.rest == pytest.approx(score, abs=1e-4)
        assert m.values.std() > 1e-3


def test_a_network_of_timm_is_taken_apart_into_its_last_feature_map():
    ensure_torchvision()
    from open_clip.timm_model import TimmModel

    torch.manual_seed(0)
    visual = TimmModel("tf_efficientnet_lite0", 12, image_size=96, proj_bias=True)
    encoder = encoder_around(visual, Preprocessing(size=(96, 96)), weights=lambda module: module)

    parts = decompose(encoder, NOISE)

    assert parts.places.shape == (3, 3, 12)
    torch.testing.assert_close(parts.embedding, encoder.encode_images([NOISE])[0], rtol=0, atol=1e-6)
    assert parts.places.flatten(0, 1).std(0).max() > 1e-4


def test_a_map_has_the_encoders_grid(vit, cnn):
    assert concept_map(model_of(vit), vit, NOISE, "water").values.shape == (4, 6)
    assert concept_map(model_of(cnn), cnn, NOISE, "water").values.shape == (4, 4)


def test_a_profiles_length_is_held_and_the_parts_still_add_up(vit):
    gram = torch.eye(12) * 4
    profile = ProfileBottleneck(torch.randn(3, 12), torch.ones(3), gram, total=-torch.ones(12))
    model = model_of(vit, bottleneck=profile)

    found = concept_map(model, vit, NOISE, "striped")

    assert float(found.values.sum()) + found.rest == pytest.approx(found.score, abs=1e-4)
    assert found.score == pytest.approx(float(model.scores(vit.encode_images([NOISE]))[0, 0]), abs=1e-4)


def test_a_pooled_network_puts_a_score_where_the_picture_is_not_black(cnn):
    picture = Image.new("RGB", (32, 32))
    picture.paste((255, 255, 255), (24, 0, 32, 8))  # upper right place of four by four

    inside, blank = decompose(cnn, picture).places, decompose(cnn, Image.new("RGB", (32, 32))).places

    changed = (inside - blank * inside[3, 0].norm() / blank[3, 0].norm()).norm(dim=2)  # other length, same direction
    assert changed.argmax() == 3
    assert changed[2:].max() < 1e-5


def test_what_has_no_map_is_refused_in_words(vit, word_encoder):
    model = model_of(vit)
    with pytest.raises(UnknownName, match="way to make maps"):
        concept_map(model, vit, NOISE, "water", method="guess")
    with pytest.raises(UnknownName, match="concept"):
        concept_map(model, vit, NOISE, "watter")
    with pytest.raises(EncoderError, match="cannot be taken apart"):
        decompose(word_encoder, NOISE)
    with pytest.raises(ModelError, match="not linear"):
        concept_map(model_of(vit, bottleneck=lambda x, clamp=None: x), vit, NOISE, "water")
    assert concept_map(model_of(vit, bottleneck=lambda x, clamp=None: x), vit, NOISE, "water", method="occlusion")


def siglip():
    """A small SigLIP as open_clip holds it: a tower of timm that ends in attention pooling."""
    import timm
    from open_clip.timm_model import TimmModel

    visual = TimmModel.__new__(TimmModel)
    nn.Module.__init__(visual)
    settings = {"embed_dim": 24, "depth": 2, "num_heads": 4, "num_classes": 0, "img_size": 32}
    visual.trunk = timm.create_model("vit_base_patch16_siglip_224", pretrained=False, **settings)
    visual.head = nn.Sequential()
    return visual, 24, (2, 2)


def clip_resnet():
    """A small residual network of CLIP."""
    from open_clip.modified_resnet import ModifiedResNet

    return ModifiedResNet((1, 1, 1, 1), 12, 4, image_size=64, width=8), 12, (2, 2)


@pytest.mark.parametrize("make", [siglip, clip_resnet])
def test_encoders_that_cannot_be_taken_apart_have_the_methods_that_are_left(make):
    ensure_torchvision()
    visual, width, grid = make()
    side = 32 if make is siglip else 64
    encoder = encoder_around(visual, Preprocessing(size=(side, side)))
    model = model_of(encoder, weight=torch.randn(3, width))

    assert possible_methods(encoder, model) == ("gradcam", "integrated-gradients", "occlusion")
    for method in possible_methods(encoder, model):
        found = concept_map(model, encoder, NOISE, "water", method=method)
        assert found.values.shape == grid
        assert found.values.std() > 0
    with pytest.raises(EncoderError, match="cannot be taken apart"):
        decompose(encoder, NOISE)


def test_possible_methods_follow_the_encoder_and_the_model(vit, cnn, word_encoder):
    assert possible_methods(vit, model_of(vit)) == tuple(METHODS)
    assert set(METHODS) - set(possible_methods(cnn, model_of(cnn))) == {"relevance", "rollout"}
    curved = model_of(vit, bottleneck=lambda x, clamp=None: x)
    assert set(METHODS) - set(possible_methods(vit, curved)) == {"decomposition", "dense"}
    assert possible_methods(word_encoder, model_of(vit)) == ()


@pytest.mark.parametrize("method", ["dense", "relevance", "rollout"])
def test_a_method_that_needs_a_class_token_says_so(cnn, method):
    if method == "dense":
        assert concept_map(model_of(cnn), cnn, NOISE, "water", method=method).values.shape == (4, 4)
        return
    with pytest.raises(EncoderError, match=f"{method} needs a transformer"):
        concept_map(model_of(cnn), cnn, NOISE, "water", method=method)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "decomposition"])
def test_every_method_gives_the_encoders_grid_and_the_models_score(vit, method):
    model = model_of(vit)
    scores = model.scores(vit.encode_images([NOISE]))[0]

    found = concept_maps(model, vit, NOISE, method=method)

    assert [m.values.shape for m in found] == [(4, 6)] * 3
    assert [m.score for m in found] == pytest.approx(scores.tolist(), abs=1e-4)
    assert all(m.values.std() > 1e-6 and not m.exact for m in found)
    assert METHODS[method].signed == any((m.values < 0).any() for m in found)
    assert METHODS[method].blind == torch.equal(found[0].values, found[1].values)


def test_in_a_pooled_network_gradcam_is_the_decomposition_across_the_embedding(cnn):
    model, parts = model_of(cnn), decompose(cnn, NOISE)
    x = parts.embedding
    across = model.bottleneck.weight - (model.bottleneck.weight @ x)[:, None] * x  # the unit length's derivative

    found = concept_maps(model, cnn, NOISE, method="gradcam")

    expected = torch.einsum("hwd,kd->khw", parts.places, across)
    torch.testing.assert_close(torch.stack([m.values for m in found]), expected, rtol=1e-3, atol=1e-5)


def test_a_covered_place_that_has_the_mean_colour_already_loses_nothing(vit):
    grey = Image.new("RGB", (48, 32), (90, 90, 90))

    found = concept_map(model_of(vit), vit, grey, "water", method="occlusion")

    assert found.values.abs().max() < 1e-5


def test_occlusion_is_the_score_less_that_of_the_covered_image(vit):
    model, picture = model_of(vit), NOISE.resize((48, 32))
    seen = view(vit, picture)
    covered = seen.pixels.clone()
    covered[:, :, 8:16, 16:24] = seen.pixels.mean((2, 3))[:, :, None, None]  # the patch in row 1, column 2

    found = concept_map(model, vit, picture, "water", method="occlusion")

    lost = found.score - float(model.scores(seen.embed(covered))[0, model.concept("water")])
    assert float(found.values[1, 2]) == pytest.approx(lost, abs=1e-5)


def test_integrated_gradients_add_up_to_what_the_image_adds_to_its_mean_colour(vit):
    model, seen = model_of(vit), view(vit, NOISE)
    flat = float(model.scores(seen.embed(seen.pixels.mean((2, 3), keepdim=True).expand_as(seen.pixels)))[0, 2])

    found = concept_map(model, vit, NOISE, "water", method="integrated-gradients")

    assert float(found.values.sum()) == pytest.approx(found.score - flat, abs=0.1 * max(1.0, abs(found.score - flat)))
    assert found.rest == pytest.approx(flat, abs=0.1 * max(1.0, abs(found.score - flat)))


def test_an_atom_that_is_not_active_has_an_empty_map_and_one_that_is_adds_up(vit):
    x = vit.encode_images([NOISE])[0]
    atoms = torch.stack([x, -x, x.flip(0)])
    bottleneck = ReluBottleneck(torch.eye(3) * 2, torch.ones(3), atoms, torch.zeros(3), torch.tensor([0.1, 0.1, -9.0]))
    model = model_of(vit, bottleneck=bottleneck)

    active, silent, also = concept_maps(model, vit, NOISE)

    assert active.score == pytest.approx(3, abs=1e-4)
    assert silent.score == silent.rest == 1
    assert silent.values.abs().max() == 0
    assert active.rest == pytest.approx(float(decompose(vit, NOISE).rest @ x) * 2 + 1, abs=1e-4)
    assert also.values.abs().max() > 0


def test_a_model_of_another_encoder_is_refused(vit, cnn):
    with pytest.raises(EncoderError, match="not made with the weights"):
        concept_map(model_of(cnn), vit, NOISE, "water")


@pytest.fixture(scope="module")
def demo():
    return load_encoder("builtin:demo")


@pytest.fixture(scope="module")
def seen(demo):
    """Forty rendered birds: for every concept of a part, its map, its part's places, and whether it is present."""
    concepts = [c for c, group in GROUP_OF.items() if group not in ("background", "size")]
    texts = demo.encode_texts([f"a bird with a {concept}" for concept in concepts])
    weight = texts - texts.mean(0)
    scaled = weight / (weight @ weight.T).diagonal().sqrt()[:, None]
    model = ConceptModel(
        tuple(concepts),
        ("a", "b"),
        LinearBottleneck(scaled, torch.zeros(len(concepts))),
        LinearHead(torch.zeros(2, len(concepts)), torch.zeros(2)),
        Recipe("zero-shot", encoder_id=demo.id, contract=demo.contract),
    )
    rng, rows = np.random.default_rng(12), []
    for _ in range(40):
        bird = sample_mix(rng)
        pixels, parts = render_bird(bird, rng)
        places = parts.reshape(8, 16, 8, 16).swapaxes(1, 2).reshape(8, 8, 256)
        for found in concept_maps(model, demo, Image.fromarray(pixels)):
            group = GROUP_OF[found.concept]
            where = (np.isin(places, [PARTS.index(part) for part in PARTS_OF_GROUP[group]])).sum(2) >= 8
            if where.any():
                rows.append((found, where, bird.traits[group] == found.concept))
    return rows


def test_maps_of_present_concepts_point_at_their_part(seen):
    present = [(found.values.numpy(), where) for found, where, here in seen if here]

    pointing = float(np.mean([where.flat[values.argmax()] for values, where in present]))
    chance = float(np.mean([where.mean() for _, where in present]))
    print(f"pointing {pointing:.3f}, chance {chance:.3f}, {len(present)} maps")

    assert chance < 0.1
    assert pointing > 0.8


def test_maps_of_absent_concepts_stay_pale(seen):
    scale = common_scale(torch.tensor([[found.score for found, _, _ in seen]]))

    def blue(wanted):
        return float(
            np.mean([(found.values.clamp(0, scale) / scale).sum() for found, _, here in seen if here == wanted])
        )

    print(f"blue places of 64: present {blue(True):.2f}, absent {blue(False):.2f}, scale {scale:.3f}")
    assert blue(False) < 0.33 * blue(True)


def flat_map(value):
    return ConceptMap(
        "striped", torch.full((2, 2), value), score=4 * value, rest=0.0, method="decomposition", exact=True
    )


def test_full_colour_is_reached_at_the_scale_and_nothing_at_zero():
    grey = Image.new("RGB", (8, 8), (100, 100, 100))

    def drawn(value, opacity=1.0):
        png = overlay_png(flat_map(value), grey, scale=2.0, opacity=opacity, size=16)
        return Image.open(io.BytesIO(png)).getpixel((8, 8))

    assert drawn(2.0) == drawn(9.0) == RAISES
    assert drawn(-2.0) == LOWERS
    assert drawn(0.0) == drawn(2.0, opacity=0.0) == (100, 100, 100)


def test_the_picture_has_the_shape_of_the_image():
    png = overlay_png(flat_map(1.0), NOISE, scale=1.0, size=112)

    assert Image.open(io.BytesIO(png)).size == Image.open(io.BytesIO(frame_png(NOISE, size=112))).size == (112, 80)


def test_a_sheet_holds_the_image_and_every_map_a_row_for_each_method():
    two, one = [flat_map(1.0), flat_map(-1.0)], [flat_map(0.5)]

    sheet = Image.open(io.BytesIO(sheet_png([two, one], NOISE, scales=[1.0, 0.5], opacity=1.0, size=56)))

    assert sheet.size == (3 * 56 + 2 * GAP, 2 * 40 + GAP)
    assert sheet.crop((0, 0, 56, 40)).tobytes() == NOISE.tobytes()
    assert (sheet.getpixel((56 + GAP, 20)), sheet.getpixel((sheet.width - 1, 20))) == (RAISES, LOWERS)
    assert sheet.getpixel((56 + GAP, 40 + GAP)) == RAISES


@pytest.mark.parametrize("wrong", [{"scale": 0.0}, {"scale": 1.0, "opacity": 1.5}])
def test_a_scale_or_opacity_that_cannot_be_drawn_is_refused(wrong):
    with pytest.raises(UsageError, match="cannot be drawn"):
        overlay_png(flat_map(1.0), NOISE, **wrong)
