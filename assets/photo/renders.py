"""Pictures of colours, patterns and shapes drawn by ourselves, with what to call each: what class names do not teach.

A thing of one colour, pattern and shape, shaded, lies on a cloudy background of other colours, so that the mean over
all pictures of a colour has nothing else in common.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

SIZE = 224

COLOURS = {
    "red": (205, 30, 35),
    "orange": (240, 130, 25),
    "yellow": (245, 215, 40),
    "green": (50, 140, 55),
    "blue": (35, 85, 200),
    "purple": (120, 50, 150),
    "pink": (245, 150, 185),
    "brown": (115, 72, 40),
    "black": (22, 22, 24),
    "white": (243, 243, 240),
    "grey": (130, 132, 135),
}
PATTERNS = ("solid", "striped", "spotted", "checkered", "zigzag", "speckled")
SHAPES = ("round", "square", "triangular", "oval", "star-shaped", "long", "curved", "pointed")


@dataclass(frozen=True)
class Thing:
    """What is drawn: a colour, a pattern (in a second colour) and a shape."""

    colour: str
    second: str
    pattern: str
    shape: str


def choose(count: int, seed: int) -> list[Thing]:
    """Things of every colour, pattern and shape equally often, independently of each other."""
    random = np.random.default_rng(seed)

    def spread(choices: tuple[str, ...]) -> list[str]:
        return [choices[i % len(choices)] for i in random.permutation(count)]

    colours = tuple(COLOURS)
    first, shift = spread(colours), random.integers(1, len(colours), count)
    second = [colours[(colours.index(name) + step) % len(colours)] for name, step in zip(first, shift, strict=True)]
    pattern = [name if random.random() < 0.6 else "solid" for name in spread(PATTERNS)]
    return [Thing(*parts) for parts in zip(first, second, pattern, spread(SHAPES), strict=True)]


def draw(thing: Thing, seed: int) -> Image.Image:
    """One picture, 224 pixels square; the same for the same seed."""
    random = np.random.default_rng(seed)
    mask = soft(shape_field(thing.shape, random))
    colour, second = tint(thing.colour, random), tint(thing.second, random)
    share = _pattern(thing.pattern, random)[:, :, None]
    surface = colour * (1 - share) + second * share
    light = 0.75 + 0.5 * clouds(random, 2.5)[:, :, None]
    pixels = backdrop((thing.colour, thing.second), random) * (1 - mask) + surface * light * mask
    noisy = pixels + random.normal(0, random.uniform(1, 6), pixels.shape)
    image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0, 1.2)))


def grid(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates from -1 to 1, turned by a random angle."""
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    angle = random.uniform(0, 2 * np.pi)
    return np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y


def shape_field(name: str, random: np.random.Generator) -> np.ndarray:
    """Positive inside the shape."""
    x, y = grid(random)
    scale = random.uniform(0.45, 0.85)
    x, y = (x - random.uniform(-0.2, 0.2)) / scale, (y - random.uniform(-0.2, 0.2)) / scale
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    inside = {
        "round": 1 - radius,
        "square": 0.85 - np.maximum(abs(x), abs(y)),
        "triangular": np.minimum(0.6 + y, 0.62 - abs(x) * 1.2 - y * 0.6),
        "oval": 1 - np.hypot(x, y * 1.7),
        "star-shaped": 0.7 + 0.3 * np.cos(5 * angle) - radius,
        "long": np.minimum(1.3 - abs(x), 0.2 - abs(y)),
        "curved": 0.2 - abs(np.hypot(x, y - 0.5) - 0.85) - 0.3 * (y > 0.5),
        "pointed": np.minimum(1.1 - abs(y), 0.45 * (1.1 - y) / 2.2 - abs(x)),
    }
    return inside[name]


def _pattern(name: str, random: np.random.Generator) -> np.ndarray:
    """Share of the second colour, 0 to 1."""
    x, y = grid(random)
    waves = random.uniform(10, 28)
    fields = {
        "solid": np.full_like(x, -1.0),
        "striped": np.sin(waves * x),
        "spotted": np.cos(waves * x) + np.cos(waves * y) - 0.9,
        "checkered": np.sin(waves * x) * np.sin(waves * y),
        "zigzag": np.sin(waves * (x + 0.12 * abs((y * waves / 3) % 2 - 1))),
        "speckled": random.normal(0, 1, x.shape) - 1.1,
    }
    return soft(fields[name])[:, :, 0]


def backdrop(taken: tuple[str, ...], random: np.random.Generator) -> np.ndarray:
    others = [name for name in COLOURS if name not in taken]
    near, far = (tint(str(name), random, muted=random.uniform(0.1, 0.7)) for name in random.choice(others, 2, False))
    share = clouds(random, random.uniform(1.2, 2.5))[:, :, None]
    return near * share + far * (1 - share)


def clouds(random: np.random.Generator, roughness: float) -> np.ndarray:
    """Noise between 0 and 1 whose spectrum falls with frequency, as in photographs."""
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.rfftfreq(SIZE)[None])
    amplitude = 1 / np.maximum(frequency, 1 / SIZE) ** roughness
    waves = amplitude * np.exp(2j * np.pi * random.random(amplitude.shape))
    field = np.fft.irfft2(waves, s=(SIZE, SIZE))
    return (field - field.min()) / np.ptp(field)


def tint(name: str, random: np.random.Generator, *, muted: float = 0.0) -> np.ndarray:
    colour = np.array(COLOURS[name], dtype=float) + random.normal(0, 12, 3)
    return (1 - muted) * colour + muted * colour.mean()


def soft(field: np.ndarray) -> np.ndarray:
    """From positive inside to 1 inside, with a soft edge; `[h w 1]`."""
    return (1 / (1 + np.exp(-np.clip(field * 60, -50, 50))))[:, :, None]
