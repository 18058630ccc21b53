"""Makes `head.safetensors`, the alignment head of `builtin:photo`: closed form, minutes on one thread, no photographs.

Anchors are texts with a direction in the image features' space: names of ImageNet classes point to the rows of the
classifier, categories to the mean of theirs, colour and pattern words to what sets our renders of them apart. A
weighted kernel ridge regression from sentence embeddings to directions, restricted to landmarks, is the text side; the
image side projects features to the 512 directions that the classifier's rows and the regression use most.

    python -m assets.photo.fit_head --wordnet /usr/share/wordnet --out assets/photo
"""

import argparse
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from assets.photo import renders, words
from assets.photo.words import Anchors, Nouns
from cbm import photo
from cbm.torchvision_guard import ensure_torchvision

WIDTH = 0.7
RIDGE = 0.3
CLASS, CATEGORY, LOOK = 3.0, 0.3, 1.0  # what an anchor of each kind counts
STRESS = 4.0  # in "a red fish", red counts this many times as much as fish: among fishes, it is what matters
LANDMARKS = 5000
RENDERS = 1500
SEED = 0

PATTERN_WORDS = {
    "solid": ("solid", "plain", "solid color", "uniform", "of one color"),
    "striped": ("striped", "stripes", "banded", "streaked"),
    "spotted": ("spotted", "spots", "dotted", "polka dots"),
    "checkered": ("checkered", "checked", "chequered"),
    "zigzag": ("zigzag", "wavy"),
    "speckled": ("speckled", "mottled", "grainy"),
}
SHAPE_WORDS = {
    "round": ("round", "circular", "ball-shaped"),
    "square": ("square", "rectangular", "boxy"),
    "triangular": ("triangular", "triangle"),
    "oval": ("oval", "elliptical", "egg-shaped"),
    "star-shaped": ("star-shaped", "star", "lobed"),
    "long": ("long", "thin", "rod-shaped", "elongated"),
    "curved": ("curved", "bent", "crescent-shaped"),
    "pointed": ("pointed", "sharp", "spike-shaped"),
}
PARTS = (
    "head", "face", "eye", "neck", "back", "belly", "chest", "side", "leg", "foot", "wing", "tail", "ear", "nose", "mouth",
    "fur", "feathers", "skin", "top", "bottom", "front", "surface", "edge", "handle", "wheel", "roof", "leaf", "petal",
)  # fmt: skip
SAYINGS = ("{}", "a photo of something {}", "something {}", "a {} thing", "a {} object")


@dataclass(frozen=True)
class Head:
    """What is stored: the image side's projection and offset, the text side's kernel regression."""

    projection: Tensor  # [512 1280]
    offset: Tensor  # [512]
    centre: Tensor  # [384]
    landmarks: Tensor  # [m 384]
    coefficients: Tensor  # [m 512]


