import importlib
import json

import numpy as np
import pytest
import torch

from assets import path
from assets.demo_model import build_demo_model, load_demo_model
from assets.demo_quality import auroc, concept_aurocs, embed_pictures, embed_texts
from assets.training_pool import CONCEPTS, Pool, draw_bird_for, render_birds_and_cells


@pytest.fixture(scope="module", autouse=True)
def torchvision():
    importlib.import_module("cbm.torchvision_guard").ensure_torchvision()


@pytest.fixture(scope="module")
def loaded():
    return load_demo_model()


@pytest.fixture(scope="module")
def quality():
    return json.loads(path("weights/demo/quality.json").read_text())


@pytest.fixture(scope="module")
def fresh():
    """Pictures of unseen combinations that are not among those that the stated quality was measured on."""
    return render_birds_and_cells("unseen", birds=160, cells=80, seed=99)


def test_shipped_files_are_small():
    assert path("weights/demo/model.safetensors").stat().st_size < 12e6


def test_it_is_an_open_clip_vision_transformer_with_a_cls_token(loaded):
    model, _ = loaded

    assert type(model).__module__ == "open_clip.model"
    assert model.visual.grid_size == (8, 8)
    assert len(model.visual.transformer.resblocks) == 6
    assert model.visual.positional_embedding.shape[0] == 1 + 64
    assert not model.training


def test_the_stem_gives_the_tokens_that_patches_would(loaded):
    model, _ = loaded
    with torch.no_grad():
        grid = model.visual.conv1(torch.zeros(1, 3, 128, 128))

    assert grid.shape == (1, 192, 8, 8)


def test_the_fast_forward_of_training_is_the_same_arithmetic(loaded):
    from assets.bf16_forward import embed_images, embed_tokens

    model, tokenizer = loaded
    pixels, tokens = (
        torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0)),
        tokenizer(["a red crown", "x"]),
    )
    with torch.no_grad():
        images = embed_images(model.visual, pixels) - model.encode_image(pixels, normalize=True)
        texts = embed_tokens(model, tokens) - model.encode_text(tokens, normalize=True)

    assert images.abs().max() < 1e-5
    assert texts.abs().max() < 1e-5


def test_a_model_with_other_weights_embeds_otherwise(loaded):
    model, tokenizer = loaded
    torch.manual_seed(0)
    untrained = build_demo_model(tokenizer).eval()

    texts = ["a bird with red crown", "a bird with blue crown"]
    assert embed_texts(model, tokenizer, texts).sub(embed_texts(untrained, tokenizer, texts)).abs().max() > 0.1


def test_an_unknown_word_changes_little(loaded):
    model, tokenizer = loaded
    plain, odd = embed_texts(model, tokenizer, ["a bird with yellow bill", "a bird with quixotic yellow bill"])

    assert plain @ odd > 0.9


def test_synonyms_are_near_and_opposites_far(loaded):
    model, tokenizer = loaded
    texts = [
        "a bird with yellow bill",
        "this bird has a golden beak",
        "a bird with black bill",
        "a bird with blue crown",
    ]
    x = embed_texts(model, tokenizer, texts)

    assert x[0] @ x[1] > 0.8
    assert x[0] @ x[2] < 0.5
    assert x[0] @ x[3] < 0.5


def test_stated_quality_covers_every_concept_and_reaches_the_target(quality):
    assert set(quality["auroc_any"]) == set(CONCEPTS)
    assert set(quality["auroc"]) == set(CONCEPTS) - {
        "multilobed nucleus",
        "irregular nucleus",
    }  # in no held-out picture
    assert quality["mean_auroc"]["birds"] >= 0.90
    assert quality["mean_auroc"]["cells"] >= 0.90


def test_stated_aurocs_are_found_again_on_fresh_pictures(loaded, quality, fresh):
    model, tokenizer = loaded
    found = concept_aurocs(model, tokenizer, embed_pictures(model, fresh.pictures), fresh)

    # means over 56 and 31 concepts on few pictures: a standard error of about 0.01
    for kind, concepts in (("birds", CONCEPTS[:56]), ("cells", CONCEPTS[56:])):
        mean = np.mean([found[concept] for concept in concepts if concept in found])
        assert mean == pytest.approx(quality["mean_auroc"][kind], abs=0.04)
    assert found["water background"] > 0.98
    assert found["red crown"] > 0.9


def test_auroc_of_a_known_ranking():
    assert auroc(np.array([0.1, 0.9, 0.8, 0.3]), np.array([False, True, True, False])) == 1.0
    assert auroc(np.array([0.9, 0.1]), np.array([False, True])) == 0.0
    assert auroc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, False, True])) == 0.5


def test_unseen_pictures_all_hold_a_held_out_pair(fresh):
    assert isinstance(fresh, Pool)
    assert fresh.pictures.shape == (240, 128, 128, 3)
    assert fresh.birds.sum() == 160
    assert fresh.concepts[fresh.birds].sum(axis=1).tolist() == [16] * 160


def test_species_pictures_are_labelled():
    assert draw_bird_for("species", 1, np.random.default_rng(0)).species == "Heathwing"
