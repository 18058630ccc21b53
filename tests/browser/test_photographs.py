"""A person's own photographs become a model that explains itself, without leaving the browser."""

import csv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect
from tab import Tab

from app import store
from app.workspace import Workspace

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]
EACH = 20


def photograph(rng: np.random.Generator, *, warm: bool, striped: bool) -> Image.Image:
    """Noise in warm or cool colours, with or without stripes."""
    colour = np.array([200, 90, 40] if warm else [40, 90, 200]) + rng.normal(0, 12, 3)
    pixels = np.tile(colour, (96, 128, 1)) + rng.normal(0, 14, (96, 128, 1))
    if striped:
        pixels += 70 * np.sign(np.sin(np.arange(128) / 3 + rng.uniform(0, 6)))[None, :, None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def album(tmp_path: Path) -> tuple[Path, Path]:
    """A manifest that says of every photograph whether it is warm and striped, and the zip with the files."""
    rng = np.random.default_rng(0)
    rows, archive = [], tmp_path / "album.zip"
    with zipfile.ZipFile(archive, "w") as files:
        for i in range(4 * EACH):
            warm, striped = i % 2 == 0, i // 2 % 2 == 0
            picture = tmp_path / f"{i:03}.jpg"
            photograph(rng, warm=warm, striped=striped).save(picture, quality=90)
            files.write(picture, picture.name)
            split = ("train", "train", "train", "val", "test")[i // 4 % 5]
            rows.append((picture.name, "fire" if warm else "sea", split, int(warm), int(striped)))
    manifest = tmp_path / "album.csv"
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "split", "c:warm", "c:striped"), *rows])
    return manifest, archive


def test_own_photographs_become_a_model_that_explains_itself(
    open_tab: Callable[..., Tab], album: tuple[Path, Path], ws: Workspace
) -> None:
    tab = open_tab("data", show="Import")
    tab.page.locator("input[type=file]").set_input_files(list(album))
    tab.press("Check the upload")
    tab.main.get_by_label("Name of the data set").fill("album")
    tab.press("Import 80 images")
    tab.press("Open the data set")
    tab.says("1 to 24 of 80 images")

    tab.show("Embeddings")
    tab.press("Embed 80 images")
    tab.says("80 images embedded")

    tab.menu("Concepts")
    tab.show("Build a bank")
    tab.press("Build the concepts")
    tab.press("Open the concepts")
    tab.says("2 concepts for builtin:demo")

    tab.menu("Build")
    tab.choose("Concept bank", "album-examples")
    tab.press("Fit the model")
    tab.main.get_by_role("link", name="Explain images with it").click()
    tab.arrived("Explain")
    tab.says("right")
    expect(tab.main.get_by_role("figure", name="What speaks for and against fire: warm")).to_be_visible()
    assert store.model_row(ws, "album-posthoc").metrics["val"]["metrics"]["accuracy"]["value"] == 1
