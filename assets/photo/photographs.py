"""Photographs that the head is chosen and tested on, never fitted on and never shipped; two halves of each source.

Birds: a manifest with concept columns (species' labels, not the photographs'). Every other species, in alphabetical
order, belongs to the choosing half. Stamps: the photographs, cut out on white, among Tux Paint's stamps (Debian:
tuxpaint-stamps-default), whose captions and folders say what they show, whose pixels say their colours. Things and
words are divided too: what is tested was never looked at.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float
from PIL import Image
from scipy.stats import rankdata

from assets.photo import renders
from assets.photo.pictures import opened

Half = Literal["choose", "test"]
STAMP_FOLDERS = (
    "animals/", "food/fruit/", "food/nuts/", "food/vegetables/", "hobbies/", "household/", "plants/", "sports/", "vehicles/",
)  # fmt: skip
DRAWN = ("cartoon", "hedgehog", "toys/", "_mirror")  # no photographs, or the same again
THINGS: dict[Half, str] = {
    "choose": "frog crow penguin owl pelican ostrich lobster bee dolphin bear goat camel lion deer donkey zebra pig rabbit "
    "mouse kangaroo strawberry banana lemon pear almond broccoli corn mushroom pumpkin tomato camera cello scissors "
    "teapot kettle hammer wrench daffodil iris palm basketball bus airplane",
    "test": "duck heron flamingo turkey gull iguana gorilla otter whale cow sheep tiger horse elephant fox giraffe "
    "hippopotamus squirrel beaver koala apple apricot orange pineapple grapes raspberry walnut carrot garlic potato pepper "
    "binoculars guitar violin drum trumpet mug key saw rose hibiscus birch truck",
}
CATEGORIES: dict[Half, dict[str, str]] = {
    "choose": {
        "bird": "/birds/",
        "insect": "/insects/(?!Brown_slug|Woodlouse)",
        "fruit": "/fruit/",
        "musical instrument": "/music/",
        "flower": "/flowers/",
        "rodent": "/rodents/(?!rabbit)",
        "animal": "animals/",
        "car": "/auto/(?!truck)|sedan_police|indycar",
        "cattle": "/(bison|bull|cow|cow_white|yak|zebu)[.]",
        "food": "food/",
    },
    "test": {
        "fish": "/fish/(?!lobster|shrimp)",
        "mammal": "/mammals/|/marsupials/",
        "vegetable": "/vegetables/(?!mushroom)",
        "tool": "/tools/(?!cementmixer)",
        "tree": "/trees/(?!holly|pinecone|rambutan)",
        "nut": "/nuts/",
        "ball": "sports/.*ball",
        "vehicle": "vehicles/(?!7spoke|wheel_|walnut)|cementmixer",
        "string instrument": "/string/",
        "ape": "/(chimp|gorilla)[.]",
        "plant": "plants/",
        "antelope": "gnu|blackbuck",
    },
}
MUCH, LITTLE = 0.4, 0.05  # share of its pixels from which a thing has a colour, up to which it has not
FEW = 2  # a concept needs this many photographs that have not, and a colour this many that have


@dataclass(frozen=True)
class Album:
    """Photographs of one source and half, and what is true of them.

    `truth` is `[n k]`, nan where it is not known; `concepts` are kinds and texts; `groups` are the species or things
    that photographs show, which intervals resample.
    """

    open: tuple[Callable[[], Image.Image], ...]
    concepts: tuple[tuple[str, str], ...]
    truth: Float[np.ndarray, "n k"]
    groups: tuple[str, ...]


def birds(manifest: Path, half: Half) -> Album:
    """Annotated concepts, the colours apart from the rest, and what each species is (`kingfisher`)."""
    import pandas as pd

    table = pd.read_csv(manifest)
    species = sorted(table["label"].unique())[0 if half == "choose" else 1 :: 2]
    table = table[table["label"].isin(species)]
    columns = [name for name in table.columns if name.startswith("c:")]
    kinds = dict.fromkeys(name.split()[-1].lower() for name in species)
    truth = np.concatenate(
        [
            table[columns].to_numpy(float),
            np.stack([table["label"].str.lower().str.endswith(kind).to_numpy(float) for kind in kinds], 1),
        ],
        1,
    )
    named = [("bird colours" if " color " in name else "bird looks", name[2:]) for name in columns]
    files = [manifest.parent / path for path in table["path"]]
    concepts = (*named, *(("bird names", kind) for kind in kinds))
    return known(Album(tuple(partial(_photograph, file) for file in files), concepts, truth, tuple(table["label"])))


def stamps(folder: Path, half: Half) -> Album:
    """Things by caption, categories by folder, colours by pixels; `folder` is Tux Paint's `stamps`."""
    files = [file for file, side in _halves(stamp_files(folder)).items() if side == half]
    names = [file.relative_to(folder).as_posix() for file in files]
    captions = [_caption(file) for file in files]
    things, categories = THINGS[half].split(), CATEGORIES[half]
    shares = np.stack([colour_shares(Image.open(file)) for file in files])
    columns = [
        *([_says(caption, word) for caption in captions] for word in things),
        *([bool(re.search(pattern, name)) for name in names] for pattern in categories.values()),
        *np.where(shares >= MUCH, 1.0, np.where(shares <= LITTLE, 0.0, np.nan)).T,
    ]
    concepts = (
        *(("things", word) for word in things),
        *(("categories", word) for word in categories),
        *(("thing colours", name) for name in renders.COLOURS),
    )
    return known(
        Album(tuple(partial(opened, file) for file in files), concepts, np.array(columns, float).T, tuple(names))
    )


