"""Draws one bird in the manner of a field guide: antialiased parts, soft light, feathers.

A bird is described in a frame of its own (facing right, about 128 units wide) and placed on the canvas by a
`Pose`. Each part is a smooth outline; markings such as stripes are functions of the bird's own coordinates,
so they turn and shrink with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.random import Generator

from assets.canvas import Canvas, Points, closed_curve, ellipse, ribbon, smoothstep
from assets.species import PARTS

_LABEL = {name: label for label, name in enumerate(PARTS)}
_CENTRE = np.array([66.0, 62.0])  # of the bird's own frame

_PAINT = {
    "white": (0.95, 0.94, 0.90),
    "yellow": (0.97, 0.79, 0.16),
    "red": (0.80, 0.16, 0.12),
    "grey": (0.54, 0.57, 0.61),
    "brown": (0.47, 0.31, 0.18),
    "black": (0.13, 0.13, 0.15),
    "blue": (0.16, 0.40, 0.76),
    "green": (0.26, 0.52, 0.24),
    "rufous": (0.76, 0.40, 0.17),
}
_CREAM = np.array([0.96, 0.93, 0.84])
_INK = np.array([0.10, 0.09, 0.09])

_BILLS = {
    "hooked bill": ((100, 33), (112, 32), (122, 37), (126, 46), (123, 56), (119, 48), (113, 49), (101, 49)),
    "cone-shaped bill": ((100, 32), (110, 36), (121, 43), (110, 48), (100, 51)),
    "long straight bill": ((101, 37), (112, 38), (134, 42), (112, 45.5), (101, 47)),
    "curved bill": ((101, 36), (114, 35), (126, 42), (131, 57), (122, 49), (112, 45.5), (101, 47)),
}
_BODY = ((74, 34), (91, 42), (103, 58), (101, 76), (88, 91), (66, 98), (46, 93), (33, 83), (40, 65), (56, 47))
_HEAD = ellipse((88, 41), (18.5, 17.5))
_CROWN = ((106, 37), (102, 29), (94, 23), (84, 22), (74, 27), (69, 39), (73, 45), (79, 37), (92, 33))
_WING = ((75, 61), (66, 51), (52, 54), (40, 62), (31, 72), (27, 81), (36, 85), (50, 86), (64, 82), (74, 73))
_MASK = ((107, 39), (98, 33), (86, 32), (73, 38), (68, 48), (76, 50), (88, 47), (100, 46))
_CRESTS = (
    ((96, 28), (90, 14), (76, 3), (82, 16), (84, 28)),
    ((90, 28), (80, 13), (64, 8), (73, 19), (78, 31)),
    ((84, 30), (72, 20), (58, 19), (66, 27), (73, 36)),
)


@dataclass(frozen=True)
class Pose:
    """Where and how a bird sits: scale, turn in radians, place of its centre in pixels, facing left or not."""

    scale: float
    turn: float
    centre: tuple[float, float]
    flipped: bool

    def matrix(self) -> Float[np.ndarray, "2 2"]:
        """Return the map from the bird's frame to pixels, without the shift."""
        c, s = np.cos(self.turn) * self.scale, np.sin(self.turn) * self.scale
        return np.array([[-c if self.flipped else c, -s], [-s if self.flipped else s, c]])

    def place(self, points: Points) -> Points:
        """Return points of the bird's frame in pixels."""
        return (np.asarray(points, dtype=np.float64) - _CENTRE) @ self.matrix().T + self.centre

    def frame(self, size: int) -> tuple[Float[np.ndarray, "h w"], Float[np.ndarray, "h w"]]:
        """Return the bird's own coordinates of every pixel."""
        inverse = np.linalg.inv(self.matrix()).astype(np.float32)
        pixel = np.arange(size, dtype=np.float32) + 0.5
        x, y = pixel[None, :] - self.centre[0], pixel[:, None] - self.centre[1]
        u, v = (inverse[i, 0] * x + inverse[i, 1] * y + _CENTRE[i] for i in range(2))
        return u.astype(np.float32), v.astype(np.float32)


