"""Concept maps as pictures: blue where a place raises the score, orange where it lowers it, over the image in grey.

The scale is given and not taken from the map, so that maps of different concepts can be compared and a concept that is
absent stays pale.
"""

import io
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps

from cbm.errors import UsageError
from probes.maps import ConceptMap

RAISES, LOWERS = (38, 120, 224), (232, 112, 22)  # told apart by people who do not see red or green
SIZE, GAP = 384, 8


def overlay_png(map: ConceptMap, image: Image.Image, *, scale: float, opacity: float = 0.8, size: int = SIZE) -> bytes:
    """A PNG of the map over the image.

    Parameters
    ----------
    image
        The part of the picture that the encoder sees, `encoder.preprocessing.frame(picture)`.
    scale
        Value that is shown in full colour; larger ones are, too. See `probes.maps.common_scale`.
    opacity
        Of the full colour, between 0 and 1.
    size
        Longer side of the picture, in pixels.

    Raises
    ------
    UsageError
        If the scale is not positive, or the opacity not between 0 and 1.
    """
    return _png(_overlay(map, image, scale, opacity, size))


def sheet_png(
    rows: Sequence[Sequence[ConceptMap]],
    image: Image.Image,
    *,
    scales: Sequence[float],
    opacity: float = 0.8,
    size: int = SIZE,
) -> bytes:
    """A PNG of the image and then the maps, from left to right, a row and a scale for each method.

    The other parameters and what is raised are those of `overlay_png`.
    """
    frame = _fitted(image.convert("RGB"), size)
    pairs = zip(rows, scales, strict=True)
    drawn = [[frame, *(_overlay(map, image, scale, opacity, size) for map in row)] for row, scale in pairs]
    wide, high = frame.size
    across = max(len(row) for row in drawn)
    sheet = Image.new("RGB", (across * (wide + GAP) - GAP, len(drawn) * (high + GAP) - GAP), (255, 255, 255))
    for line, row in enumerate(drawn):
        for place, tile in enumerate(row):
            sheet.paste(tile, (place * (wide + GAP), line * (high + GAP)))
    return _png(sheet)


def frame_png(image: Image.Image, *, size: int = SIZE) -> bytes:
    """The image itself as a PNG of the size that `overlay_png` gives it."""
    return _png(_fitted(image.convert("RGB"), size))


def _overlay(map: ConceptMap, image: Image.Image, scale: float, opacity: float, size: int) -> Image.Image:
    if scale <= 0 or not 0 <= opacity <= 1:
        raise UsageError(
            f"a scale of {scale:g} and an opacity of {opacity:g} cannot be drawn",
            hint="the scale must be above 0, the opacity between 0 and 1",
        )
    grey = np.asarray(_fitted(ImageOps.grayscale(image), size), np.float32)[..., None]
    share = np.clip(_enlarged(map, (grey.shape[1], grey.shape[0])) / scale, -1, 1)[..., None]
    colour = np.where(share > 0, np.array(RAISES, np.float32), np.array(LOWERS, np.float32))
    strength = np.abs(share) * opacity
    pixels = grey * (1 - strength) + colour * strength  # [h w 1] and [h w 3] -> [h w 3]
    return Image.fromarray(pixels.round().astype(np.uint8))


def _fitted(image: Image.Image, size: int) -> Image.Image:
    share = size / max(image.size)
    return image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.BICUBIC)


def _enlarged(map: ConceptMap, size: tuple[int, int]) -> Float[np.ndarray, "h w"]:
    return np.asarray(Image.fromarray(map.values.float().numpy()).resize(size, Image.Resampling.BILINEAR))


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3)
    return file.getvalue()
