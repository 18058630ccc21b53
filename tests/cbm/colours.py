"""Pictures of one colour each, and an encoder whose embeddings are known without asking it."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from cbm.data import ImageDataset
from cbm.preprocessing import Preprocessing

PLAIN = Preprocessing(size=(4, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


@dataclass
class ColourEncoder:
    """The mean red, green and blue of a picture as a unit vector; remembers how many images it saw at once."""

    contract: str = "c" * 64
    id: str = "test:colour"
    dim: int = 3
    preprocessing: Preprocessing = PLAIN
    batches: list[int] = field(default_factory=list)

    def encode_images(self, images):
        return self.encode_pixels(torch.stack([torch.from_numpy(self.preprocessing(image)) for image in images]))

    def encode_pixels(self, pixels):
        self.batches.append(len(pixels))
        return torch.nn.functional.normalize(pixels.mean((2, 3)), dim=1)


def write_images(folder: Path, count: int, start: int = 0) -> list[Path]:
    """Pictures of one colour each, all different."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:03d}.png" for number in range(start, start + count)]
    for number, path in enumerate(paths, start):
        Image.new("RGB", (6, 5), (number, 255 - number, 17)).save(path)
    return paths


def dataset(paths: list[Path]) -> ImageDataset:
    return ImageDataset(
        name="colours",
        ids=tuple(f"{number}-{path.name}" for number, path in enumerate(paths)),
        paths=tuple(paths),
        labels=np.arange(len(paths), dtype=np.int64) % 2,
        classes=("even", "odd"),
        splits=np.array(["train", "test"] * len(paths))[: len(paths)],
        concepts=("red",),
        concept_labels=np.linspace(0, 1, len(paths), dtype=np.float32)[:, None],
        hashes=tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths),
    )
