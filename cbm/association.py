"""The association matrix of LaBo: how much each concept counts for each class, as a distribution over concepts.

A class vector is the mean of concept embeddings under that distribution, so every class stays within the hull of its
texts. The matrix starts from a prior that gives the class's own concepts a stated share.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from cbm.progress import OnProgress, Reading, silent

Activation = Literal["softmax", "none"]
EVERY = 10  # steps between two looks at the held-out images
PATIENCE = 5  # looks without improvement


@dataclass(frozen=True)
class Association:
    """Trained association logits.

    Attributes
    ----------
    logits
        `[c k]`; their softmax over concepts is the association.
    scale
        Logit that one unit of similarity is worth.
    losses
        Cross-entropy on the images learned from, before each step.
    steps
        How many steps led to it.
    """

    logits: Float[Tensor, "c k"]
    scale: float
    losses: tuple[float, ...]
    steps: int


def prior(owners: Sequence[Sequence[int]], classes: int, *, mass: float) -> Float[Tensor, "c k"]:
    """Association logits whose softmax gives a class's own concepts together the share `mass`, whatever their number.

    A class that owns no concept, or all of them, starts uniform.

    Notes
    -----
    The published code starts from ones and zeros. After the softmax, fifty own concepts among the ten thousand of two
    hundred classes hold 1.4 % then, so its prior is hardly one.

    Examples
    --------
    >>> shares = torch.softmax(prior([[0], [0], [1], [1], [1]], 2, mass=0.9), 1)
    >>> round(float(shares[0, :2].sum()), 3), round(float(shares[1, 2:].sum()), 3)
    (0.9, 0.9)
    """
    own = torch.zeros(classes, len(owners), dtype=torch.bool)
    for concept, labels in enumerate(owners):
        own[list(labels), concept] = True
    count = own.sum(1, keepdim=True).double()
    others = len(owners) - count
    lift = math.log(mass / (1 - mass)) + (others / count).log()
    return torch.where(own & (others > 0), lift, 0.0).float()


def train_association(
    x: Float[Tensor, "n d"],
    y: Int[Tensor, "n"],
    vectors: Float[Tensor, "k d"],
    start: Float[Tensor, "c k"],
    *,
    held: tuple[Float[Tensor, "m d"], Int[Tensor, "m"]] | None = None,
    activation: Activation = "softmax",
    scale: float = 100.0,
    learn_scale: bool = False,
    rate: float = 0.01,
    steps: int = 500,
    on_progress: OnProgress = silent,
) -> Association:
    """Lower the cross-entropy of `scale * x @ (P @ vectors).T` from the association logits `start`, by Adam.

    Parameters
    ----------
    held
        Images to stop by: the logits that are best there by cross-entropy are kept, and training ends when they have
        not improved for a while. Without, all steps are taken.
    activation
        How association logits become the association `P`: a softmax over concepts, or as they are.
    learn_scale
        Train the scale as well.

    Notes
    -----
    All images are one batch, and classes are folded before images are looked at, so a step costs `c k d + n d c`
    products and no score of a concept on an image is computed.
    """
    weight = start.clone().requires_grad_(True)
    log_scale = torch.tensor(math.log(scale), requires_grad=learn_scale)
    trained = [weight, log_scale] if learn_scale else [weight]
    adam = torch.optim.Adam(trained, lr=rate)

    def loss(images: Float[Tensor, "b d"], labels: Int[Tensor, "b"]) -> Float[Tensor, ""]:
        classes = associated(weight, activation) @ vectors
        return cross_entropy(log_scale.exp() * (images @ classes.T), labels)

    losses: list[float] = []
    told: dict[str, float] = {}
    best, kept, taken = math.inf, (start.clone(), scale), 0
    for step in range(steps + 1):
        if held is not None and step % EVERY == 0:
            with torch.no_grad():
                found = float(loss(*held))
            told = {"loss/held-out": found}
            if found < best:
                best, kept, taken = found, (weight.detach().clone(), float(log_scale.detach().exp())), step
            elif step - taken >= EVERY * PATIENCE:
                break
        if step == steps:
            break
        value = loss(x, y)
        for tensor, gradient in zip(trained, torch.autograd.grad(value, trained), strict=True):
            tensor.grad = gradient
        adam.step()
        losses.append(float(value.detach()))
        if step % EVERY == 0:
            numbers = {"loss/learned from": losses[-1], **told}
            on_progress(step / steps, Reading(f"step {step}: cross-entropy {losses[-1]:.3f}", **numbers))
    if held is None:
        kept, taken = (weight.detach(), float(log_scale.detach().exp())), steps
    return Association(*kept, tuple(losses), taken)


def associated(logits: Float[Tensor, "c k"], activation: Activation = "softmax") -> Float[Tensor, "c k"]:
    """The association: the softmax over concepts, or the logits as they are."""
    return torch.softmax(logits, 1) if activation == "softmax" else logits


def held_mass(association: Float[Tensor, "c k"], owners: Sequence[Sequence[int]]) -> float:
    """The share that classes give to their own concepts, on average."""
    own = sum(float(association[label, k]) for k, labels in enumerate(owners) for label in labels)
    return own / len(association)
