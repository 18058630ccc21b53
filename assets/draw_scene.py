"""Draws where a bird stands: open water or dry land, with foliage or reeds in front now and then.

The two kinds vary widely in colour and weather, and share nothing else with the bird.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.random import Generator
from PIL import Image

from assets.canvas import Canvas, Points, closed_curve, ellipse, ribbon, smoothstep
from assets.species import PARTS

_SKIES = ((0.70, 0.84, 0.94), (0.87, 0.89, 0.90), (0.98, 0.86, 0.72), (0.80, 0.87, 0.85), (0.93, 0.84, 0.86))
_WATERS = ((0.20, 0.46, 0.62), (0.26, 0.55, 0.62), (0.30, 0.42, 0.58), (0.42, 0.58, 0.70), (0.16, 0.40, 0.50))
_WOODS = ((0.36, 0.50, 0.26), (0.56, 0.60, 0.30), (0.62, 0.50, 0.28), (0.30, 0.40, 0.28), (0.68, 0.62, 0.42))
_SOILS = ((0.46, 0.36, 0.22), (0.40, 0.46, 0.20), (0.62, 0.52, 0.34), (0.34, 0.30, 0.22))


def clouds(size: int, cells: int, rng: Generator, channels: int = 1) -> Float[np.ndarray, "h w c"]:
    """Return smooth noise of 0..1 with about ``cells`` bumps a side."""
    coarse = rng.integers(0, 256, (cells, cells) if channels == 1 else (cells, cells, channels), dtype=np.uint8)
    smooth = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(smooth).reshape(size, size, channels) * np.float32(1 / 255)


def backdrop(background: str, size: int, ground: float, rng: Generator) -> Canvas:
    """Return a canvas with the background a concept names.

    Parameters
    ----------
    background
        ``"water background"`` or ``"land background"``.
    ground
        Height in pixels at which the bird stands.
    """
    draw = _water if background == "water background" else _land
    return draw(size, ground, rng)


def _pick(colours: tuple[tuple[float, float, float], ...], rng: Generator) -> np.ndarray:
    return np.clip(np.array(colours[rng.integers(len(colours))]) + rng.normal(0, 0.03, 3), 0, 1).astype(np.float32)


def _rows(size: int) -> Float[np.ndarray, "h 1 1"]:
    return (np.arange(size, dtype=np.float32) + 0.5)[:, None, None]


def _water(size: int, ground: float, rng: Generator) -> Canvas:
    horizon = size * rng.uniform(0.2, 0.42)
    sky, water, y = _pick(_SKIES, rng), _pick(_WATERS, rng), _rows(size)
    depth = np.clip((y - horizon) / (size - horizon), 0, 1)
    above = sky * (0.92 + 0.12 * y / size) + 0.05 * (clouds(size, 4, rng) - 0.5)
    below = water * (1.12 - 0.4 * depth) + 0.35 * (sky - water) * (1 - depth) ** 3
    below = below + 0.10 * (clouds(size, 7, rng) - 0.5)
    canvas = Canvas(np.where(y < horizon, above, below))
    _far_shore(canvas, horizon, 0.45 * sky + 0.55 * water * 0.8, rng)
    _ripples(canvas, horizon, sky, water, rng)
    return canvas


def _far_shore(canvas: Canvas, horizon: float, colour: np.ndarray, rng: Generator) -> None:
    size = len(canvas.parts)
    x = np.linspace(-2, size + 2, 14)
    top = horizon - 2 - rng.uniform(1, 9) * (0.5 + 0.5 * np.sin(x * rng.uniform(0.03, 0.09) + rng.uniform(0, 6)))
    hills = np.stack([np.append(x, [size + 2, -2]), np.append(top, [horizon + 0.5, horizon + 0.5])], axis=1)
    canvas.paint(hills, colour)


def _ripples(canvas: Canvas, horizon: float, sky: np.ndarray, water: np.ndarray, rng: Generator) -> None:
    size = len(canvas.parts)
    bright, dark = [], []
    for depth in np.sort(rng.uniform(0.02, 1.0, 16)).tolist():
        y = horizon + depth * (size - horizon)
        length, height = (10 + 26 * depth) * rng.uniform(0.7, 1.3), 0.5 + 1.1 * depth
        (bright if rng.random() < 0.6 else dark).append(ellipse((rng.uniform(0, size), y), (length, height), points=14))
    for outlines, colour in ((dark, water * 0.6), (bright, sky)):
        if outlines:
            canvas.paint(outlines, colour, opacity=0.5)


def _land(size: int, ground: float, rng: Generator) -> Canvas:
    wood, soil, y = _pick(_WOODS, rng), _pick(_SOILS, rng), _rows(size)
    haze = clouds(size, int(rng.integers(4, 7)), rng, 3) - 0.5
    far = (
        wood * (1.15 - 0.35 * y / size)
        + haze * np.array([0.20, 0.22, 0.14], np.float32)
        + 0.12 * (clouds(size, 14, rng) - 0.5)
    )
    brow = float(ground - size * rng.uniform(0.02, 0.16))
    near = soil * (1.12 - 0.3 * np.clip((y - brow) / size, 0, 1)) + 0.16 * (clouds(size, 26, rng) - 0.5)
    slope = np.float32(rng.uniform(-0.06, 0.06)) * (np.arange(size, dtype=np.float32) - size / 2)[None, :, None]
    canvas = Canvas(far + smoothstep(y + slope, brow - 5, brow + 5) * (near - far))
    _light_discs(canvas, wood, brow, rng)
    _grass(canvas, 0.5 * soil + 0.5 * wood, brow, rng)
    return canvas


def _light_discs(canvas: Canvas, wood: np.ndarray, brow: float, rng: Generator) -> None:
    for _ in range(int(rng.integers(4, 9))):
        at, radius = (rng.uniform(0, len(canvas.parts)), rng.uniform(0, brow)), rng.uniform(4, 10)
        tint = np.clip(wood * rng.uniform(0.7, 1.7) + 0.04, 0, 1)
        canvas.paint(ellipse(at, (radius, radius), points=18), tint, opacity=0.28)


def _grass(canvas: Canvas, colour: np.ndarray, brow: float, rng: Generator) -> None:
    size = len(canvas.parts)
    for tone in rng.uniform(0.75, 1.4, 3):
        blades = []
        for _ in range(5):
            x, y = rng.uniform(0, size), rng.uniform(brow, size + 4)
            lean, height = rng.normal(0, 3), rng.uniform(6, 13)
            blades.append(ribbon([(x, y), (x + 0.3 * lean, y - 0.6 * height), (x + lean, y - height)], [2.0, 1.5, 0.4]))
        canvas.paint(blades, colour * tone, opacity=0.85)


def stand(canvas: Canvas, background: str, feet: Points, rng: Generator) -> None:
    """Put a shadow, or rings on the water, under the feet; drawn before the bird."""
    middle, spread = feet.mean(0), 10 + abs(feet[0, 0] - feet[1, 0])
    if background == "water background":
        rock = middle + np.array([0, 5.0])
        canvas.paint(ellipse((rock[0], rock[1] + 4), (spread * 2.1, 8)), (0.92, 0.96, 0.97), opacity=0.30)
        canvas.paint(ellipse((rock[0], rock[1] + 4), (spread * 1.9, 6.8)), (0.15, 0.27, 0.35), opacity=0.45)
        stone = np.array([(-1.3, 0.9), (-1.1, -0.2), (-0.5, -0.75), (0.4, -0.8), (1.1, -0.3), (1.35, 0.9), (0, 1.05)])
        outline = closed_curve(stone * np.array([spread * 1.1, 7.0]) + rock)
        grey = np.array([0.46, 0.46, 0.45]) * rng.uniform(0.8, 1.15)
        canvas.paint(outline, grey * 0.7)
        canvas.paint(closed_curve(stone * np.array([spread, 5.0]) + rock - (0, 1.6)), grey * 1.12)
    else:
        canvas.paint(ellipse((middle[0], middle[1] + 2), (spread * 1.5, 4.5)), (0.08, 0.07, 0.04), opacity=0.42)


def occlude(canvas: Canvas, rng: Generator) -> None:
    """Put reeds or leaves in front of the bird, and label them."""
    colour = _pick(_WOODS, rng) * rng.uniform(0.6, 1.0)
    shapes = _reeds(len(canvas.parts), rng) if rng.random() < 0.5 else _leaves(len(canvas.parts), rng)
    for outline, vein in shapes:
        canvas.paint(outline, colour * rng.uniform(0.85, 1.15), part=PARTS.index("occluder"))
        canvas.paint(vein, colour * 1.35, opacity=0.6)


def _reeds(size: int, rng: Generator) -> list[tuple[Points, Points]]:
    reeds = []
    for _ in range(int(rng.integers(2, 5))):
        x, lean, top = rng.uniform(0, size), rng.normal(0, 9), rng.uniform(0.25, 0.7) * size
        line = np.array([(x, size + 3.0), (x + 0.25 * lean, (size + top) / 2), (x + lean, top)])
        reeds.append((ribbon(line, [4.0, 3.2, 0.5]), ribbon(line, [0.9, 0.8, 0.2])))
    return reeds


def _leaves(size: int, rng: Generator) -> list[tuple[Points, Points]]:
    corner = np.array([rng.integers(2) * size, rng.integers(2) * size], dtype=float)
    inward = np.sign(size / 2 - corner)
    leaves = []
    for _ in range(int(rng.integers(2, 4))):
        at, turn = corner + inward * rng.uniform(2, 26, 2), rng.uniform(0.2, 1.3)
        along = np.array([np.cos(turn), np.sin(turn)]) * inward * rng.uniform(18, 28)
        side = np.array([-along[1], along[0]]) * 0.26
        outline = closed_curve(np.array([at, at + 0.4 * along + side, at + along, at + 0.4 * along - side]))
        leaves.append((outline, ribbon(np.array([at, at + along * 0.95]), [1.2, 0.4])))
    return leaves
