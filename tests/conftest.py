"""For every test: the shapes that `cbm` and `probes` write in their annotations are checked at run time.

One thread computes, and a small world whose truth is known is there to share.
"""

from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

# As for type checkers, an int will do where a float is wanted.
install_import_hook(["cbm", "probes"], "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

import numpy as np  # noqa: E402

from cbm.bank import ConceptBank, Origin, Quality  # noqa: E402
from cbm.preprocessing import Preprocessing  # noqa: E402
from cbm.training_set import TrainingSet  # noqa: E402

collect_ignore = ["cbm/ranks"]  # scripts that torchrun starts; see tests/cbm/torchrun.py
torch.set_num_threads(1)
settings.register_profile("pellucid", deadline=None, max_examples=40)  # a busy machine is no failure
settings.load_profile("pellucid")


@dataclass(frozen=True)
class Planted:
    """A world whose truth is known.

    Embeddings are the sum of a few concepts' unit directions (orthogonal, known) and noise; each class is defined by
    its own two concepts, and a last concept, "noise", says nothing about the class. Two classes in four live on "water",
    the others on "land", in nine of ten images.
    """

    training: TrainingSet
    bank: ConceptBank
    class_concepts: dict[str, tuple[str, str]]


CLASS_CONCEPTS = {
    "wren": ("striped", "hooked bill"),
    "teal": ("crested", "long tail"),
    "kite": ("spotted", "red crown"),
    "loon": ("yellow belly", "webbed feet"),
}
CONCEPTS = (*(concept for pair in CLASS_CONCEPTS.values() for concept in pair), "noise")
D = 24


def planted_world(seed: int = 0, n: int = 480, noise: float = 0.35) -> Planted:
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(rng.normal(size=(D, D)))[0][: len(CONCEPTS)]
    labels = np.arange(n) % len(CLASS_CONCEPTS)
    present = np.zeros((n, len(CONCEPTS)))
    for label, pair in enumerate(CLASS_CONCEPTS.values()):
        for concept in pair:
            present[labels == label, CONCEPTS.index(concept)] = 1
    flipped = rng.random(present.shape) < 0.04
    present = np.where(flipped, 1 - present, present)
    present[:, -1] = rng.random(n) < 0.5
    x = present @ directions + noise * rng.normal(size=(n, D)) / np.sqrt(D) * 2
    common = rng.random(n) < 0.9
    water = (labels % 2 == 0) == common
    order = rng.permutation(n)
    splits = np.empty(n, dtype="<U5")
    for name, start, end in (("train", 0.0, 0.5), ("val", 0.5, 0.75), ("test", 0.75, 1.0)):
        splits[order[int(start * n) : int(end * n)]] = name
    classes = tuple(CLASS_CONCEPTS)
    training = TrainingSet(
        x=torch.from_numpy(x).float(),
        labels=torch.from_numpy(labels),
        classes=classes,
        splits=splits,
        ids=tuple(f"{i:04}.png" for i in range(n)),
        concepts=CONCEPTS,
        concept_labels=torch.from_numpy(present).float(),
        groups=tuple("water" if wet else "land" for wet in water),
        encoder_id="planted",
        contract="planted-contract",
    )
    bank = ConceptBank(
        names=CONCEPTS,
        vectors=torch.from_numpy(directions).float(),
        intercepts=torch.zeros(len(CONCEPTS)),
        origin=tuple(Origin("text", "planted") for _ in CONCEPTS),
        quality=tuple(Quality() for _ in CONCEPTS),
        encoder_id="planted",
        contract="planted-contract",
    )
    return Planted(training, bank, dict(CLASS_CONCEPTS))


@pytest.fixture(scope="session")
def planted() -> Planted:
    return planted_world()


@dataclass(frozen=True)
class WordEncoder:
    """A text encoder whose answer is known: each word has a fixed direction, a text is the sum of its words'."""

    id: str = "planted"
    dim: int = D
    contract: str = "planted-contract"
    preprocessing: Preprocessing = field(default_factory=lambda: Preprocessing(size=(8, 8)))

    def encode_images(self, images: list) -> torch.Tensor:
        raise NotImplementedError("this encoder reads words only")

    encode_pixels = encode_images

    def encode_texts(self, texts: list[str]) -> torch.Tensor:
        rows = torch.stack([sum((self.word(w) for w in text.split()), torch.zeros(D)) for text in texts])
        return torch.nn.functional.normalize(rows, dim=1)

    @staticmethod
    def word(word: str) -> torch.Tensor:
        seed = int.from_bytes(word.encode()[:8].ljust(8, b" "), "little") % (2**31)
        return torch.randn(D, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="session")
def word_encoder() -> WordEncoder:
    return WordEncoder()