def known(album: Album) -> Album:
    """With the concepts only that enough photographs have, and enough have not."""
    yes, no = (album.truth == 1).sum(0), (album.truth == 0).sum(0)
    enough = np.flatnonzero((yes >= 1) & (no >= FEW) & ((yes >= FEW) | (np.isnan(album.truth).sum(0) == 0)))
    return replace(album, concepts=tuple(album.concepts[j] for j in enough), truth=album.truth[:, enough])


def stamp_files(folder: Path) -> list[Path]:
    """The stamps that are photographs of things."""
    names = [(file.relative_to(folder).as_posix(), file) for file in sorted(folder.rglob("*.png"))]
    return [file for name, file in names if name.startswith(STAMP_FOLDERS) and not any(word in name for word in DRAWN)]


def colour_shares(image: Image.Image) -> Float[np.ndarray, " c"]:
    """Share of the opaque pixels that each of our colour names names, by hue, saturation and brightness."""
    pixels = np.asarray(image.convert("RGBA").resize((64, 64)))
    solid = pixels[..., 3] > 200
    hue, saturation, value = np.asarray(Image.fromarray(pixels[..., :3].copy()).convert("HSV")).astype(float)[solid].T
    hue = hue * 360 / 255
    grey, dark = saturation < 45, value < 50
    warm, orange = (hue < 18) | (hue > 340), (hue >= 18) & (hue < 45)
    coloured = ~grey & ~dark
    named = {
        "red": coloured & warm & (value > 90) & ((saturation > 130) | (value < 150)),
        "orange": coloured & orange & (value > 190) & (saturation > 130),
        "yellow": coloured & (hue >= 45) & (hue < 70) & (value > 130),
        "green": coloured & (hue >= 70) & (hue < 165),
        "blue": coloured & (hue >= 165) & (hue < 258),
        "purple": coloured & (hue >= 258) & (hue < 320),
        "pink": coloured & (hue > 300) & (value > 170) & (saturation < 170),
        "brown": coloured & ((orange & (value <= 190)) | (warm & (value <= 90))),
        "black": dark,
        "white": grey & (value > 205),
        "grey": grey & ~dark & (value <= 205),
    }
    return np.array([named[name].mean() if solid.any() else 0.0 for name in renders.COLOURS])


def areas(truth: Float[np.ndarray, "n k"], scores: Float[np.ndarray, "n k"]) -> Float[np.ndarray, " k"]:
    """Area under the ROC curve of each concept where its truth is known; nan where all have it or none."""
    return np.array([_area(*column) for column in zip(truth.T, scores.T, strict=True)])


def _area(truth: Float[np.ndarray, " n"], scores: Float[np.ndarray, " n"]) -> float:
    """How often one that has it scores above one that has not, ties counting half."""
    known = ~np.isnan(truth)
    has, places = truth[known] > 0.5, rankdata(scores[known])
    yes, no = has.sum(), (~has).sum()
    return float((places[has].sum() - yes * (yes + 1) / 2) / (yes * no)) if yes and no else float("nan")


def _photograph(file: Path) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


def _halves(files: list[Path]) -> dict[Path, Half]:
    """By the thing that the caption names; the others by turns."""
    sides: dict[Path, Half] = {}
    turns = 0
    for file in files:
        caption = _caption(file)
        named = [half for half, words in THINGS.items() if any(_says(caption, word) for word in words.split())]
        turns += not named
        sides[file] = named[0] if named else ("choose", "test")[turns % 2]
    return sides


def _caption(file: Path) -> str:
    """The first line, in English."""
    return file.with_suffix(".txt").read_text().splitlines()[0].lower()


def _says(caption: str, word: str) -> bool:
    return re.search(rf"\b{word}(s|es)?\b", caption) is not None
