"""Emoji and clip art with captions, under licences that let what is fitted on them ship.

Noto Color Emoji (Apache-2.0; Debian: fonts-noto-color-emoji), Fluent emoji (MIT; npm: @lobehub/fluent-emoji-3d) and
openclipart (public domain; Debian: openclipart-png and openclipart-svg, whose files hold the titles). Only their
features are used; no picture is copied.
"""

import re
import struct
import unicodedata
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor
from torch.nn.functional import normalize

from assets.photo.looks import stiff
from assets.photo.words import Anchors, pointed

SIZE = 256  # of what the encoder is given
NOTO_PIXELS = 109  # the one size that the font holds
NOT_IN_FONT = "\u2200"  # for all
LEAST_PICTURES = 3  # a keyword needs this many
PER_TITLE = 3
LARGEST = 4_000_000  # pixels; some posters are forty times as large
FIRST_EMOJI, LAST_EMOJI = 0x2190, 0x1FAFF
NOT_THINGS = range(0x1F3FB, 0x1F400), range(0x1F1E6, 0x1F200)  # skin tones, letters of flags
NOT_PICTURED = re.compile(
    r"symbol|square|button|clock face|arrow|letter|number|sign|squared|ideograph|person |man |woman |family|keycap|hand|finger"
)
CLIPART_FOLDERS = (
    "animals", "buildings", "containers", "education", "electronics", "food", "office", "plants", "recreation", "science",
    "tools", "transportation", "unsorted",
)  # fmt: skip
NO_TITLE = re.compile(r"clipart|various|untitled|card|gramastar|collection|dice|icon|logo|flag", re.IGNORECASE)


@dataclass(frozen=True)
class Picture:
    """A picture, what it is called, and what else is said of it."""

    title: str
    keywords: tuple[str, ...]
    open: Callable[[], Image.Image]


def noto(font: Path) -> list[Picture]:
    """Emoji of one code point, called by their Unicode names."""
    drawn = ImageFont.truetype(font, NOTO_PIXELS)
    missing = drawn.getbbox(NOT_IN_FONT)
    named = {code: name for code in range(FIRST_EMOJI, LAST_EMOJI + 1) if (name := _emoji_name(code))}
    return [
        Picture(name, (), partial(_glyph, font, chr(code)))
        for code, name in named.items()
        if (box := drawn.getbbox(chr(code))) != missing and box[2]
    ]


def fluent(folder: Path) -> list[Picture]:
    """Files named by their code point (`1f43b.webp`), called by their Unicode names."""
    files = {int(file.stem, 16): file for file in sorted(folder.glob("*.webp")) if "-" not in file.stem}
    return [Picture(name, (), partial(opened, file)) for code, file in files.items() if (name := _emoji_name(code))]


def openclipart(folder: Path) -> list[Picture]:
    """Drawings with the titles and keywords of their authors; `folder` holds `png` and `svg`.

    At most `PER_TITLE` of one title.
    """
    found: dict[str, list[Picture]] = defaultdict(list)
    for name in CLIPART_FOLDERS:
        for file in sorted((folder / "png" / name).rglob("*.png")):
            drawing = (folder / "svg" / file.relative_to(folder / "png")).with_suffix(".svg")
            title, keywords = _said(drawing) if drawing.is_file() else ("", ())
            if title and len(found[title]) < PER_TITLE and _pixels(file) <= LARGEST:
                found[title].append(Picture(title, keywords, partial(opened, file)))
    return [picture for pictures in found.values() for picture in pictures]


def opened(file: Path) -> Image.Image:
    """On white, in the middle of a square with a margin."""
    with Image.open(file) as image:
        return on_white(image.convert("RGBA"))


def on_white(image: Image.Image) -> Image.Image:
    """Square, `SIZE` pixels, the thing in the middle."""
    image = image.crop(image.getchannel("A").getbbox())
    scale = 0.9 * SIZE / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
    square = Image.new("RGB", (SIZE, SIZE), "white")
    square.paste(image, ((SIZE - image.width) // 2, (SIZE - image.height) // 2), image)
    return square


def _pixels(file: Path) -> int:
    """From the header: the largest are too large for PIL to open."""
    width, height = struct.unpack(">II", file.read_bytes()[16:24])
    return int(width) * int(height)


def _glyph(font: Path, character: str) -> Image.Image:
    image = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(image).text((10, 10), character, font=ImageFont.truetype(font, NOTO_PIXELS), embedded_color=True)
    return on_white(image)


def _emoji_name(code: int) -> str:
    """Empty for what is no picture of a thing: skin tones, letters, signs, buttons."""
    if not FIRST_EMOJI <= code <= LAST_EMOJI or any(code in some for some in NOT_THINGS):
        return ""
    name = unicodedata.name(chr(code), "").lower()
    return "" if NOT_PICTURED.search(name) else name


def _said(drawing: Path) -> tuple[str, tuple[str, ...]]:
    """Title and keywords in a drawing's metadata; no title where it says nothing."""
    text = drawing.read_text(errors="ignore")
    title = " ".join(
        re.sub(r"[\W\d_]+", " ", "".join(re.findall(r"<dc:title[^>]*>([^<]*)<", text)[:1])).lower().split()
    )
    keywords = (word.strip().lower() for word in re.findall(r"<rdf:li>([^<]*)<", text))
    useful = 2 < len(title) < 40 and not NO_TITLE.search(title)
    return title if useful else "", tuple(dict.fromkeys(word for word in keywords if word.isalpha()))


def title_anchors(pictures: list[Picture], features: Tensor, weight: float) -> Anchors:
    """Each title points to what sets its pictures apart from the others, each keyword to that of all it is said of."""
    centred = features - features.mean(0)
    directions = normalize(torch.linalg.solve(stiff(features), centred.T).T, dim=1)
    shown: dict[str, list[int]] = defaultdict(list)
    said: dict[str, list[int]] = defaultdict(list)
    for i, picture in enumerate(pictures):
        shown[picture.title].append(i)
        for keyword in picture.keywords:
            said[keyword].append(i)
    shown |= {word: rows for word, rows in said.items() if len(rows) >= LEAST_PICTURES and word not in shown}
    ways = {text: directions[rows].mean(0) for text, rows in shown.items()}
    pairs = [(saying.format(text), way) for text, way in ways.items() for saying in ("{}", "a photo of a {}")]
    return pointed(pairs, weight)
