"""A sparse autoencoder of a million embeddings that lie on disk: CPU seconds, memory, and what it finds.

    python -m benchmarks.sae_stream --images 1000000

Embeddings are 2,048 planted atoms of 512 dimensions, 16 an image, and noise, in half precision. `recovered` is the largest
cosine of any atom that was learned with each planted one, on average; random atoms as many say what chance gives.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import embedding_bag, normalize

from benchmarks.measure import Clock, Row, report
from benchmarks.scores import peak_mb
from cbm.sae import measure
from cbm.sae_training import Checkpoint, SaeConfig, train_sae

D, ATOMS, EACH, HELD = 512, 2048, 16, 8192


def planted() -> Float[Tensor, "h d"]:
    """Unit vectors in directions of their own."""
    return normalize(torch.randn(ATOMS, D, generator=torch.Generator().manual_seed(0)), dim=1)


def written(path: Path, images: int, block: int = 16_384) -> np.memmap:
    """The embeddings, written block after block and opened as a memory map."""
    atoms, draw = planted(), torch.Generator().manual_seed(1)
    away = torch.randn(D, generator=draw) / D**0.5  # they lie off the origin, as those of CLIP do
    with path.open("wb") as file:
        for start in range(0, images, block):
            n = min(block, images - start)
            which = torch.randint(ATOMS, (n, EACH), generator=draw)
            much = (0.5 + torch.rand(n, EACH, generator=draw)) / EACH**0.5
            noise = 0.1 * torch.randn(n, D, generator=draw) / D**0.5
            x = embedding_bag(which, atoms, per_sample_weights=much, mode="sum") + away + noise
            file.write(x.half().numpy().tobytes())
    return np.memmap(path, np.float16, "r", shape=(images, D))


def recovered(found: Float[Tensor, "h d"]) -> float:
    """The mean over the planted atoms of the largest cosine with any that was found."""
    return float((planted() @ normalize(found, dim=1).T).amax(1).mean())


def trained(x: np.memmap, config: SaeConfig, folder: Path) -> list[Row]:
    """Train with checkpoints, try on the last embeddings, and say what it took."""
    before, clock = peak_mb(), Clock()
    found = train_sae(
        x,
        config,
        checkpoint=Checkpoint(folder / "checkpoint"),
        on_progress=lambda _, said: print(said, getattr(said, "numbers", ""), flush=True),
    )
    cpu, wall = clock.read()
    peak = peak_mb()
    fit = measure(found, x[:: len(x) // HELD])
    random = torch.randn(config.width, D, generator=torch.Generator().manual_seed(2))
    row: Row = {"case": f"{config.kind}, {config.epochs} epochs", "cpu_s": cpu, "wall_s": wall, "mb_before": before, "peak_mb": peak,
        "explained_variance": fit.explained, "l0": fit.l0, "dead": fit.dead,
        "recovered": recovered(found.decoder), "random atoms": recovered(random)}  # fmt: skip
    return [row]


def main() -> None:
    """Parse the command line, write embeddings, train, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=50_000)
    parser.add_argument("--width", type=int, default=4096)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--kind", default="topk")
    a = parser.parse_args()
    torch.set_num_threads(1)
    config = SaeConfig(
        kind=a.kind, width=a.width, k=32, batch=2048, epochs=a.epochs, rate=2e-3, resample=0.5, held=HELD
    )
    with tempfile.TemporaryDirectory() as folder:
        rows = trained(written(Path(folder, "x.f16"), a.images), config, Path(folder))
    title = f"{a.images:,} embeddings on disk, {a.width:,} atoms, 32 an image"
    report("sae-stream", title, rows)


if __name__ == "__main__":
    main()
