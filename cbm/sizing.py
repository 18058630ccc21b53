"""How many threads compute, how many decode, and how many images an encoder sees at once: chosen by measuring it.

Threads and batch change the last bit of embeddings, so what was chosen is kept beside them, and a run that goes on uses it
again. Whoever names both gets the same bytes on every machine of a kind.
"""

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.decoding import DECODERS
from cbm.embeddings import computing_threads
from cbm.encoders import Encoder

BATCHES = (8, 16, 32)
USUAL_BATCH = {"cpu": 32, "mps": 64, "cuda": 256}  # devices get what fills them; memory halves it where it must
SLACK = 0.1  # of time, for which fewer threads and the usual batch are kept
WORTH_MEASURING = 1024  # images; measuring costs about a hundred


@dataclass(frozen=True)
class Sizes:
    """How an embedding run is laid out.

    Attributes
    ----------
    batch
        Images that the encoder sees at once.
    threads
        That compute; 0 for as many as torch has.
    decoders
        Threads that decode.
    """

    batch: int = USUAL_BATCH["cpu"]
    threads: int = 0
    decoders: int = DECODERS

    def to_dict(self) -> dict[str, int]:
        """Plain values for JSON."""
        return asdict(self)


def fewest_threads(seconds: Mapping[int, float]) -> int:
    """The smallest number of threads that takes hardly longer than the fastest.

    Examples
    --------
    >>> fewest_threads({1: 1.0, 2: 0.55, 4: 0.50, 8: 0.70})
    2
    """
    return min(threads for threads, taken in seconds.items() if taken <= (1 + SLACK) * min(seconds.values()))


def best_batch(seconds_an_image: Mapping[int, float], usual: int = USUAL_BATCH["cpu"]) -> int:
    """The fastest batch, or the usual one where that is hardly slower.

    Examples
    --------
    >>> best_batch({8: 0.060, 16: 0.058, 32: 0.061}), best_batch({8: 0.020, 16: 0.017, 32: 0.022})
    (32, 16)
    """
    fastest = min(seconds_an_image, key=lambda batch: seconds_an_image[batch])
    usual_is_slow = seconds_an_image.get(usual, math.inf) > (1 + SLACK) * seconds_an_image[fastest]
    return fastest if usual_is_slow else usual


def decoders_for(decode: float, encode: float, cores: int) -> int:
    """Threads that decode half as fast again as the encoder needs; at least two, where one waits for the disk.

    Parameters
    ----------
    decode, encode
        Seconds an image, of one thread and of the encoder.

    Examples
    --------
    >>> decoders_for(0.004, 0.060, cores=8), decoders_for(0.004, 0.001, cores=16), decoders_for(0.004, 0.0001, cores=16)
    (2, 6, 16)
    """
    return max(2, min(math.ceil(1.5 * decode / max(encode, 1e-9)), max(cores, DECODERS)))


def cores_here() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measured_sizes(
    encoder: Encoder,
    frames: Callable[[int], Sequence[Float[Tensor, "3 h w"]]],
    *,
    cores: int,
    batch: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> Sizes:
    """The sizes that are fastest for this encoder, on this machine, with whatever else it does now.

    Parameters
    ----------
    frames
        Decodes so many images in one thread and returns their pixels; asked once.
    cores
        Most threads that may compute.
    batch
        Where it is given and not to be chosen.
    """
    start = clock()
    decoded = list(frames(max(BATCHES)))
    if not decoded:
        return Sizes(batch or Sizes.batch)
    decode = (clock() - start) / len(decoded)
    pixels = torch.stack([decoded[i % len(decoded)] for i in range(max(*BATCHES, batch))])

    def seconds(size: int, threads: int) -> float:
        chunk = pixels[:size]
        with computing_threads(threads):
            start = clock()
            encoder.encode_pixels(chunk)
            return (clock() - start) / len(chunk)

    middle = batch or BATCHES[1]
    seconds(middle, 1)  # whatever is made at first use is not counted
    by_threads: dict[int, float] = {}
    for threads in _steps(cores):
        seconds(middle, threads)  # threads are started
        by_threads[threads] = min(seconds(middle, threads) for _ in range(2))
        if by_threads[threads] > (1 + SLACK) * min(by_threads.values()):
            break  # more of them would be slower still
    threads = fewest_threads(by_threads)
    by_batch = {middle: by_threads[threads]}
    for size in () if batch else BATCHES:
        by_batch[size] = min(by_batch.get(size, math.inf), *(seconds(size, threads) for _ in range(2)))
    chosen = batch or best_batch(by_batch)
    return Sizes(chosen, threads, decoders_for(decode, by_batch[chosen], cores))


def _steps(cores: int) -> list[int]:
    """1, 2, 4 and so on, and all cores."""
    return [*(2**power for power in range(cores.bit_length()) if 2**power < cores), cores]
