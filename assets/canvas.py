"""A small antialiased canvas: polygons covered at four times the resolution, blended into a float image.

A canvas keeps the picture and, beside it, one label a pixel that says which part was painted last, so the
place of every part is known exactly.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Points = Float[np.ndarray, "m 2"]
_FINE = 4  # subpixels a side


def closed_curve(control: Sequence[tuple[float, float]] | Points, samples: int = 6) -> Points:
    """Return a smooth closed outline through the control points (Catmull-Rom)."""
    p1 = np.asarray(control, dtype=np.float64)
    around = np.concatenate([p1[-1:], p1, p1[:2]])
    p0, p2, p3 = around[:-3], around[2:-1], around[3:]
    t = (np.arange(samples) / samples)[None, :, None]
    p0, p1, p2, p3 = p0[:, None], p1[:, None], p2[:, None], p3[:, None]
    curve = 0.5 * (((3 * (p1 - p2) + p3 - p0) * t + (2 * p0 - 5 * p1 + 4 * p2 - p3)) * t + (p2 - p0)) * t + p1
    return curve.reshape(-1, 2)


def ellipse(centre: tuple[float, float], radii: tuple[float, float], turn: float = 0.0, points: int = 28) -> Points:
    """Return the outline of an ellipse turned by ``turn`` radians."""
    angle = np.arange(points) * (2 * np.pi / points)
    x, y = radii[0] * np.cos(angle), radii[1] * np.sin(angle)
    c, s = np.cos(turn), np.sin(turn)
    return np.stack([centre[0] + c * x - s * y, centre[1] + s * x + c * y], axis=1)


def ribbon(line: Sequence[tuple[float, float]] | Points, widths: Sequence[float]) -> Points:
    """Return the outline of a stroke along a line whose width changes from point to point."""
    line = np.asarray(line, dtype=np.float64)
    along = np.empty_like(line)
    along[1:-1], along[0], along[-1] = line[2:] - line[:-2], line[1] - line[0], line[-1] - line[-2]
    along /= np.maximum(np.hypot(along[:, 0], along[:, 1]), 1e-9)[:, None]
    side = along[:, ::-1] * (-0.5, 0.5) * np.asarray(widths)[:, None]
    return np.concatenate([line + side, (line - side)[::-1]])


def smoothstep(x: NDArray[np.floating], low: float, high: float) -> NDArray[np.floating]:
    """Return 0 below ``low``, 1 above ``high``, and a smooth rise between."""
    t = np.minimum(np.maximum((x - low) * (1 / (high - low)), 0), 1)
    return t * t * (3 - 2 * t)


class Canvas:
    """A square picture in the making, values 0..1, with a part label for every pixel."""

    def __init__(self, picture: Float[np.ndarray, "h w 3"]) -> None:
        self.rgb = picture.astype(np.float32)
        self.parts = np.zeros(picture.shape[:2], dtype=np.uint8)

    def cover(self, *outlines: Points) -> tuple[tuple[slice, slice], Float[np.ndarray, "h w"]] | None:
        """Return the window that the outlines touch and how much of each pixel they cover; None if outside."""
        height, width = self.parts.shape
        everything = outlines[0] if len(outlines) == 1 else np.concatenate(outlines)
        xs, ys = everything[:, 0].tolist(), everything[:, 1].tolist()
        x0, y0 = max(int(min(xs)), 0), max(int(min(ys)), 0)
        x1, y1 = min(int(max(xs)) + 2, width), min(int(max(ys)) + 2, height)
        if x1 <= x0 or y1 <= y0:
            return None
        fine = Image.new("L", ((x1 - x0) * _FINE, (y1 - y0) * _FINE))
        pen = ImageDraw.Draw(fine)
        corners = ((everything - (x0, y0)) * _FINE).ravel().tolist()
        start = 0
        for outline in outlines:
            pen.polygon(corners[start : start + 2 * len(outline)], fill=255)
            start += 2 * len(outline)
        cover = np.asarray(fine.reduce(_FINE)) * np.float32(1 / 255)
        return (slice(y0, y1), slice(x0, x1)), cover

    def paint(
        self,
        outline: Points | Sequence[Points],
        colour: Sequence[float] | Float[np.ndarray, ...],
        *,
        part: int | None = None,
        opacity: float = 1.0,
        shade: Float[np.ndarray, "h w"] | None = None,
        within: Float[np.ndarray, "h w"] | None = None,
    ) -> None:
        """Fill an outline, or several at once.

        Parameters
        ----------
        colour
            One colour, or a whole picture of the canvas' size from which the window is taken.
        part
            Label written where the outline covers more than half a pixel; None leaves labels alone.
        shade
            Brightness by which the colour is multiplied, for the whole canvas.
        within
            Coverage of another shape that this one must not leave, for the whole canvas.
        """
        found = self.cover(*([outline] if isinstance(outline, np.ndarray) else outline))
        if found is None:
            return
        window, cover = found
        if within is not None:
            cover = cover * within[window]
        self.blend(window, cover * opacity, colour, shade)
        if part is not None:
            self.parts[window][cover > 0.5] = part

    def blend(
        self,
        window: tuple[slice, slice],
        cover: Float[np.ndarray, "h w"],
        colour: Sequence[float] | Float[np.ndarray, ...],
        shade: Float[np.ndarray, "h w"] | None = None,
    ) -> None:
        """Mix a colour into a window by coverage."""
        paint = np.asarray(colour, dtype=np.float32)
        if paint.ndim == 3:
            paint = paint[window]
        if shade is not None:
            paint = paint * shade[window][..., None]
        region = self.rgb[window]
        region += cover[..., None] * (paint - region)

    def full_cover(self, outline: Points) -> Float[np.ndarray, "h w"]:
        """Return the coverage of an outline on the whole canvas."""
        whole = np.zeros(self.parts.shape, dtype=np.float32)
        found = self.cover(outline)
        if found is not None:
            whole[found[0]] = found[1]
        return whole

    def to_bytes(self) -> UInt8[np.ndarray, "h w 3"]:
        """Return the picture as 8-bit colour."""
        return (np.clip(self.rgb, 0, 1) * 255 + 0.5).astype(np.uint8)