def feet(pose: Pose, traits: Mapping[str, str]) -> Points:
    """Return where the bird's two feet stand, in pixels."""
    return pose.place(np.array([_foot(x, traits) for x in (64.0, 79.0)]))


def draw_bird(canvas: Canvas, traits: Mapping[str, str], pose: Pose, rng: Generator) -> None:
    """Draw a bird with the given traits (concept by group) on a canvas, and label its parts."""
    _Bird(canvas, traits, pose, rng).draw()


def _foot(x: float, traits: Mapping[str, str]) -> tuple[float, float]:
    return (x - 1.0, 125.0 if traits["leg length"] == "long legs" else 109.0)


def _colour(traits: Mapping[str, str], group: str) -> np.ndarray:
    return np.array(_PAINT[traits[group].split()[0]])


class _Bird:
    def __init__(self, canvas: Canvas, traits: Mapping[str, str], pose: Pose, rng: Generator) -> None:
        self.canvas, self.traits, self.pose, self.rng = canvas, traits, pose, rng
        self.u, self.v = pose.frame(canvas.parts.shape[0])
        light = pose.matrix().T @ np.array([rng.uniform(-0.6, 0.6), -0.8]) / pose.scale
        self.light = tuple(float(part) for part in light)
        self.wing_colour = self._vary(_colour(traits, "wing colour"))
        self.plumage = 0.45 * self.wing_colour + 0.55 * self._vary(_CREAM * rng.uniform(0.7, 0.95))

    def draw(self) -> None:
        self._legs()
        self._tail()
        self._body()
        self._head()
        self._bill()
        self._face()
        self._wing()

    def _vary(self, colour: np.ndarray) -> np.ndarray:
        return np.clip(colour * self.rng.uniform(0.9, 1.08) + self.rng.normal(0, 0.018, 3), 0.03, 1)

    def _round(self, centre: tuple[float, float], radii: tuple[float, float], depth: float = 0.55) -> np.ndarray:
        """Brightness of a rounded form under the light."""
        x, y = (self.u - centre[0]) / radii[0], (self.v - centre[1]) / radii[1]
        z = np.sqrt(np.maximum(1 - x * x - y * y, 0))
        lit = 0.45 * (x * self.light[0] + y * self.light[1]) + 0.6 * z
        return (1 - depth + depth * (0.45 + lit)).astype(np.float32, copy=False)

    def _shape(
        self, outline: Points | list[Points], colour: np.ndarray, part: str, shade: np.ndarray | None = None
    ) -> None:
        outlines = [outline] if isinstance(outline, np.ndarray) else outline
        self.canvas.paint([self.pose.place(one) for one in outlines], colour, part=_LABEL[part], shade=shade)

    def _edge(self, outline: Points | list[Points], opacity: float = 0.5) -> None:
        """Put a soft dark contour behind a part; drawn before it."""
        outlines = [outline] if isinstance(outline, np.ndarray) else outline
        self.canvas.paint([self.pose.place(_grown(one)) for one in outlines], _INK, opacity=opacity)

    def _legs(self) -> None:
        colour = self._vary(_colour(self.traits, "leg colour"))
        for near, x in ((0.72, 79.0), (1.0, 64.0)):
            foot = np.array(_foot(x, self.traits))
            hip, knee = np.array([x, 90.0]), np.array([x - 3.5, (92 + foot[1]) / 2])
            strokes = [ribbon([hip, knee, foot], [6.5, 5.0, 4.6])]
            strokes += [ribbon([foot, foot + toe], [4.4, 2.6]) for toe in ((11, 2.5), (9, -1.5), (-7, 1.5))]
            self._edge(strokes, 0.35)
            self._shape(strokes, colour * near, "legs")

    def _tail(self) -> None:
        long = 1.0 if self.traits["tail length"] == "long tail" else 0.6
        angle = np.pi - self.rng.uniform(0.08, 0.38)
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        outline, fan = _tail_outline(self.traits["tail shape"], 42 * long)
        root = np.array([40.0, 82.0])

        def put(points: np.ndarray) -> Points:
            return root + points[:, :1] * along + points[:, 1:] * across

        self._edge(put(outline))
        shade = self._round((20, 92), (60, 30), 0.4)
        colour = self.wing_colour * 0.78
        self._shape(put(outline), colour, "tail", shade=shade)
        inside = self.canvas.full_cover(self.pose.place(put(outline)))
        quills = [self.pose.place(ribbon(put(np.array([(8.0, 0.0), end])), [1.0, 1.2])) for end in fan]
        self.canvas.paint(quills, colour * 0.45 + 0.02, opacity=0.6, within=inside)

    def _body(self) -> None:
        outline = closed_curve(_BODY)
        self._edge(outline)
        shade = self._round((66, 64), (48, 42))
        self._shape(outline, self.plumage, "body", shade=shade)
        inside = self.canvas.full_cover(self.pose.place(outline))
        soft = self.rng.uniform(1.0, 2.5)
        under = smoothstep(self.v - 66 + 0.42 * (self.u - 60), -soft, soft)
        border = self.v - 76.5 - 0.16 * (self.u - 90)
        breast = inside * smoothstep(self.u - 68 + 0.5 * (self.v - 76), -soft, soft) * smoothstep(-border, -soft, soft)
        belly = inside * under * smoothstep(border, -3 * soft, -soft)  # reaches under the breast, painted after it
        same = self.traits["breast colour"].split()[0] == self.traits["belly colour"].split()[0]
        colour = self._vary(_colour(self.traits, "breast colour"))
        below = colour if same else self._vary(_colour(self.traits, "belly colour"))
        self._patch(belly, below, shade, "belly")
        self._patch(breast, colour, shade, "breast")
        if self.traits["breast pattern"] == "streaked breast":
            self._patch(breast * self._streaks(), _INK + 0.06, shade, None)

    def _patch(self, cover: np.ndarray, colour: np.ndarray, shade: np.ndarray, part: str | None) -> None:
        whole = (slice(None), slice(None))
        self.canvas.blend(whole, cover, colour, shade)
        if part is not None:
            self.canvas.parts[cover > 0.5] = _LABEL[part]

    def _streaks(self) -> np.ndarray:
        column = np.round(self.u / 7.0)
        row = self.v + 5.5 * (column % 2)
        down = row - 11 * np.round(row / 11)
        away = np.hypot((self.u - 7 * column) / 1.75, down / 3.9)
        return 0.9 * smoothstep(-away, -1.25, -0.75)

    def _head(self) -> None:
        shade = self._round((88, 41), (22, 21))
        self._edge(_HEAD, 0.4)
        self._shape(_HEAD, self.plumage * 1.04, "head", shade=shade)
        blend = closed_curve(((76, 40), (98, 44), (102, 58), (84, 60), (70, 50)))
        inside = self.canvas.full_cover(self.pose.place(closed_curve(_BODY)))
        self.canvas.paint(self.pose.place(blend), self.plumage, opacity=0.25, shade=shade, within=inside)
        colour = self._vary(_colour(self.traits, "crown colour"))
        if self.traits["crest"] == "tall crest":
            feathers = [closed_curve(feather) for feather in _CRESTS]
            self._edge(feathers)
            for feather, dim in zip(feathers[::-1], (0.78, 0.88, 1.0), strict=True):
                self._shape(feather, colour * dim, "crest", shade=shade)
        self._shape(closed_curve(_CROWN), colour, "crown", shade=self._round((88, 38), (24, 22), 0.45))

    def _bill(self) -> None:
        name = self.traits["bill shape"]
        outline = closed_curve(_BILLS[name], 5)
        colour = self._vary(_colour(self.traits, "bill colour"))
        self._edge(outline, 0.6)
        self._shape(outline, colour, "bill", shade=self._round((112, 42), (30, 14), 0.5))
        tip = {"hooked bill": (119, 45), "cone-shaped bill": (118, 43), "long straight bill": (129, 42)}.get(
            name, (122, 46)
        )
        inside = self.canvas.full_cover(self.pose.place(outline))
        gape = self.pose.place(ribbon([(101, 42.5), (111, 41.5), tip], [1.4, 1.2, 0.7]))
        self.canvas.paint(gape, colour * 0.35, opacity=0.8, within=inside)

    def _face(self) -> None:
        face = self.traits["face"]
        if face == "dark eye mask":
            self._shape(closed_curve(_MASK), _INK, "eye")
        eye = (93.0, 39.5)
        ring, width = {
            "white eye ring": (np.array([0.98, 0.98, 0.95]), 8.0),
            "dark eye mask": (np.array([0.35, 0.30, 0.25]), 5.2),
        }.get(face, (self.plumage * 0.7, 5.0))
        self._shape(ellipse(eye, (width, width)), ring, "eye")
        self._shape(ellipse(eye, (4.2, 4.2)), np.array([0.16, 0.09, 0.05]), "eye")
        self._shape(ellipse(eye, (3.0, 3.0)), np.array([0.03, 0.03, 0.03]), "eye")
        self._shape(ellipse((94.4, 38.0), (1.3, 1.3), points=10), np.array([1.0, 1.0, 1.0]), "eye")

    def _wing(self) -> None:
        outline = closed_curve(_WING)
        self._edge(outline, 0.55)
        shade = self._round((54, 66), (48, 36), 0.5)
        along = ((74 - self.u) * 0.86 + (self.v - 58) * 0.5) / 70  # 0 at the shoulder, 1 at the tip
        across = (self.u - 74) * 0.5 + (self.v - 58) * 0.86
        tone = 1.06 - 0.26 * smoothstep(along, 0.3, 0.75)
        feather = np.abs(np.sin((across - 5 * along) * np.pi / 6.5)) ** 0.3
        self._shape(outline, self.wing_colour, "wing", shade=shade * tone * (0.80 + 0.2 * feather))
        inside = self.canvas.full_cover(self.pose.place(outline))
        marks = _markings(self.traits["wing pattern"], along * 70, across)
        if marks is not None:
            self._patch(inside * marks, self._vary(_CREAM), shade, None)


