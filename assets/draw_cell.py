"""Draws one stained white blood cell among red cells, as a laboratory's stain and microscope show it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, UInt8
from numpy.random import Generator
from PIL import Image, ImageFilter

from assets.canvas import Canvas, Points, closed_curve, ellipse, smoothstep
from assets.draw_scene import clouds

_LABEL = {"cytoplasm": 1, "nucleus": 2, "granule": 3, "vacuole": 4, "red cell": 5}


@dataclass(frozen=True)
class Laboratory:
    """How a laboratory shows a cell: magnification, dyes, white balance and blur.

    ``basic_dye`` and ``acid_dye`` scale how strongly blue-purple and pink-red stain; ``tint`` multiplies red,
    green and blue; ``blur`` is the radius in pixels.
    """

    magnification: float
    basic_dye: float
    acid_dye: float
    tint: tuple[float, float, float]
    blur: float


LABORATORIES = MappingProxyType(
    {
        "A": Laboratory(1.0, 1.0, 1.0, (1.0, 1.0, 1.0), 0.35),
        "B": Laboratory(0.84, 1.45, 0.45, (0.93, 0.90, 1.03), 0.75),
    }
)

_PLASMA = np.array([0.95, 0.91, 0.87])
_RED_CELL = np.array([0.88, 0.62, 0.58])
_NUCLEUS = np.array([0.38, 0.20, 0.52])
_CYTOPLASM = MappingProxyType(
    {
        "light blue cytoplasm": (0.83, 0.86, 0.93),
        "blue cytoplasm": (0.52, 0.66, 0.90),
        "purple blue cytoplasm": (0.64, 0.56, 0.80),
    }
)
_GRANULES = MappingProxyType(
    {"pink granules": (0.87, 0.50, 0.66), "red granules": (0.85, 0.27, 0.18), "purple granules": (0.26, 0.10, 0.38)}
)
_BLUE_INK = np.array([0.52, 0.36, 0.72])  # what more of the basic dye does to a colour


def draw_cell(
    traits: Mapping[str, str], laboratory: Laboratory, size: int, rng: Generator
) -> tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w"]]:
    """Return the picture and the part labels of a cell with the given traits (concept by group)."""
    return _Cell(traits, laboratory, size, rng).draw()


class _Cell:
    def __init__(self, traits: Mapping[str, str], laboratory: Laboratory, size: int, rng: Generator) -> None:
        self.traits, self.laboratory, self.size, self.rng = traits, laboratory, size, rng
        self.unit = size / 96 * laboratory.magnification
        self.centre = size / 2 + rng.uniform(-4, 4, 2) * size / 96
        big = traits["cell size"] == "big cell"
        self.radius = (38.0 if big else 27.0) * rng.uniform(0.95, 1.05) * self.unit
        plasma = _PLASMA + rng.normal(0, 0.012, 3) + 0.03 * (clouds(size, 4, rng) - 0.5)
        self.canvas = Canvas(plasma)

    def draw(self) -> tuple[np.ndarray, np.ndarray]:
        self._red_cells()
        body = self._body()
        nucleus = self._nucleus(body)
        free = np.maximum(body - nucleus, 0)
        self._granules(free, body)
        self._vacuoles(free)
        return self._photograph(), self.canvas.parts

    def _dyed(self, colour: tuple[float, float, float] | np.ndarray, acid: bool = False) -> np.ndarray:
        """Return a colour as this laboratory's dyes show it, with a little variation."""
        colour = np.asarray(colour, dtype=float) * (1 + self.rng.normal(0, 0.02, 3))
        lab = self.laboratory
        if acid:
            return colour + (1 - lab.acid_dye) * 0.75 * (_BLUE_INK - colour)
        return colour + (lab.basic_dye - 1) * 0.9 * (_BLUE_INK * (0.55 + 0.45 * colour.mean()) - colour)

    def _red_cells(self) -> None:
        for turn in self.rng.uniform(0, 2 * np.pi, 5):
            away = self.radius + self.unit * self.rng.uniform(12, 26)
            at = self.centre + away * np.array([np.cos(turn), np.sin(turn)])
            radius = self.unit * self.rng.uniform(17, 21)
            colour = self._dyed(_RED_CELL, acid=True) * self.rng.uniform(0.95, 1.04)
            self.canvas.paint(ellipse(tuple(at), (radius, radius * self.rng.uniform(0.88, 1))), colour * 0.93, part=5)
            self.canvas.paint(ellipse(tuple(at), (radius * 0.9, radius * 0.86)), colour, opacity=0.8)
            self.canvas.paint(ellipse(tuple(at), (radius * 0.42, radius * 0.42)), _PLASMA, opacity=0.42)

    def _body(self) -> Float[np.ndarray, "h w"]:
        rough = 0.045 if self.traits["cell shape"] == "round cell" else 0.20
        outline = self._blob(self.centre, self.radius, rough, 7 if rough > 0.1 else 10)
        colour = self._dyed(_CYTOPLASM[self.traits["cytoplasm colour"]])
        self.canvas.paint(self.centre + (outline - self.centre) * 1.05, colour * 0.72, opacity=0.75)
        grain = 1.0 + 0.03 * (clouds(self.size, 12, self.rng) - 0.5)
        if self.traits["cytoplasm texture"] == "frosted cytoplasm":
            grain = (
                0.97 + 0.36 * (clouds(self.size, 30, self.rng) - 0.5) + 0.22 * (clouds(self.size, 46, self.rng) - 0.5)
            )
        picture = colour * grain
        self.canvas.paint(outline, picture, part=_LABEL["cytoplasm"])
        return self.canvas.full_cover(outline)

    def _blob(self, centre: np.ndarray, radius: float, rough: float, knots: int) -> Points:
        angle = (np.arange(knots) + self.rng.uniform(-0.2, 0.2, knots)) * (2 * np.pi / knots)
        reach = radius * (1 + self.rng.uniform(-rough, rough, knots))
        return closed_curve(centre + np.stack([reach * np.cos(angle), reach * np.sin(angle)], axis=1), 8)

    def _nucleus(self, body: np.ndarray) -> Float[np.ndarray, "h w"]:
        high = self.traits["nucleus-cytoplasm ratio"].startswith("high")
        reach = self.radius * (0.84 if high else 0.60)
        turn = self.rng.uniform(0, 2 * np.pi)
        spin = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        shift = self.rng.uniform(-0.1, 0.1, 2) * self.radius * (0.3 if high else 1.0)
        lobes = [self.centre + shift + reach * lobe @ spin for lobe in self._lobes()]
        colour = self._dyed(_NUCLEUS)
        cover = self._union(lobes) * body
        inner = self._union([one.mean(0) + (one - one.mean(0)) * 0.86 for one in lobes]) * body
        whole = (slice(None), slice(None))
        self.canvas.blend(whole, cover, colour * 0.74)
        self.canvas.blend(whole, inner, colour * self._chromatin())
        self.canvas.parts[cover > 0.5] = _LABEL["nucleus"]
        return cover

    def _union(self, outlines: list[Points]) -> Float[np.ndarray, "h w"]:
        whole = np.zeros(self.canvas.parts.shape, dtype=np.float32)
        found = self.canvas.cover(*outlines)
        if found is not None:
            whole[found[0]] = found[1]
        return whole

    def _chromatin(self) -> Float[np.ndarray, "h w 1"]:
        if self.traits["chromatin density"] == "dense chromatin":
            return 0.86 + 0.16 * clouds(self.size, 9, self.rng)
        lace = smoothstep(np.abs(clouds(self.size, 17, self.rng) - 0.5), 0.03, 0.2)
        return 1.02 + 0.75 * lace * (1.45 - self.laboratory.basic_dye * 0.55)

    def _lobes(self) -> list[Points]:
        """Outlines of the nucleus' lobes and bridges, for a nucleus that reaches about 1 from its centre."""
        shape = self.traits["nucleus shape"]
        wobble = lambda: float(self.rng.uniform(0.92, 1.08))  # noqa: E731
        if shape == "round nucleus":
            return [self._blob(np.zeros(2), 0.98, 0.03, 10)]
        if shape == "irregular nucleus":
            return [self._blob(np.zeros(2), 0.95, 0.42, 9)]
        if shape == "indented nucleus":
            return [closed_curve(np.array(_KIDNEY) * wobble(), 8)]
        if shape == "band nucleus":
            return [_arc_band(0.78, 0.27, 2.1 * wobble())]
        if shape == "bilobed nucleus":
            ends = [ellipse((x, 0.05), (0.50 * wobble(), 0.66 * wobble()), points=24) for x in (-0.58, 0.58)]
            return [*ends, np.array([(-0.4, -0.13), (0.4, -0.13), (0.4, 0.13), (-0.4, 0.13)])]
        count = int(self.rng.integers(3, 6))
        angles = np.linspace(-2.0, 2.0, count) if count < 5 else np.linspace(-2.5, 2.5, count)
        places = 0.68 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
        radius = 0.40 if count < 5 else 0.34
        lobes = [ellipse(tuple(at), (radius * wobble(), radius * wobble()), points=20) for at in places]
        return [*lobes, _arc_band(0.68, 0.075, float(angles[-1]))]

    def _granules(self, free: np.ndarray, body: np.ndarray) -> None:
        kind = self.traits["granule type"]
        if kind == "nil granule type":
            return
        count, radius, over, opacity = {
            "small granules": (150, 1.15, 0.0, 0.75),
            "round granules": (85, 2.6, 0.10, 0.9),
            "coarse granules": (34, 3.7, 0.85, 0.92),
        }[kind]
        colour_name = self.traits["granule colour"]
        colour = self._dyed(_GRANULES[colour_name], acid=colour_name != "purple granules")
        within = np.minimum(free + over * body, 1)
        spots = self._scatter(count)
        if kind == "coarse granules":
            outlines = [self._blob(at, radius * self.unit * self.rng.uniform(0.8, 1.2), 0.25, 6) for at in spots]
        else:
            outlines = list(spots[:, None] + ellipse((0, 0), (radius * self.unit,) * 2, points=10))
        self.canvas.paint([one + 0.5 * self.unit for one in outlines], colour * 0.6, opacity=0.35, within=within)
        self.canvas.paint(outlines, colour, opacity=opacity, within=within, part=_LABEL["granule"])
        if kind == "round granules":
            spark = ellipse((-0.6 * self.unit, -0.7 * self.unit), (0.8 * self.unit,) * 2, points=8)
            bright = np.minimum(colour * 1.35 + 0.1, 1)
            self.canvas.paint(list(spots[:, None] + spark), bright, opacity=0.7, within=within)

    def _scatter(self, count: int) -> Points:
        turn, far = self.rng.uniform(0, 2 * np.pi, count), np.sqrt(self.rng.uniform(0, 0.92, count)) * self.radius
        return self.centre + np.stack([far * np.cos(turn), far * np.sin(turn)], axis=1)

    def _vacuoles(self, free: np.ndarray) -> None:
        if self.traits["cytoplasm vacuole"] != "vacuoles":
            return
        spots = [at for at in self._scatter(40) if self._at(free, at) > 0.9][:7]
        holes = [ellipse(tuple(at), (self.rng.uniform(2.6, 4.2) * self.unit,) * 2, points=16) for at in spots]
        if holes:
            self.canvas.paint(holes, (0.97, 0.96, 0.97), within=free, part=_LABEL["vacuole"])

    def _at(self, picture: np.ndarray, point: np.ndarray) -> float:
        x, y = np.clip(point.astype(int), 0, self.size - 1)
        return float(picture[y, x])

    def _photograph(self) -> UInt8[np.ndarray, "h w 3"]:
        lab, rgb = self.laboratory, self.canvas.rgb
        rgb *= np.array(lab.tint, dtype=np.float32) * np.float32(self.rng.uniform(0.93, 1.04))
        radius = lab.blur * self.rng.uniform(0.6, 1.4)
        soft = Image.fromarray(self.canvas.to_bytes()).filter(ImageFilter.GaussianBlur(radius))
        noise = self.rng.standard_normal(self.canvas.parts.shape, dtype=np.float32) * 1.2
        return (np.clip(np.asarray(soft) + noise[..., None], 0, 255) + 0.5).astype(np.uint8)


_KIDNEY = (
    (-0.95, 0.1),
    (-0.72, -0.72),
    (0.0, -0.98),
    (0.72, -0.72),
    (0.95, 0.1),
    (0.72, 0.72),
    (0.34, 0.66),
    (0.0, -0.02),
    (-0.34, 0.66),
    (-0.72, 0.72),
)


def _arc_band(radius: float, half_width: float, spread: float) -> Points:
    """Outline of a horseshoe band of constant width."""
    angle = np.linspace(-spread, spread, 18)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.concatenate([ring * (radius + half_width), ring[::-1] * (radius - half_width)])
