"""Three kinds of birds whose model is known by heart: it also looks at the water, which misleads it where that is swapped.

An embedding is the four concept scores themselves. In `shifted` every bird stands where it does not belong, and the
weight of the water outvotes the bird; without it, every image is right.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from app import store
from app.workspace import Workspace
from cbm.bottleneck import LinearBottleneck
from cbm.data import ImageDataset
from cbm.embedding_store import Shard
from cbm.heads import LinearHead
from cbm.model import ConceptModel, Recipe
from cbm.preprocessing import Preprocessing

CLASSES = ("gull", "wren", "crow")
CONCEPTS = ("white wing", "small", "black wing", "water")
SPLITS = ("train", "val", "test", "shifted")
PLAIN = Preprocessing(size=(4, 4), mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
HABITAT = {"gull": 1.0, "wren": -1.0, "crow": -1.0}
MODEL = ConceptModel(
    CONCEPTS,
    CLASSES,
    LinearBottleneck(torch.eye(4), torch.zeros(4)),
    LinearHead(torch.tensor([[2.0, 0, 0, 2.0], [0, 2.0, 0, -2.0], [0, 0, 2.0, -2.5]]), torch.tensor([0.0, 0.1, 0.0])),
    Recipe("posthoc", encoder_id="test:shore", contract="d" * 64, images=12),
)


@dataclass(frozen=True)
class ShoreEncoder:
    """Only a name for the stored embeddings; whatever it encodes is nothing."""

    id: str = "test:shore"
    dim: int = 4
    contract: str = "d" * 64
    preprocessing: Preprocessing = PLAIN

    def encode_images(self, images: Sequence[Image.Image]) -> Tensor:
        return torch.zeros(len(images), self.dim)

    def encode_pixels(self, pixels: Tensor) -> Tensor:
        return torch.zeros(len(pixels), self.dim)


def fill(
    ws: Workspace, folder: Path, *, each: int = 4, model: ConceptModel = MODEL, annotated: bool = False, place: str = ""
) -> None:
    """Put the birds, `each` of every class in every split, and their model "shore-posthoc" into a workspace.

    Annotations say which concepts are there; the water, which misleads, is not annotated. With a `place`, that is the
    group of all shifted images.
    """
    kinds = [(split, label) for split in SPLITS for label in range(3) for _ in range(each)]
    paths = [_picture(folder / f"{i:03}.png", i, label) for i, (_, label) in enumerate(kinds)]
    water = np.array([HABITAT[CLASSES[label]] * (-1 if split == "shifted" else 1) for split, label in kinds])
    dataset = ImageDataset(
        name="shore",
        ids=tuple(path.name for path in paths),
        paths=tuple(paths),
        labels=np.array([label for _, label in kinds]),
        classes=model.classes,
        splits=np.array([split for split, _ in kinds]),
        concepts=CONCEPTS[:3] if annotated else (),
        concept_labels=np.eye(3, dtype=np.float32)[[label for _, label in kinds]] if annotated else None,
        groups=tuple(
            place if place and split == "shifted" else "on water" if at > 0 else "on land"
            for at, (split, _) in zip(water, kinds, strict=True)
        ),
        hashes=tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in paths),
    )
    store.add_dataset(ws, dataset, {})
    seen = np.array([(*(float(label == k) for k in range(3)), water[i]) for i, (_, label) in enumerate(kinds)])
    seen[:, :3] += np.linspace(0, 0.05, len(seen))[:, None]
    embeddings = store.embedding_store(ws)
    embeddings.register(ShoreEncoder())
    shard = Shard(dataset.hashes, dataset.hashes, seen.astype(np.float16), {}, "known")
    embeddings.write(ShoreEncoder.contract, shard)
    store.mark_embedded(ws, "shore", ShoreEncoder.id, ShoreEncoder.contract)
    store.add_model(ws, "shore-posthoc", model, dataset="shore")


def _picture(path: Path, number: int, label: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (5 * number % 256, 80 * label, number)).save(path)
    return path