def _grown(outline: Points) -> Points:
    """Return an outline about a unit and a half larger."""
    centre = outline.mean(0)
    away = outline - centre
    return centre + away * (1 + 1.5 / np.maximum(np.hypot(away[:, 0], away[:, 1])[:, None], 6))


def _markings(pattern: str, along: np.ndarray, across: np.ndarray) -> np.ndarray | None:
    """Coverage of the pale marks on a wing, in units of the bird's frame along and across it."""
    if pattern == "striped wing":
        wave = along + 0.08 * across
        return 0.92 * smoothstep(-np.abs(wave - 12 * np.round(wave / 12)), -3.4, -2.0)
    if pattern == "spotted wing":
        row = np.round(across / 8.5)
        shifted = along + 5.5 * (row % 2)
        away = np.hypot(shifted - 11 * np.round(shifted / 11), across - 8.5 * row)
        return 0.95 * smoothstep(-away, -3.7, -2.3)
    if pattern == "white wing bar":
        return 0.97 * smoothstep(-np.abs(along - 26 - 0.1 * across), -6.6, -5.0)
    return None


def _tail_outline(shape: str, length: float) -> tuple[Points, list[tuple[float, float]]]:
    """Outline of a tail along its own axis from the root, and the tips of its feathers."""
    if shape == "forked tail":
        points = [
            (-10, -7),
            (length * 0.6, -12),
            (length, -19),
            (length * 0.62, 0),
            (length, 19),
            (length * 0.6, 12),
            (-10, 7),
        ]
        return np.array(points, dtype=float), [(length * 0.95, -16), (length * 0.95, 16), (length * 0.6, 0)]
    if shape == "pointed tail":
        points = [(-10, -8), (length * 0.55, -7.5), (length * 1.12, 0), (length * 0.55, 7.5), (-10, 8)]
        return np.array(points, dtype=float), [(length, 0.0)]
    if shape == "square tail":
        points = [(-10, -8), (length, -10), (length, 10), (-10, 8)]
        return np.array(points, dtype=float), [(length, y) for y in (-5.0, 0.0, 5.0)]
    angles = np.linspace(-0.62, 0.62, 9)
    reach = length * 1.02 + 6
    arc = [(reach * np.cos(a) - 6, (reach + 4) * np.sin(a)) for a in angles]
    return np.array([(-10, -7), *arc, (-10, 7)]), arc[1:-1]
