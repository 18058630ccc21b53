"""How far an encoder in fewer bits is from the same one in single precision, on a person's own images.

Fewer bits are faster and change what the embeddings say a little; how little depends on the network and on the images. So it is
measured before a data set is embedded, kept beside the embeddings, and never assumed.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.encoders import Encoder, TextEncoder

SAMPLE = 48  # images
CHUNK = 16  # that are timed at once
LEAST_COSINE, LEAST_NEAREST = 0.99, 0.9  # below, an encoder is refused unless the person insists
GOOD_COSINE, GOOD_NEAREST, GOOD_SPEED = 0.999, 0.95, 1.2  # from here on it is taken where the choice is left to us


@dataclass(frozen=True)
class Agreement:
    """An encoder compared with the same one in single precision.

    Attributes
    ----------
    images
        Number of images compared.
    mean_cosine, worst_cosine
        Of an image's two embeddings.
    nearest
        Share of the images whose nearest text is the same in both spaces; whose nearest other image is, without texts.
    among
        Number of texts or images of which one is nearest.
    speed
        How many times faster it was on these images.
    """

    images: int
    mean_cosine: float
    worst_cosine: float
    nearest: float
    among: int
    speed: float

    @property
    def enough(self) -> bool:
        """Whether it may be used without insisting."""
        return self.mean_cosine >= LEAST_COSINE and self.nearest >= LEAST_NEAREST

    @property
    def worthwhile(self) -> bool:
        """Whether it is close and fast enough to be chosen for somebody."""
        close = self.mean_cosine >= GOOD_COSINE and self.nearest >= GOOD_NEAREST
        return close and self.speed >= GOOD_SPEED

    def to_dict(self) -> dict[str, float | int]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"against fp32 on {self.images} images: cosine {self.mean_cosine:.4f} on average, {self.worst_cosine:.4f} at worst, "
            f"the same nearest of {self.among} for {self.nearest:.0%}, {self.speed:.1f} times as fast"
        )


def agreement(exact: Encoder, other: Encoder, pixels: Float[Tensor, "n 3 h w"], texts: Sequence[str] = ()) -> Agreement:
    """Compare two encoders on prepared images, in turns, so that what else the machine does falls on both.

    Parameters
    ----------
    exact
        The one in single precision.
    texts
        Of which the nearest is looked for; read only by encoders that read text.
    """
    for encoder in (exact, other):
        encoder.encode_pixels(pixels[:CHUNK])  # whatever is made at first use is not counted
    rows: tuple[list[Tensor], list[Tensor]] = ([], [])
    ratios = []
    for chunk in torch.split(pixels, CHUNK):
        taken = []
        for encoder, found in zip((exact, other), rows, strict=True):
            start = time.perf_counter()
            found.append(encoder.encode_pixels(chunk))
            taken.append(time.perf_counter() - start)
        ratios.append(taken[0] / max(taken[1], 1e-9))
    mine, its = torch.cat(rows[0]), torch.cat(rows[1])
    cosines = (mine * its).sum(1)
    nearest = [_nearest(encoder, x, texts) for encoder, x in ((exact, mine), (other, its))]
    with_texts = bool(texts) and isinstance(exact, TextEncoder)
    return Agreement(
        images=len(pixels),
        mean_cosine=float(cosines.mean()),
        worst_cosine=float(cosines.min()),
        nearest=float((nearest[0] == nearest[1]).double().mean()),
        among=len(texts) if with_texts else max(len(pixels) - 1, 0),
        speed=statistics.median(ratios),
    )


def _nearest(encoder: Encoder, x: Float[Tensor, "n d"], texts: Sequence[str]) -> Tensor:
    """For each image the nearest text, or the nearest other image."""
    if texts and isinstance(encoder, TextEncoder):
        return (x @ encoder.encode_texts(list(texts)).T).argmax(1)
    return (x @ x.T).fill_diagonal_(-torch.inf).argmax(1)
