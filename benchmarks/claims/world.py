"""The demo birds, drawn and embedded once into a cache folder, and dealt anew into splits for every seed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from assets.birds import COUNTS, write_birds
from cbm.data import ImageDataset
from cbm.embedding_store import EmbeddingStore
from cbm.embeddings import embed
from cbm.encoders import load_encoder
from cbm.model import ConceptModel
from cbm.sources import bank_from_examples, bank_from_texts
from cbm.training_set import TrainingSet
from cbm.vocabulary import shipped_candidates

ENCODER = "builtin:demo"
DEALT = ("train", "val", "test")


@dataclass(frozen=True)
class World:
    """All birds, embedded, with the encoder that reads text and the sentences that ship.

    Attributes
    ----------
    birds
        The images in the splits in which they were drawn, "shifted" among them.
    folder
        `manifest.csv`, `truth.json`, `images/` and `masks/`.
    """

    birds: TrainingSet
    folder: Path

    def data(self, seed: int) -> TrainingSet:
        """The birds with train, val and test dealt anew, as many of each class as before; seed 0 leaves them as drawn.

        The shifted images stay what they are.
        """
        return self.birds if seed == 0 else replace(self.birds, splits=dealt(self.birds, seed))


def with_texts(data: TrainingSet, texts: Sequence[str] | None = None) -> TrainingSet:
    """The data with a bank of texts: the annotated concepts' names, if no others are given."""
    assert data.encoder is not None
    return replace(data, bank=bank_from_texts(data.encoder, data.concepts if texts is None else texts))


def with_examples(data: TrainingSet) -> TrainingSet:
    """The data with a bank learned from its own annotated training images."""
    return replace(data, bank=bank_from_examples(data))


def accuracy(model: ConceptModel, data: TrainingSet, split: str = "test") -> float:
    """Share of a split's images whose class is predicted."""
    images = data.split(split)
    return float((model.predict(images.x) == images.labels).double().mean())


def dealt(data: TrainingSet, seed: int) -> np.ndarray:
    """Splits in which each class has as many images as before, but other ones."""
    rng = np.random.default_rng(seed)
    labels, splits = data.labels.numpy(), data.splits.copy()
    for label in np.unique(labels):
        members = np.flatnonzero((labels == label) & np.isin(splits, DEALT))
        splits[members] = rng.permutation(splits[members])
    return splits


@cache
def load_world(folder: Path) -> World:
    """The world in a folder; drawn and embedded there, which takes a minute or two, as far as it is not."""
    manifest = write_birds(folder / "birds", counts=COUNTS)
    birds = embed(
        ImageDataset.from_manifest(manifest), load_encoder(ENCODER), store=EmbeddingStore(folder / "embedded")
    )
    return World(replace(birds, candidates=shipped_candidates(birds.classes)), folder / "birds")
