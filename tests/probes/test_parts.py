import numpy as np
import pytest
import torch
from PIL import Image

from assets.birds import render_bird, sample_mix
from assets.species import CONCEPTS, GROUP_OF, PARTS, PARTS_OF_GROUP
from cbm.bottleneck import LinearBottleneck
from cbm.encoders import load_encoder
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe
from cbm.preprocessing import Preprocessing
from probes.parts import MaskedImage, places

NAMES = tuple(c for c in CONCEPTS if GROUP_OF[c] in ("wing colour", "breast colour"))


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """Forty rendered birds with their masks, and a model of wing and breast colours whose concepts are texts."""
    folder, rng, images = tmp_path_factory.mktemp("birds"), np.random.default_rng(3), []
    for i in range(40):
        bird = sample_mix(rng)
        pixels, mask = render_bird(bird, rng)
        Image.fromarray(pixels).save(folder / f"{i}.png")
        Image.fromarray(mask).save(folder / f"{i}-mask.png")
        images.append(MaskedImage(folder / f"{i}.png", folder / f"{i}-mask.png", frozenset(bird.traits.values())))
    encoder = load_encoder("builtin:demo")
    texts = encoder.encode_texts([f"a bird with a {name}" for name in NAMES])
    head = LinearHead(torch.zeros(2, len(NAMES)), torch.zeros(2))
    recipe = Recipe("zero-shot", encoder_id=encoder.id, contract=encoder.contract)
    bottleneck = LinearBottleneck(texts - texts.mean(0), torch.zeros(len(NAMES)))
    return ConceptModel(NAMES, ("a", "b"), bottleneck, head, recipe), encoder, images


def parts(of: str = "") -> dict[str, dict[int, str]]:
    """The part of each concept; all of them another one when it is given."""
    own = {name: PARTS_OF_GROUP[GROUP_OF[name]] if not of else (of,) for name in NAMES}
    return {name: {PARTS.index(part): part for part in named} for name, named in own.items()}


def test_relevance_lies_on_the_part_and_not_on_another(seen):
    model, encoder, images = seen

    right, wrong = places(model, encoder, images, parts()), places(model, encoder, images, parts("legs"))

    lifts = [[place.mass.found.value / place.mass.chance for place in found.values()] for found in (right, wrong)]
    assert np.mean(lifts[0]) > max(3, 1.5 * np.mean(lifts[1]))
    assert np.mean([place.clm.found.value for place in right.values()]) > 0.8
    assert all(place.pointing.chance < 0.3 for place in right.values())


def test_nothing_is_said_of_concepts_that_few_images_show(seen):
    model, encoder, images = seen

    assert places(model, encoder, images[:4], parts()) == {}


def test_a_mask_is_cut_as_the_encoder_cuts_the_image():
    mask = np.zeros((20, 40), dtype=np.int32)
    mask[:, :10], mask[:, 15:25] = 300, 7

    seen = Preprocessing(size=(10, 10)).frame_mask(mask)
    padded = Preprocessing(size=(10, 10), mode="longest", fill=255).frame_mask(mask)

    assert seen.shape == padded.shape == (10, 10)
    assert set(np.unique(seen)) == {0, 7}  # the left is cropped away, and numbers are not mixed
    assert set(np.unique(padded)) == {0, 7, 300}
    assert padded[0].tolist() == [0] * 10
