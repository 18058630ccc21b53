"""The ten closest of 20,000 concepts for each image, and the five closest images for each concept, streamed.

    python -m benchmarks.scores compare                 # beside the peers, in turns, on images that are held
    python -m benchmarks.scores stream --images 1000000 # one pass over images that are made block by block: memory, rate

`of_gemm` is the rate of a case (the multiplications it cannot avoid, a CPU second) as a share of what the processor does
in a single-precision product of the same shape, measured in the same run: above 1 is faster than the product alone.
`recall` is the share of the exact answer that a case found.
"""

import argparse
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from benchmarks.data import embeddings, texts
from benchmarks.measure import Clock, Row, gemm_rate, interleaved, peak_mb, report
from cbm.top_scores import top_concepts, top_images

ROWS = 512  # at a time, everywhere
OF_IMAGE, OF_CONCEPT = 10, 5
PEERS = {"faiss": "faiss IndexFlatIP"}
Rank = Callable[[Tensor, Tensor], np.ndarray]


def torch_blocks(x: Float[Tensor, "n d"], t: Float[Tensor, "c d"]) -> np.ndarray:
    """A product and a top-k for each block of images."""
    turned = t.T.contiguous()
    return torch.cat([(block @ turned).topk(OF_IMAGE, dim=1).indices for block in x.split(ROWS)]).numpy()


def numpy_blocks(x: Float[Tensor, "n d"], t: Float[Tensor, "c d"]) -> np.ndarray:
    """The same with `argpartition`."""
    found = []
    for block in np.array_split(x.numpy(), max(1, len(x) // ROWS)):
        scores = block @ t.numpy().T
        some = np.argpartition(-scores, OF_IMAGE, axis=1)[:, :OF_IMAGE]
        order = np.take_along_axis(scores, some, 1).argsort(1)[:, ::-1]
        found.append(np.take_along_axis(some, order, 1))
    return np.concatenate(found)


def faiss_flat(x: Float[Tensor, "n d"], t: Float[Tensor, "c d"]) -> np.ndarray:
    """faiss's exhaustive index of inner products, building it included."""
    import faiss

    faiss.omp_set_num_threads(torch.get_num_threads())
    index = faiss.IndexFlatIP(t.shape[1])
    index.add(t.numpy())
    return index.search(x.numpy(), OF_IMAGE)[1]


def all_at_once(x: Float[Tensor, "n d"], t: Float[Tensor, "c d"]) -> np.ndarray:
    """Every score held, then a top-k over the images, as the published filters of concepts do."""
    return (x @ t.T).topk(OF_CONCEPT, dim=0).indices.T.numpy()


def product(x: Float[Tensor, "n d"], t: Float[Tensor, "c d"]) -> np.ndarray:
    """Nothing but the multiplications: what the others are measured against."""
    out = torch.empty(ROWS, len(t), dtype=x.dtype)
    for block in x.split(ROWS):
        torch.mm(block, t.T, out=out[: len(block)])
    return np.empty((0, 0), np.int64)


def compared(images: int, concepts: int, repetitions: int) -> list[Row]:
    """A row for each way to rank concepts, then a row for each way to rank images."""
    x, t = embeddings(images, 50)[0], texts(concepts)
    of_image: dict[str, Rank] = {"ours": lambda a, b: top_concepts([a], b, OF_IMAGE).positions.numpy()}
    of_image["ours, float32 first"] = lambda a, b: top_concepts(
        [a], b, OF_IMAGE, precision=torch.float32
    ).positions.numpy()
    of_image |= {"torch, product and topk": torch_blocks, "numpy argpartition": numpy_blocks}
    of_image |= {PEERS["faiss"]: faiss_flat} if find_spec("faiss") else {}
    of_concept: dict[str, Rank] = {
        "ours": lambda a, b: top_images([a], b, OF_CONCEPT).positions.numpy(),
        "ours, float32 first": lambda a, b: top_images([a], b, OF_CONCEPT, precision=torch.float32).positions.numpy(),
        "torch, all scores and topk": all_at_once,
    }
    kinds = {f"top {OF_IMAGE} concepts": of_image, f"top {OF_CONCEPT} images": of_concept}
    return [{"what": what, **row} for what, cases in kinds.items() for row in in_turns(cases, x, t, repetitions)]


def in_turns(cases: dict[str, Rank], x: Float[Tensor, "n d"], t: Float[Tensor, "c d"], repetitions: int) -> list[Row]:
    """The cases beside the product alone."""
    exact = cases["ours"](x, t)

    def judge(found: np.ndarray) -> Row:
        if not found.size:
            return {}
        hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, exact, strict=True))
        return {"recall": hits / exact.size}

    halved = x.bfloat16(), t.bfloat16()
    runs = {name: (lambda rank=rank: rank(x, t)) for name, rank in cases.items()}
    runs |= {"GEMM, bfloat16": lambda: product(*halved), "GEMM, float32": lambda: product(x, t)}
    rows = interleaved(runs, judge, repetitions=repetitions, baseline="ours")
    limit = float(rows[-1]["cpu_s"])
    return [{**row, "of_gemm": limit / float(row["cpu_s"])} for row in rows]


def made(images: int, rows: int = 8192) -> Iterator[Float[Tensor, "m d"]]:
    """Embeddings that are drawn when they are needed: rotations of a few thousand, so that drawing costs little."""
    some, _ = embeddings(rows, 50)
    for start in range(0, images, rows):
        yield some.roll(start // rows, dims=1)[: images - start]


def streamed(images: int, concepts: int) -> list[Row]:
    """One pass: concepts of images and images of concepts, with the largest resident memory."""
    t = texts(concepts)
    rate = gemm_rate()
    rows: list[Row] = []
    for what, rank, k in (("top 10 concepts", top_concepts, OF_IMAGE), ("top 5 images", top_images, OF_CONCEPT)):
        before, clock = peak_mb(), Clock()
        found = rank(made(images), t, k, total=images)
        cpu, wall = clock.read()
        share = 2.0 * images * concepts * t.shape[1] / cpu / rate
        rows.append({"case": what, "cpu_s": cpu, "wall_s": wall, "of_gemm": share, "gemm_gflops": rate / 1e9,
                     "mb_before": before, "peak_mb": peak_mb(), "answers": len(found.positions)})  # fmt: skip
    return rows


def main() -> None:
    """Parse the command line, measure, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("compare", "stream"))
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--concepts", type=int, default=20_000)
    parser.add_argument("--repetitions", type=int, default=5)
    a = parser.parse_args()
    torch.set_num_threads(1)
    size = f"{a.images:,} images x 512, {a.concepts:,} concepts"
    if a.what == "stream":
        report("scores-stream", f"best of {size}, in one pass each", streamed(a.images, a.concepts))
    else:
        absent = [name for module, name in PEERS.items() if not find_spec(module)]
        report("scores", f"best of {size}", compared(a.images, a.concepts, a.repetitions), absent)


if __name__ == "__main__":
    main()
