"""Which attention heads matter: what each adds to a concept, what is lost without it, and how sensitive a target is to it.

The direct effect needs one pass and no ablation: the embedding is a sum over heads. It leaves out what later layers make of
a head, which ablation sees; the gradient (Michel) is a cheap guess at ablation.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from cbm.encoders import Encoder
from cbm.errors import DataError
from cbm.progress import OnProgress, silent
from probes.gated import BATCH, Instead, Measure, embed_gated, embedded, head_count, mean_outputs

Replacement = Literal["mean", "zero"]
SATURATED = 1e-4  # largest importance below which a target hardly reacts to any head


@dataclass(frozen=True)
class Ablation:
    """Embeddings with one head closed at a time.

    Attributes
    ----------
    full
        Those of the whole encoder.
    without
        By block and head that is closed.
    replacement
        What came instead of a closed head: its mean over these images, or nothing.
    """

    full: Float[Tensor, "n d"]
    without: Float[Tensor, "b h n d"]
    replacement: Replacement


def ablate_heads(
    encoder: Encoder,
    pixels: Float[Tensor, "n 3 y x"],
    *,
    replacement: Replacement = "mean",
    on_progress: OnProgress = silent,
) -> Ablation:
    """Close every head once; all questions can be asked of the embeddings afterwards.

    Parameters
    ----------
    replacement
        With `"mean"` a head's constant part stays, so that only what it says of the image is lost.

    Raises
    ------
    EncoderError
        If the encoder has no attention that can be looked into.
    """
    b, h = head_count(encoder)
    instead = replacement_of(encoder, pixels, replacement)
    full, without = embedded(encoder, pixels), []
    for head in range(b * h):
        gates = torch.ones(b * h)
        gates[head] = 0
        without.append(embedded(encoder, pixels, gates.view(b, h), instead=instead))
        on_progress((head + 1) / (b * h), f"closed {head + 1} of {b * h} heads")
    return Ablation(full, torch.stack(without).view(b, h, *full.shape), replacement)


def replacement_of(encoder: Encoder, pixels: Float[Tensor, "n 3 y x"], replacement: Replacement) -> Instead | None:
    """What comes instead of closed heads."""
    return mean_outputs(encoder, pixels) if replacement == "mean" else None


@dataclass(frozen=True)
class Sensitivity:
    """How much a target reacts to each head, `[b h]`; `saturated` when it hardly reacts to any."""

    values: Float[Tensor, "b h"]
    saturated: bool

    @property
    def by_layer(self) -> Float[Tensor, "b h"]:
        """The values over the length of their layer's, for display."""
        lengths: Tensor = self.values.norm(dim=1, keepdim=True)
        return self.values / lengths.clamp(min=1e-12)


def michel_importance(
    encoder: Encoder, pixels: Float[Tensor, "n 3 y x"], target: Measure, *, on_progress: OnProgress = silent
) -> Sensitivity:
    """Mean over images of the size of the target's derivative by each head's gate, where all gates are 1.

    Parameters
    ----------
    target
        Takes embeddings of all images at once. It must not be near an extreme for the whole encoder: a loss near zero, or a
        cosine with the encoder's own embedding, has no slope whichever head matters. `Question.height` is made for it.

    References
    ----------
    Michel et al., "Are sixteen heads really better than one?", NeurIPS 2019, equation 2.
    """
    b, h = head_count(encoder)
    if not len(pixels):
        raise DataError("the importance of heads needs at least one image")
    gates = torch.ones(len(pixels), b, h)
    slopes = torch.zeros_like(gates)
    full = embedded(encoder, pixels, torch.ones(b, h))
    for start in range(0, len(pixels), BATCH):
        rows = slice(start, start + BATCH)
        open_ = gates[rows].requires_grad_()
        x = full.clone()
        x[rows] = embed_gated(encoder, pixels[rows], open_)
        (slopes[rows],) = torch.autograd.grad(target(x).sum(), open_)
        on_progress(min(start + BATCH, len(pixels)) / len(pixels), "following gradients to the heads")
    values = slopes.abs().mean(0)
    return Sensitivity(values, bool(values.max() < SATURATED))
