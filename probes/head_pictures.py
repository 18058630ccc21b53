"""What every head sees, as one picture: a row a layer, a column a head, all on one scale over the image in grey."""

import io

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from probes.overlays import LOWERS, RAISES

CELL, GAP = 96, 6  # pixels
EVEN = 8  # times an even share that attention is in full colour
STRONG = 0.999  # share of the places of all heads that stay below full colour, for signed effects


def strength(values: Float[Tensor, "b h y x"], attention: bool) -> float:
    """The value in full colour: for attention, eight times an even share; for effects, what hardly any place exceeds."""
    if attention:
        return EVEN / (values.shape[2] * values.shape[3])
    sizes = values.abs().flatten().sort().values
    return max(float(sizes[int(STRONG * (len(sizes) - 1))]), 1e-6)


def heads_png(values: Float[Tensor, "b h y x"], image: Image.Image, *, scale: float, cell: int = CELL) -> bytes:
    """A PNG of all heads.

    Parameters
    ----------
    image
        The part of the picture that the encoder sees.
    scale
        Value in full colour, for all heads; see `strength`.
    cell
        Longer side of one head's picture, in pixels.
    """
    b, h = values.shape[:2]
    grey = _fitted(ImageOps.grayscale(image), cell)
    wide, high = grey.size
    sheet = Image.new("RGBA", (h * (wide + GAP) - GAP, b * (high + GAP) - GAP), (0, 0, 0, 0))
    for row in range(b):
        for column in range(h):
            sheet.paste(_tile(values[row, column], grey, scale), (column * (wide + GAP), row * (high + GAP)))
    return _png(sheet)


def head_png(values: Float[Tensor, "y x"], image: Image.Image, *, scale: float, size: int = 384) -> bytes:
    """A PNG of one head, its places as squares."""
    return _png(_tile(values, _fitted(ImageOps.grayscale(image), size), scale))


def _tile(values: Float[Tensor, "y x"], grey: Image.Image, scale: float) -> Image.Image:
    base = np.asarray(grey, np.float32)[..., None]
    share = Image.fromarray(values.float().numpy()).resize(grey.size, Image.Resampling.NEAREST)
    strong = np.clip(np.asarray(share) / scale, -1, 1)[..., None]
    colour = np.where(strong > 0, np.array(RAISES, np.float32), np.array(LOWERS, np.float32))
    cover = np.abs(strong) * 0.85
    return Image.fromarray((base * (1 - cover) + colour * cover).round().astype(np.uint8))


def _fitted(image: Image.Image, size: int) -> Image.Image:
    share = size / max(image.size)
    return image.resize((round(image.width * share), round(image.height * share)), Image.Resampling.BICUBIC)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=3)
    return file.getvalue()
