"""A workspace with a data set of any size: small pictures, all different, and embeddings with planted classes and concepts.

The embeddings are written straight into the store under a real encoder's contract, so that everything that only reads
them works as usual; concept maps would look at the pictures, which show nothing.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import normalize

from app import store, tasks
from app.workspace import Workspace
from cbm.data import ImageDataset
from cbm.embedding_store import Shard
from cbm.encoders import load_encoder
from cbm.preflight import Report
from cbm.progress import OnProgress, silent

NAME, ENCODER = "crowd", "builtin:photo"
CLASSES, CONCEPTS, PLACES = 20, 50, 6
SHARES = {"train": 0.7, "val": 0.1, "test": 0.1, "shifted": 0.1}
MODELS = {"crowd-posthoc": "posthoc", "crowd-probe": "linear-probe"}
A_SHARD, A_FOLDER = 5000, 1000
SHOWN_BY_CLASS, SHOWN_ELSEWHERE = 0.85, 0.08  # how often a concept shows in images of its classes, and of others
STRENGTH, NOISE = 0.16, 1.0


def build(ws: Workspace, images: int, *, seed: int = 0, on_progress: OnProgress = silent) -> None:
    """Make what is missing: pictures, data set, embeddings, a bank from examples, and two models that are measured."""
    if NAME not in {row.name for row in store.datasets(ws)}:
        dataset, x = crowd(ws.settings.home / "pictures", images, seed, on_progress)
        store.add_dataset(ws, dataset, report(dataset).to_json())
        embed(ws, dataset, x)
    if "crowd-examples" not in {row.name for row in store.banks(ws)}:
        wanted = {"dataset": NAME, "encoder": ENCODER, "source": "examples", "name": "crowd-examples"}
        tasks.run(ws, "bank", wanted, on_progress)
    for name, method in MODELS.items():
        if name not in {row.name for row in store.models(ws)}:
            options = {"nec": 15} if method == "posthoc" else {}
            wanted = {"dataset": NAME, "encoder": ENCODER, "method": method, "name": name, "options": options}
            tasks.run(ws, "fit", {**wanted, "bank": "crowd-examples" if options else None}, on_progress)


def crowd(folder: Path, images: int, seed: int, on_progress: OnProgress) -> tuple[ImageDataset, np.ndarray]:
    """The data set and its embeddings: a direction for each concept that shows, and noise. A class has ten concepts more
    often than the others; on the split `shifted` the last concept, which goes with class, is anywhere."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(CLASSES, size=images)
    splits = rng.choice(list(SHARES), size=images, p=list(SHARES.values()))
    has = np.stack([np.isin(np.arange(CONCEPTS), rng.choice(CONCEPTS, 10, replace=False)) for _ in range(CLASSES)])
    shows = rng.random((images, CONCEPTS)) < np.where(has[labels], SHOWN_BY_CLASS, SHOWN_ELSEWHERE)
    shows[:, -1] = np.where(splits == "shifted", rng.random(images) < 0.5, labels < CLASSES // 2)
    g = torch.Generator().manual_seed(seed)
    directions = torch.linalg.qr(torch.randn(512, CONCEPTS, generator=g))[0].T
    x = np.empty((images, 512), np.float16)
    for start in range(0, images, A_SHARD):
        some = torch.from_numpy(shows[start : start + A_SHARD].astype(np.float32))
        noise = NOISE * torch.randn(len(some), 512, generator=g) / 512**0.5
        x[start : start + A_SHARD] = normalize(STRENGTH * some @ directions + noise, dim=1).half().numpy()
    paths, hashes = pictures(folder, labels, rng, on_progress)
    dataset = ImageDataset(
        name=NAME,
        ids=tuple(path.relative_to(folder).as_posix() for path in paths),
        paths=paths,
        labels=labels,
        classes=tuple(f"kind {c:02}" for c in range(CLASSES)),
        splits=splits,
        concepts=tuple(f"trait {k:02}" for k in range(CONCEPTS)),
        concept_labels=shows.astype(np.float32),
        groups=tuple(f"place {p}" for p in rng.integers(PLACES, size=images)),
        hashes=hashes,
    )
    return dataset, x


def pictures(
    folder: Path, labels: np.ndarray, rng: np.random.Generator, on_progress: OnProgress
) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """A small JPEG for each label, in folders of a thousand; its colour is the class, and a pattern makes it the only one."""
    paths, hashes = [], []
    for number, label in enumerate(labels.tolist()):
        colour = np.array([40 + 10 * label, 60 + 37 * label % 160, 200 - 8 * label])
        tiles = np.clip(colour + rng.integers(-40, 40, size=(4, 4, 3)), 0, 255).astype(np.uint8)
        tiles[0, :2] = [[number >> 8 & 255, number & 255, number >> 16 & 255], [255, 255, 255]]
        buffer = io.BytesIO()
        Image.fromarray(tiles).resize((32, 32), Image.Resampling.NEAREST).save(buffer, "JPEG", quality=90)
        path = folder / f"{number // A_FOLDER:04}" / f"{number:07}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())
        paths.append(path)
        hashes.append(hashlib.sha256(buffer.getvalue()).hexdigest())
        if number % A_FOLDER == 0:
            on_progress(number / len(labels), f"{number:,} of {len(labels):,} pictures")
    return tuple(paths), tuple(hashes)


def report(dataset: ImageDataset) -> Report:
    """What the preflight would have found; it would open every file."""
    counts = {
        split: {
            name: int(((dataset.splits == split) & (dataset.labels == c)).sum())
            for c, name in enumerate(dataset.classes)
        }
        for split in SHARES
    }
    labels = dataset.concept_labels
    assert labels is not None
    return Report(
        images=len(dataset), listed=len(dataset), classes=dataset.classes, concepts=dataset.concepts, problems=(),
        splits={split: sum(counts[split].values()) for split in SHARES}, split_counts=counts, split_rule="given",
        class_counts={name: sum(counts[split][name] for split in SHARES) for name in dataset.classes},
        prevalence=dict(zip(dataset.concepts, labels.mean(0, dtype=np.float64).tolist(), strict=True)),
        missing=dict.fromkeys(dataset.concepts, 0), modes={"RGB": len(dataset)}, rotated=0,
    )  # fmt: skip


def embed(ws: Workspace, dataset: ImageDataset, x: np.ndarray) -> None:
    """Put the embeddings into the store as if the encoder had made them."""
    encoder, embeddings = load_encoder(ENCODER), store.embedding_store(ws)
    embeddings.register(encoder)
    for start in range(0, len(dataset), A_SHARD):
        hashes = dataset.hashes[start : start + A_SHARD]
        embeddings.write(encoder.contract, Shard(hashes, hashes, x[start : start + A_SHARD], {}, "planted"))
    store.mark_embedded(ws, dataset.name, encoder.id, encoder.contract)
