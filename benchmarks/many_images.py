"""A post-hoc CBM on a million images, as a notebook or `pellucid train` would fit it: time and memory.

    python -m benchmarks.many_images --images 1000000

Embeddings lie on disk in half precision, as the embedding store keeps them, and are read from there; every twentieth image
is for validation. The table of scores would be 2 GB in single precision, and the method would need it twice.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmarks.data import embeddings, texts
from benchmarks.measure import Clock, Row, peak_mb, report
from cbm.bank import ConceptBank, Origin, Quality
from cbm.methods import fit
from cbm.training_set import TrainingSet

BLOCK = 20_000
NEC = 10


def on_disk(folder: Path, images: int, classes: int) -> tuple[Float[Tensor, "n d"], Int[Tensor, "n"]]:
    """Embeddings as a memory map, and classes."""
    x = np.lib.format.open_memmap(folder / "x.npy", mode="w+", dtype=np.float16, shape=(images, 512))
    y = torch.empty(images, dtype=torch.int64)
    for start in range(0, images, BLOCK):
        here = slice(start, min(start + BLOCK, images))
        some, y[here] = embeddings(here.stop - start, classes, draw=start // BLOCK)
        x[here] = some.numpy()
    return torch.from_numpy(np.load(folder / "x.npy", mmap_mode="c")), y


def bank_of(vectors: Float[Tensor, "k d"]) -> ConceptBank:
    """Texts as a concept bank."""
    k = len(vectors)
    names = tuple(f"concept {i}" for i in range(k))
    return ConceptBank(names, vectors, torch.zeros(k), (Origin("text", ""),) * k, (Quality(),) * k)


def measured(folder: Path, images: int, concepts: int, classes: int) -> list[Row]:
    """One fit, with the largest resident memory; what of the file was read counts as resident."""
    x, y = on_disk(folder, images, classes)
    bank, splits = bank_of(texts(concepts)), np.where(np.arange(images) % 20, "train", "val")
    before, clock = peak_mb(), Clock()
    data = TrainingSet(x, y, tuple(map(str, range(classes))), splits, tuple(map(str, range(images))))
    model = fit("posthoc", data, bank=bank, nec=NEC)
    (cpu, wall), peak = clock.read(), peak_mb()
    held = data.split("val")
    right = model.predict(held.x.float()) == held.labels
    used = float((model.head.effects() != 0).sum()) / classes
    return [{
        "case": f"post-hoc CBM, {NEC} concepts a class", "cpu_s": cpu, "wall_s": wall, "mb_before": before, "peak_mb": peak,
        "reached": "not solved" not in " ".join(model.recipe.notes), "nec": used, "accuracy": float(right.float().mean()),
    }]  # fmt: skip


def main() -> None:
    """Parse the command line, measure, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--concepts", type=int, default=500)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--folder", help="where the embeddings are put meanwhile: 1 GB for a million; else a new one")
    a = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(dir=a.folder) as folder:
        rows = measured(Path(folder), a.images, a.concepts, a.classes)
    title = f"a head on {a.images:,} images x {a.concepts:,} concepts x {a.classes} classes"
    report("heads-many-images", title, rows)


if __name__ == "__main__":
    main()
