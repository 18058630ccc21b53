"""The maps of the screen Explain, with the demo encoder and a rendered bird."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest

from app import store
from app.workspace import Workspace
from assets.birds import render_bird, sample_mix
from cbm.bottleneck import LinearBottleneck
from cbm.data import ImageDataset
from cbm.embeddings import embed_images
from cbm.encoders import load_encoder
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe

Open, Words = Callable[..., AppTest], Callable[[AppTest], str]
CONCEPTS = ("water background", "forked tail", "red_crown")


@pytest.fixture
def birds(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Three rendered birds and a model whose concepts are texts."""
    encoder, rng = load_encoder("builtin:demo"), np.random.default_rng(0)
    paths = tuple(tmp_path / f"{i}.png" for i in range(3))
    for path in paths:
        Image.fromarray(render_bird(sample_mix(rng), rng)[0]).save(path)
    hashes = tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths)
    ids, splits = tuple(path.name for path in paths), np.array(["train", "val", "test"])
    dataset = ImageDataset("birds", ids, paths, np.array([0, 1, 0]), ("tern", "wren"), splits, hashes=hashes)
    store.add_dataset(workspace, dataset, {})
    embed_images(dataset, encoder, store.embedding_store(workspace))
    store.mark_embedded(workspace, "birds", encoder.id, encoder.contract)
    texts = encoder.encode_texts([f"a bird with a {name}" for name in CONCEPTS])
    model = ConceptModel(
        CONCEPTS,
        ("tern", "wren"),
        LinearBottleneck(texts - texts.mean(0), torch.zeros(3)),
        LinearHead(torch.tensor([[1.0, 2.0, 0.5], [-1.0, 0.0, 0.0]]), torch.zeros(2)),
        Recipe("zero-shot", encoder_id=encoder.id, contract=encoder.contract, images=1),
    )
    store.add_model(workspace, "birds-text", model, dataset="birds")
    return workspace


def test_the_maps_stand_beside_what_the_encoder_saw(open_screen: Open, birds: Workspace, words: Words) -> None:
    page = open_screen("explain", image="2.png", why="Where")

    assert not page.exception
    assert not page.error
    assert "What the encoder sees" in words(page)
    for concept in ("water background", "forked tail", "red\\_crown"):
        assert f"**{concept}**" in words(page)
    assert "add up to the score exactly" in words(page)
    assert any("pellucid probe maps birds-text 2.png" in code.value for code in page.code)


def test_the_slider_changes_the_maps_and_nothing_else(open_screen: Open, birds: Workspace, words: Words) -> None:
    page = open_screen("explain", image="2.png", why="Where")
    before = words(page)

    page.slider(key="opacity").set_value(0).run()

    assert not page.exception
    assert words(page) == before


def test_until_the_tab_is_opened_no_encoder_is_loaded(open_screen: Open, birds: Workspace, words: Words) -> None:
    page = open_screen("explain", image="2.png")

    assert [tab.label for tab in page.tabs] == ["What each concept adds", "How it adds up", "Where"]
    assert "What the encoder sees" not in words(page)


def test_an_encoder_that_has_no_places_has_no_tab(open_screen: Open, shore: Workspace) -> None:
    page = open_screen("explain", image="036.png")

    assert [tab.label for tab in page.tabs] == ["What each concept adds", "How it adds up"]
