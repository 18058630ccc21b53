"""V2C's votes at full size: 20,000 words, 100,000 images, 200 classes; how much memory beside the embeddings, how long.

    python -m benchmarks.votes

Embeddings are synthetic. `peak_mb` is the process's largest resident memory, embeddings, words and libraries included;
the published scripts would hold a vote tensor of 20 GB for each batch of 128 images.
"""

import argparse
import re
import resource
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.data import embeddings, texts
from benchmarks.measure import Clock, Row, report
from cbm.codebook import Rules, make_codebook
from cbm.preprocessing import Preprocessing
from cbm.progress import silent
from cbm.words import Word


class Numbered:
    """A text encoder that looks its answer up by the number in a text."""

    id, contract, dim, preprocessing = "benchmark", "benchmark", 512, Preprocessing(size=(8, 8))

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors

    def encode_images(self, images: object) -> Tensor:
        raise NotImplementedError("this encoder reads words only")

    encode_pixels = encode_images

    def encode_texts(self, given: Sequence[str]) -> Tensor:
        """The vector of each text's number."""
        return self.vectors[[int(re.sub(r"\D", "", text)) for text in given]]


def measured(n: int, words: int, classes: int) -> Row:
    """One row: seconds, and the largest resident memory."""
    x, y = embeddings(n, classes)
    pool = normalize(x, dim=1)
    del x
    prototypes = normalize(torch.zeros(classes, pool.shape[1]).index_add_(0, y, pool), dim=1) - normalize(
        pool.mean(0), dim=0
    )
    listed = tuple(Word(f"word {i}") for i in range(words))
    encoder, before, clock = Numbered(texts(words)), _peak(), Clock()
    names = [f"class {i}" for i in range(classes)]
    book = make_codebook(pool, prototypes, listed, encoder, names, Rules(voters=500, drop_named=False), silent)
    cpu, wall = clock.read()
    return {
        "case": "words read, voted on, sifted", "cpu_s": cpu, "wall_s": wall, "words": len(book.words),
        "named": int((book.votes.counts.sum(0) > 0).sum()), "words_a_class": sum(map(len, book.of_class)) / classes,
        "mb_before": before, "peak_mb": _peak(), "under_2_gb": _peak() < 2048,
    }  # fmt: skip


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Parse the command line, measure, print and keep the numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--words", type=int, default=20_000)
    parser.add_argument("--classes", type=int, default=200)
    a = parser.parse_args()
    report(
        "votes",
        f"V2C's votes, {a.words:,} words, {a.images:,} images, {a.classes} classes",
        [measured(a.images, a.words, a.classes)],
    )


if __name__ == "__main__":
    main()
