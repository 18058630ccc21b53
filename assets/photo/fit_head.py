"""Makes the alignment head of a tier of `builtin:photo`: closed form, minutes on one thread, no photographs.

Anchors are texts with a direction in the image features' space (`anchors.py`). A weighted kernel ridge regression from
sentence embeddings to directions, restricted to landmarks, is the text side; the image side projects features to the
512 directions that the classifier's rows and the regression use most. The weights are those of `settings.json`.

    python -m assets.photo.fit_head --sources FOLDER --tier photo --out assets/photo
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import normalize

from assets.photo.anchors import Settings, all_anchors, read_settings
from assets.photo.collect import Collector
from assets.photo.words import Anchors
from cbm import photo
from cbm.photo_wheels import TIERS
from cbm.torchvision_guard import ensure_torchvision


@dataclass(frozen=True)
class Head:
    """What is stored: the image side's projection and offset, the text side's kernel regression."""

    projection: Tensor  # [512 1280]
    offset: Tensor  # [512]
    centre: Tensor  # [384]
    landmarks: Tensor  # [m 384]
    coefficients: Tensor  # [m 512]
    width: float


def main() -> None:
    """Fit the head and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", type=Path, required=True, help="folder described in assets/photo/collect.py")
    parser.add_argument("--tier", choices=TIERS, default="photo")
    parser.add_argument("--seed", type=int, default=0, help="of the renders and of the first landmark")
    parser.add_argument("--kept", type=Path, help="folder for features, to go on from there")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    ensure_torchvision()
    collector = Collector(options.sources, options.tier, options.kept)
    sources = collector.sources(options.seed)
    settings = read_settings(options.out / "settings.json")
    anchors = all_anchors(sources, settings)
    head = fit(anchors, collector.sentences(anchors.texts), sources.rows, collector.mean, settings, options.seed)
    save(head, options.out / TIERS[options.tier].head)


def fit(anchors: Anchors, embedded: Tensor, rows: Tensor, mean: Tensor, settings: Settings, seed: int = 0) -> Head:
    """Kernel ridge regression on landmarks, and the projection to the joint space."""
    centre = embedded.mean(0)
    points = normalize(embedded - centre, dim=1)
    marks = points[spread_out(points, settings.landmarks, seed)]
    across, among = kernel(points, marks, settings.width), kernel(marks, marks, settings.width)
    coefficients = solve(across, among, anchors, settings.ridge)  # [m f]
    predicted = normalize(across @ coefficients, dim=1)
    projection = leading(torch.cat([predicted, rows]), photo.JOINT)
    return Head(projection, -projection @ mean, centre, marks, coefficients @ projection.T, settings.width)


def spread_out(points: Tensor, count: int, seed: int) -> Tensor:
    """Rows of points that leave none far away: each next one is the farthest from those before."""
    first = int(torch.randint(len(points), (1,), generator=torch.Generator().manual_seed(seed)))
    chosen, nearest = [first], points @ points[first]
    while len(chosen) < min(count, len(points)):
        chosen.append(int(nearest.argmin()))
        nearest = torch.maximum(nearest, points @ points[chosen[-1]])
    return torch.tensor(chosen).sort().values


def kernel(a: Tensor, b: Tensor, width: float) -> Tensor:
    """Similarity of centred unit vectors, as in `cbm.photo.KernelRidge`."""
    return torch.exp((a @ b.T - 1) / width**2)


def solve(across: Tensor, among: Tensor, anchors: Anchors, ridge: float) -> Tensor:
    """Minimise sum w |k C - y|^2 + ridge tr(C' K C) over the coefficients C of the landmarks."""
    weighted = across.T * anchors.weights
    normal = (weighted @ across + ridge * among).double()
    normal.diagonal().add_(1e-3)  # what single precision leaves undetermined
    return torch.cholesky_solve((weighted @ anchors.directions).double(), torch.linalg.cholesky(normal)).float()


def image_side(head: Head, features: Tensor) -> Tensor:
    """Unit points of images in the joint space."""
    return normalize(features @ head.projection.T + head.offset, dim=1)


def text_side(head: Head, sentences: Tensor) -> Tensor:
    """Unit points of texts in the joint space: what `cbm.photo.KernelRidge` computes."""
    similar = kernel(normalize(sentences - head.centre, dim=1), head.landmarks, head.width)
    return normalize(similar @ head.coefficients, dim=1)


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
    save_file(halves | {"text.width": torch.tensor(head.width)}, file)


def read_head(file: Path) -> Head:
    """A head that was written, as the product reads it."""
    from safetensors.torch import load_file

    stored = {name: tensor.float() for name, tensor in load_file(file).items()}
    return Head(
        stored["image.weight"],
        stored["image.bias"],
        stored["text.centre"],
        stored["text.anchors"],
        stored["text.coefficients"],
        float(stored["text.width"]),
    )


if __name__ == "__main__":
    main()
