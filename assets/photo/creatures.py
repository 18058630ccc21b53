"""Pictures of things with parts of their own colours drawn by ourselves: what tells "a red head" from "a red tail".

A creature, a flower, a house and a cart, each of a few flat parts, turned and shifted, before a cloudy background.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from assets.photo import renders
from assets.photo.renders import SIZE

Box = tuple[float, float, float, float]
# Parts of a thing from the back to the front: ellipses, or boxes where the name is among BOXES; -1 to 1, y down.
FORMS: dict[str, dict[str, tuple[Box, ...]]] = {
    "creature": {
        "tail": ((-1.0, -0.15, -0.45, 0.1),),
        "leg": ((-0.22, 0.3, -0.14, 0.85), (0.1, 0.3, 0.18, 0.85)),
        "back": ((-0.6, -0.35, 0.5, 0.45),),
        "belly": ((-0.4, 0.05, 0.4, 0.48),),
        "wing": ((-0.45, -0.25, 0.15, 0.2),),
        "head": ((0.3, -0.7, 0.8, -0.15),),
        "nose": ((0.74, -0.5, 1.02, -0.38),),
        "eye": ((0.55, -0.56, 0.65, -0.46),),
    },
    "flower": {
        "stem": ((-0.05, 0.2, 0.05, 1.0),),
        "leaf": ((-0.5, 0.5, 0.0, 0.7), (0.0, 0.6, 0.5, 0.8)),
        "petal": tuple(
            (0.42 * c - 0.3, 0.42 * s - 0.45, 0.42 * c + 0.3, 0.42 * s + 0.15)
            for c, s in ((1, 0), (0.31, 0.95), (-0.81, 0.59), (-0.81, -0.59), (0.31, -0.95))
        ),
        "center": ((-0.22, -0.37, 0.22, 0.07),),
    },
    "house": {
        "wall": ((-0.7, -0.2, 0.7, 0.8),),
        "roof": ((-0.85, -0.6, 0.85, -0.15),),
        "door": ((-0.15, 0.3, 0.15, 0.8),),
        "window": ((-0.55, 0.0, -0.25, 0.3), (0.25, 0.0, 0.55, 0.3)),
    },
    "cart": {
        "body": ((-0.9, -0.15, 0.9, 0.4),),
        "roof": ((-0.5, -0.55, 0.45, -0.1),),
        "wheel": ((-0.7, 0.2, -0.25, 0.65), (0.25, 0.2, 0.7, 0.65)),
        "window": ((-0.3, -0.45, 0.25, -0.15),),
    },
}
BOXES = {"stem", "wall", "roof", "door", "window", "body"}
PARTS = tuple(dict.fromkeys(part for parts in FORMS.values() for part in parts))


@dataclass(frozen=True)
class Creature:
    """A form and the colour of each of its parts."""

    form: str
    colours: dict[str, str]


def choose(count: int, seed: int) -> list[Creature]:
    """Half of them creatures; each part has the main colour or, as often, any other."""
    random = np.random.default_rng(seed)
    names = tuple(renders.COLOURS)
    made = []
    for i in range(count):
        form = "creature" if i % 2 else str(random.choice(tuple(FORMS)))
        main = str(random.choice(names))
        colours = {part: main if random.random() < 0.5 else str(random.choice(names)) for part in FORMS[form]}
        made.append(Creature(form, colours))
    return made


def draw(creature: Creature, seed: int) -> Image.Image:
    """One picture, the same for the same seed."""
    random = np.random.default_rng(seed)
    behind = renders.backdrop(tuple(creature.colours.values())[:3], random)
    image = Image.fromarray(behind.clip(0, 255).astype(np.uint8))
    layer = Image.new("RGBA", (SIZE, SIZE))
    pen = ImageDraw.Draw(layer)
    scale, side = SIZE / 2 * random.uniform(0.6, 0.95), 1 if random.random() < 0.5 else -1
    for part, boxes in FORMS[creature.form].items():
        colour = tuple(int(value) for value in renders.tint(creature.colours[part], random).clip(0, 255))
        stretch = random.uniform(0.85, 1.15, 4)
        for box in boxes:
            x0, x1 = sorted((side * box[0] * stretch[0], side * box[2] * stretch[1]))
            corners = [SIZE / 2 + scale * value for value in (x0, box[1] * stretch[2], x1, box[3] * stretch[2])]
            (pen.rectangle if part in BOXES else pen.ellipse)(corners, fill=(*colour, 255))
    layer = layer.rotate(random.uniform(-15, 15), Image.Resampling.BICUBIC)
    shift = (int(random.integers(-20, 21)), int(random.integers(-20, 21)))
    image.paste(layer, shift, layer)
    pixels = np.asarray(image) * (0.75 + 0.5 * renders.clouds(random, 2.5)[:, :, None])
    noisy = pixels + random.normal(0, random.uniform(1, 6), pixels.shape)
    blur = ImageFilter.GaussianBlur(random.uniform(0.3, 1.2))
    return Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).filter(blur)
