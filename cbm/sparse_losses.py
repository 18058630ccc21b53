"""What pulls the scores of a Sparse-CBM towards few concepts: the losses of its paper and code, and ones that do it.

Concept scores `z` of a batch are `[n k]`. The published losses pair image `i` with concept `i`, which means nothing once
images are shuffled, or average over all pairs, which is smallest where all concepts are alike. They are here to be
compared with; `contrastive` has real positives, and the gate of `cbm.gates` really closes.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cosine_similarity


def contrastive(z: Float[Tensor, "n k"], positive: Bool[Tensor, "n k"]) -> Float[Tensor, ""]:
    """Mean cross-entropy of an image with its positive concepts and of a concept with its positive images, halved.

    Images and concepts without a positive do not count. Each one's positives share its probability equally.

    References
    ----------
    Khosla et al., "Supervised contrastive learning", NeurIPS 2020, equation 2.
    """
    both = z.new_zeros(())
    for axis in (0, 1):
        share = positive.to(z.dtype)
        count = share.sum(axis)
        terms = (z.log_softmax(axis) * share).sum(axis) / count.clamp_min(1)
        both = both - terms.sum() / (count > 0).sum().clamp_min(1)
    return both / 2


def paper_diagonal(
    z: Float[Tensor, "n k"], noises: tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]] | None = None, tau: float = 1.0
) -> Float[Tensor, ""]:
    """The paper's loss, which takes concept `i` for the positive of the batch's image `i`.

    Parameters
    ----------
    noises
        Gumbel noise for the two axes; none gives the published contrastive loss.

    Notes
    -----
    The pairing is arbitrary: the same images in another order have another loss.
    """
    paired = min(z.shape)
    both = z.new_zeros(())
    for axis in (0, 1):
        drawn = z if noises is None else z + noises[axis]
        both = both - (drawn / tau).log_softmax(axis)[:paired, :paired].diagonal().mean() / 2
    return both


def reference_mean(
    z: Float[Tensor, "n k"],
    noises: tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]],
    tau: float = 1.0,
    *,
    hard: bool = False,
) -> Float[Tensor, ""]:
    """The Gumbel loss of the published code: the mean negative logarithm over all pairs, which have no positives.

    Notes
    -----
    It is smallest where all entries are alike, so it drives scores to say nothing. With `hard`, where all but one entry of a
    Gumbel softmax is zero, it is infinite.
    """
    both = z.new_zeros(())
    for axis, noise in zip((0, 1), noises, strict=True):
        log_share = ((z + noise) / tau).log_softmax(axis)
        if hard:
            share = log_share.exp()
            chosen = torch.zeros_like(z).scatter_(axis, share.argmax(axis, keepdim=True), 1.0)
            log_share = (chosen - share.detach() + share).log()
        both = both - log_share.mean() / 2
    return both


def unlike(z: Float[Tensor, "n k"], texts: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """Minus the mean correlation of each concept's scores with those that its text gives: -1 where all agree."""
    return -cosine_similarity(z - z.mean(0), texts - texts.mean(0), dim=0).mean()


def gumbel_noises(
    z: Float[Tensor, "n k"], generator: torch.Generator
) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n k"]]:
    """Gumbel noise for either axis, drawn as PyTorch's own Gumbel softmax draws it."""
    first, second = (-torch.empty_like(z).exponential_(generator=generator).log() for _ in range(2))
    return first, second
