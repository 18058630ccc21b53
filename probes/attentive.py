"""Attentive probes: where a layer's patches say that a concept is there, learned from labels of whole images only.

For each concept one query looks for patches, and one direction reads what they say:

    logit = sum_p a_p (w . x_p) + b,   a = softmax(X q)

so that a patch's contribution `a_p (w . x_p)` is a map whose sum is the logit without its bias. Unlike a map of the model's
score, it tells where the concept *can* be read, not what the model makes of it.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from cbm.errors import DataError
from cbm.progress import OnProgress, silent

STEPS, BATCH, RATE, DECAY = 200, 128, 0.02, 1e-4


@dataclass(frozen=True)
class AttentiveProbe:
    """One query and one direction a concept.

    Attributes
    ----------
    query, direction
        `[k d]` each.
    bias
        `[k]`.
    """

    query: Float[Tensor, "k d"]
    direction: Float[Tensor, "k d"]
    bias: Float[Tensor, "k"]

    def attention(self, patches: Float[Tensor, "n p d"]) -> Float[Tensor, "n k p"]:
        """How much each query looks at each patch; sums to one."""
        return torch.softmax(patches @ self.query.T, 1).transpose(1, 2)

    def contributions(self, patches: Float[Tensor, "n p d"]) -> Float[Tensor, "n k p"]:
        """What each patch adds to each concept's logit; these and the bias sum to it."""
        return self.attention(patches) * (patches @ self.direction.T).transpose(1, 2)

    def __call__(self, patches: Float[Tensor, "n p d"]) -> Float[Tensor, "n k"]:
        """Logits `[n k]`."""
        return self.contributions(patches).sum(2) + self.bias


def train_attentive(
    patches: Float[Tensor, "n p d"],
    labels: Bool[Tensor, "n k"],
    *,
    steps: int = STEPS,
    seed: int = 0,
    on_progress: OnProgress = silent,
) -> AttentiveProbe:
    """Train probes of all concepts at once on frozen patches of one layer.

    Parameters
    ----------
    patches
        Scaled to mean 0 and variance 1 each; see `layer_tokens.patch_tokens`.

    Raises
    ------
    DataError
        If there are no images.

    Notes
    -----
    CAPI and AIM, which have several heads and projections of values, read out more; with one of each the map stays readable.
    Frequent and rare concepts count alike: the loss weighs images with and without a concept equally.

    References
    ----------
    Darcet et al., "Cluster and predict latent patches for improved masked image modeling" (CAPI), 2025, section 4.
    """
    if not len(patches):
        raise DataError("an attentive probe needs images")
    n, d, k = len(patches), patches.shape[2], labels.shape[1]
    chance = torch.Generator().manual_seed(seed)
    query = (torch.randn(k, d, generator=chance) * 0.01).requires_grad_()
    direction, bias = torch.zeros(k, d, requires_grad=True), torch.zeros(k, requires_grad=True)
    optimizer = torch.optim.AdamW([
        {"params": [query, direction], "weight_decay": DECAY / RATE}, {"params": [bias], "weight_decay": 0.0}
    ], lr=RATE)  # fmt: skip
    share = labels.float().mean(0).clamp(1 / (2 * n), 1 - 1 / (2 * n))
    for step in range(steps):
        rows = torch.randint(n, (min(BATCH, n),), generator=chance)
        wanted = labels[rows].float()
        weight = torch.where(labels[rows], 0.5 / share, 0.5 / (1 - share))
        logits = AttentiveProbe(query, direction, bias)(patches[rows].float())
        loss = binary_cross_entropy_with_logits(logits, wanted, weight=weight, reduction="none").mean(0).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        on_progress((step + 1) / steps, f"step {step + 1} of {steps}")
    return AttentiveProbe(query.detach(), direction.detach(), bias.detach())
