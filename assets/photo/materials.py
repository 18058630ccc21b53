"""Pictures of materials drawn by ourselves: a shape whose surface looks like wood, metal, fur, …, mostly in its colours."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from assets.photo import renders
from assets.photo.renders import SIZE

NATURAL = 0.7  # share of pictures in a colour that the material usually has
USUAL = {
    "wooden": ("brown", "orange"),
    "metallic": ("grey", "white"),
    "furry": ("brown", "black", "grey", "orange", "white"),
    "feathered": ("brown", "grey", "white", "black", "blue"),
    "stony": ("grey", "brown"),
    "glassy": ("white", "blue", "green"),
    "woven": ("red", "blue", "white", "purple", "pink", "green"),
    "scaly": ("green", "grey", "brown", "blue"),
    "leafy": ("green",),
    "leathery": ("brown", "black"),
    "wet": ("blue", "grey", "green"),
    "plastic": ("red", "yellow", "blue", "green", "pink", "white"),
}


@dataclass(frozen=True)
class Piece:
    """What is drawn: a material in a colour and a shape."""

    material: str
    colour: str
    shape: str


def choose(count: int, seed: int) -> list[Piece]:
    """Pieces of every material equally often."""
    random = np.random.default_rng(seed)
    names = tuple(USUAL)
    pieces = []
    for i in random.permutation(count):
        material = names[i % len(names)]
        colours = USUAL[material] if random.random() < NATURAL else tuple(renders.COLOURS)
        pieces.append(Piece(material, str(random.choice(colours)), str(random.choice(renders.SHAPES))))
    return pieces


def draw(piece: Piece, seed: int) -> Image.Image:
    """One picture, the same for the same seed."""
    random = np.random.default_rng(seed)
    whole = random.random() < 0.4  # the surface fills the picture
    mask = np.ones((SIZE, SIZE, 1)) if whole else renders.soft(renders.shape_field(piece.shape, random))
    behind = renders.backdrop((piece.colour,), random)
    shade, shine = _SURFACES[piece.material](random)
    colour = renders.tint(piece.colour, random)
    surface = colour * shade[:, :, None] + 255 * shine[:, :, None]
    if piece.material == "glassy":
        surface = 0.45 * surface + 0.55 * behind
    light = 0.75 + 0.5 * renders.clouds(random, 2.5)[:, :, None]
    pixels = behind * (1 - mask) + surface * light * mask
    noisy = pixels + random.normal(0, random.uniform(1, 5), pixels.shape)
    image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    return image.filter(ImageFilter.GaussianBlur(random.uniform(0, 0.8)))


Surface = tuple[np.ndarray, np.ndarray]  # how dark the colour is, how much it shines


def _even(shade: np.ndarray) -> Surface:
    return shade, np.zeros_like(shade)


def _wooden(random: np.random.Generator) -> Surface:
    x, y = renders.grid(random)
    rings = np.sin(random.uniform(25, 60) * (x + 0.25 * renders.clouds(random, 2.2) + 0.03 * np.sin(4 * y)))
    return _even(0.85 + 0.18 * rings + 0.08 * random.normal(0, 1, x.shape))


def _metallic(random: np.random.Generator) -> Surface:
    x, _ = renders.grid(random)
    bands = np.sin(random.uniform(3, 7) * x + random.uniform(0, 6)) ** 3
    brushed = gaussian_filter1d(random.normal(0, 1, x.shape), 12, axis=int(random.integers(2)))
    return 0.7 + 0.35 * bands + 0.4 * brushed, np.clip(bands, 0, 1) ** 3 * 0.6


def _furry(random: np.random.Generator) -> Surface:
    hairs = gaussian_filter1d(random.normal(0, 1, (SIZE, SIZE)), random.uniform(4, 9), axis=int(random.integers(2)))
    hairs = gaussian_filter(hairs, 0.6)
    return _even(0.85 + 0.22 * hairs / hairs.std())


def _feathered(random: np.random.Generator) -> Surface:
    x, y = renders.grid(random)
    rows = random.uniform(4, 8)
    across = x * rows + 0.5 * (np.floor(y * rows * 1.4) % 2)
    u, v = across % 1 - 0.5, (y * rows * 1.4) % 1
    edge = np.abs(np.hypot(u, v - 0.1) - 0.5) < 0.06
    barbs = np.sin(random.uniform(60, 120) * (u + 0.5 * v * np.sign(u)))
    return _even(0.95 + 0.15 * (v - 0.5) + 0.08 * barbs - 0.35 * edge - 0.2 * (np.abs(u) < 0.03))


def _stony(random: np.random.Generator) -> Surface:
    rough = renders.clouds(random, 1.0)
    cracks = np.abs(renders.clouds(random, 1.6) - 0.5) < 0.012
    return _even(0.45 + 1.0 * rough - 0.4 * cracks)


def _glassy(random: np.random.Generator) -> Surface:
    x, y = renders.grid(random)
    streak = np.exp(-(((x - random.uniform(-0.5, 0.5)) / 0.08) ** 2)) + np.exp(-((np.hypot(x, y) - 0.8) ** 2) / 0.004)
    return np.full_like(x, 0.9), 0.7 * np.clip(streak, 0, 1)


def _woven(random: np.random.Generator) -> Surface:
    x, y = renders.grid(random)
    threads = random.uniform(40, 80)
    over = np.sin(threads * x) * np.sin(threads * y) > 0
    return _even(0.75 + 0.3 * np.where(over, np.abs(np.sin(threads * x)), np.abs(np.sin(threads * y))))


def _scaly(random: np.random.Generator) -> Surface:
    x, y = renders.grid(random)
    rows = random.uniform(7, 14)
    u = (x * rows + 0.5 * (np.floor(y * rows) % 2)) % 1 - 0.5
    distance = np.hypot(u, (y * rows) % 1)
    return 1.1 - 0.7 * np.clip(distance, 0, 1) ** 2, 0.2 * (distance < 0.2)


def _leafy(random: np.random.Generator) -> Surface:
    shade = np.full((SIZE, SIZE), 0.3)
    row, column = np.mgrid[:SIZE, :SIZE]
    for _ in range(140):
        angle, size = random.uniform(0, np.pi), random.uniform(9, 20)
        dy, dx = row - random.integers(SIZE), column - random.integers(SIZE)
        along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
        leaf = (along / size) ** 2 + (across / (0.45 * size)) ** 2 < 1
        shade = np.where(leaf, random.uniform(0.5, 1.3) - 0.25 * (np.abs(across) < 1), shade)
    return _even(shade)


def _leathery(random: np.random.Generator) -> Surface:
    bumps = gaussian_filter(random.normal(0, 1, (SIZE, SIZE)), 2.5)
    bumps /= bumps.std()
    return 0.85 + 0.15 * bumps - 0.3 * (np.abs(bumps) < 0.12), 0.1 * (bumps > 1.6)


def _wet(random: np.random.Generator) -> Surface:
    y = np.linspace(0, 1, SIZE)[:, None] + 0.15 * renders.clouds(random, 1.8)
    waves = np.sin(random.uniform(30, 70) * (y + 0.3 * renders.clouds(random, 2.0)))
    return 0.8 + 0.2 * waves, 0.5 * (waves > 0.93)


def _plastic(random: np.random.Generator) -> Surface:
    x, y = renders.grid(random)
    spot = np.exp(-((x - random.uniform(-0.4, 0.4)) ** 2 + (y - random.uniform(-0.4, 0.4)) ** 2) / 0.02)
    return 0.95 + 0.15 * x, 0.8 * spot


_SURFACES = {
    "wooden": _wooden,
    "metallic": _metallic,
    "furry": _furry,
    "feathered": _feathered,
    "stony": _stony,
    "glassy": _glassy,
    "woven": _woven,
    "scaly": _scaly,
    "leafy": _leafy,
    "leathery": _leathery,
    "wet": _wet,
    "plastic": _plastic,
}