def main() -> None:
    """Fit the head and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wordnet", type=Path, required=True, help="folder with WordNet 3.0's data.noun")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    ensure_torchvision()
    model, tokenizer = photo.load_towers()
    rows, mean = class_rows(), mean_feature(model)
    anchors = all_anchors(words.read_nouns(options.wordnet), rows, render_directions(model))
    head = fit(anchors, sentences(model, tokenizer, anchors.texts), rows, mean)
    save(head, options.out / "head.safetensors")


def class_rows() -> Tensor:
    """Unit directions of the 1,000 classes, their common part removed, `[1000 1280]`."""
    weights, _ = photo.classifier()
    return normalize(weights - weights.mean(0), dim=1)


def mean_feature(model: nn.Module) -> Tensor:
    """Expected feature of a training photograph, from the statistics that the last batch normalisation kept.

    A channel is normal with mean b and deviation g before it is cut to 0..6, so its mean after is known.
    """
    last = model.visual.trunk.bn2
    b, g = last.bias.detach().double(), last.weight.detach().double().abs()

    def positive_part(shift: float) -> Tensor:
        z = (b - shift) / g
        normal = torch.distributions.Normal(0.0, 1.0)
        return (b - shift) * normal.cdf(z) + g * normal.log_prob(z).exp()

    return (positive_part(0) - positive_part(6)).float()


def render_directions(model: nn.Module) -> dict[str, Tensor]:
    """Unit direction of each colour, pattern and shape: what sets its renders apart, the usual variation divided out."""
    things = renders.choose(RENDERS, SEED)
    features = render_features(model, things)
    centred = features - features.mean(0)
    covariance = centred.T @ centred / len(centred)
    stiff = covariance + 0.5 * covariance.diagonal().mean() * torch.eye(len(covariance))
    groups = {"colour": tuple(renders.COLOURS), "pattern": renders.PATTERNS, "shape": renders.SHAPES}
    members = {
        name: torch.tensor([getattr(thing, kind) == name for thing in things])
        for kind, names in groups.items()
        for name in names
    }
    means = torch.stack([centred[mask].mean(0) for mask in members.values()])
    return dict(zip(members, normalize(torch.linalg.solve(stiff, means.T).T, dim=1), strict=True))


def render_features(model: nn.Module, things: list[renders.Thing]) -> Tensor:
    prepare = photo.preprocessing()
    rows = []
    with torch.inference_mode():
        for start in range(0, len(things), 16):
            batch = [renders.draw(thing, start + i) for i, thing in enumerate(things[start : start + 16])]
            rows.append(model.encode_image(torch.from_numpy(np.stack([prepare(image) for image in batch]))))
    return torch.cat(rows)


def all_anchors(
    nouns: Nouns, rows: Tensor, looks: dict[str, Tensor], *, without: frozenset[str] = frozenset()
) -> Anchors:
    """Class names, categories, looks, and looks of things; `without` some classes, to measure on them."""
    classes = {noun: row for noun, row in zip(words.class_ids(), rows, strict=True) if noun not in without}
    categories = words.category_directions(nouns, classes)
    return words.joined(
        words.class_anchors(nouns, classes, CLASS),
        words.category_anchors(nouns, categories, CATEGORY),
        look_anchors(looks),
        thing_anchors(nouns, categories, looks),
    )


def look_anchors(looks: dict[str, Tensor]) -> Anchors:
    """Words for colours, patterns and shapes, alone and of some part."""
    pairs = [(saying.format(name), looks[name]) for name in renders.COLOURS for saying in (*SAYINGS, "{} color")]
    for synonyms in (PATTERN_WORDS, SHAPE_WORDS):
        kind = "pattern" if synonyms is PATTERN_WORDS else "shape"
        pairs += [
            (saying.format(word), looks[name])
            for name, alike in synonyms.items()
            for word, saying in product(alike, (*SAYINGS, f"{{}} {kind}"))
        ]
    pairs += [(f"{name} {part}", looks[name]) for name, part in product(renders.COLOURS, PARTS)]
    return words.pointed(pairs, LOOK)


def thing_anchors(nouns: Nouns, categories: dict[str, tuple[Tensor, int]], looks: dict[str, Tensor]) -> Anchors:
    """A category with a look points to both: "a striped fish", "a dog with a black head"."""
    random = np.random.default_rng(SEED)
    common = sorted(categories, key=lambda noun: -categories[noun][1])[:150]
    named = [(nouns.words[noun][0], normalize(categories[noun][0], dim=0)) for noun in common]
    named = [(name, direction) for name, direction in named if " " not in name][:60]
    pairs = [
        (f"a {look} {name}", direction + STRESS * looks[look])
        for (name, direction), look in product(named, (*renders.COLOURS, *renders.PATTERNS))
    ]
    for (name, direction), look in product(named, renders.COLOURS):
        part = random.choice(PARTS)
        pairs.append((f"a {name} with a {look} {part}", direction + STRESS * looks[look]))
    return words.pointed(pairs, LOOK)


def sentences(model: nn.Module, tokenizer: photo.Tokenizer, texts: tuple[str, ...]) -> Tensor:
    """Unit sentence embeddings `[a 384]`."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    result = torch.empty(len(texts), photo.SENTENCE)
    with torch.inference_mode():
        for start in range(0, len(order), 128):
            part = order[start : start + 128]
            tokens = tokenizer([texts[i] for i in part])
            longest = int((tokens != 0).sum(1).max())  # the rest is padding
            result[part] = normalize(model.encode_text(tokens[:, :longest]), dim=1)
    return result.clone()


def fit(anchors: Anchors, embedded: Tensor, rows: Tensor, mean: Tensor) -> Head:
    """Kernel ridge regression on landmarks, and the projection to the joint space."""
    centre = embedded.mean(0)
    points = normalize(embedded - centre, dim=1)
    some = torch.randperm(len(points), generator=torch.Generator().manual_seed(SEED))[:LANDMARKS]
    marks = points[some.sort().values]
    coefficients = solve(points, marks, anchors)  # [m f]
    predicted = normalize(kernel(points, marks) @ coefficients, dim=1)
    projection = leading(torch.cat([predicted, rows]), photo.JOINT)
    return Head(projection, -projection @ mean, centre, marks, coefficients @ projection.T)


def kernel(a: Tensor, b: Tensor) -> Tensor:
    """Similarity of centred unit vectors, as in `cbm.photo.KernelRidge`."""
    return torch.exp((a @ b.T - 1) / WIDTH**2)


def solve(points: Tensor, marks: Tensor, anchors: Anchors) -> Tensor:
    """Minimise sum w |k C - y|^2 + ridge tr(C' K C) over the coefficients C of the landmarks."""
    across, among = kernel(points, marks), kernel(marks, marks)
    weighted = across.T * anchors.weights
    normal = (weighted @ across + RIDGE * among).double()
    normal.diagonal().add_(1e-5)  # what single precision leaves undetermined
    return torch.cholesky_solve((weighted @ anchors.directions).double(), torch.linalg.cholesky(normal)).float()


def leading(directions: Tensor, count: int) -> Tensor:
    """The orthonormal directions that hold most of these, `[count f]`."""
    _, basis = torch.linalg.eigh((directions.T @ directions).double())  # the largest last
    return basis.flip(1)[:, :count].T.float()


def save(head: Head, file: Path) -> None:
    """Half precision; the width is stored with the tensors."""
    from safetensors.torch import save_file

    tensors = {
        "image.weight": head.projection,
        "image.bias": head.offset,
        "text.centre": head.centre,
        "text.anchors": head.landmarks,
        "text.coefficients": head.coefficients,
    }
    halves = {name: tensor.half().contiguous() for name, tensor in tensors.items()}
    save_file(halves | {"text.width": torch.tensor(WIDTH)}, file)


if __name__ == "__main__":
    main()
