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

Activation = Literal["softmax", "sparsemax", "relu", "none"]
EVERY = 10  # steps between two looks at the held-out images
PATIENCE = 5  # looks without improvement


@dataclass(frozen=True)
class Association:
    """Trained association logits.

    Attributes
    ----------
    logits
        `[c k]`; see `associated`.
    scale
        Logit that one unit of similarity is worth.
    losses
        Cross-entropy on the images learned from, before each step.
    steps
        How many steps led to it.
    activation
        How logits become the association.
    """

    logits: Float[Tensor, "c k"]
    scale: float
    losses: tuple[float, ...]
    steps: int
    activation: Activation = "softmax"

    @property
    def association(self) -> Float[Tensor, "c k"]:
        """How much each concept counts for each class."""
        return associated(self.logits, self.activation)


def prior(
    owners: Sequence[Sequence[int]], classes: int, *, mass: float, activation: Activation = "softmax"
) -> Float[Tensor, "c k"]:
    """Association logits that give a class's own concepts together the share `mass`, whatever their number.

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
    if activation == "softmax":
        lift = math.log(mass / (1 - mass)) + (others / count).log()
        return torch.where(own & (others > 0), lift, 0.0).float()
    shares = torch.where(own, mass / count, (1 - mass) / others)
    even = (count == 0) | (others == 0)
    return torch.where(even, 1 / len(owners), shares).float()


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
    l1: float = 0.0,
    diversity: float = 0.0,
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
        How association logits become the association `P`; see `associated`.
    learn_scale
        Train the scale as well.
    l1
        Penalty on the association logits of the class that has the largest sum of their sizes.
    diversity
        Reward of similarities with a class that differ between images: of their variance, a mean over classes.

    Notes
    -----
    All images are one batch, and classes are folded before images are looked at, so a step costs `c k d + n d c`
    products and no score of a concept on an image is computed.
    """
    weight = start.clone().requires_grad_(True)
    log_scale = torch.tensor(math.log(scale), requires_grad=learn_scale)
    trained = [weight, log_scale] if learn_scale else [weight]
    adam = torch.optim.Adam(trained, lr=rate)

    def similarity(images: Float[Tensor, "b d"]) -> Float[Tensor, "b c"]:
        return images @ (associated(weight, activation) @ vectors).T

    def penalised() -> Float[Tensor, ""]:
        found = similarity(x)
        value = cross_entropy(log_scale.exp() * found, y)
        value = value + l1 * weight.abs().sum(1).max() if l1 else value
        return value - diversity * found.var(0).mean() if diversity else value

    losses: list[float] = []
    told: dict[str, float] = {}
    best, kept, taken = math.inf, (start.clone(), scale), 0
    for step in range(steps + 1):
        if held is not None and step % EVERY == 0:
            with torch.no_grad():
                found = float(cross_entropy(log_scale.exp() * similarity(held[0]), held[1]))
            told = {"loss/held-out": found}
            if found < best:
                best, kept, taken = found, (weight.detach().clone(), float(log_scale.detach().exp())), step
            elif step - taken >= EVERY * PATIENCE:
                break
        if step == steps:
            break
        value = penalised()
        for tensor, gradient in zip(trained, torch.autograd.grad(value, trained), strict=True):
            tensor.grad = gradient
        adam.step()
        losses.append(float(value.detach()))
        if step % EVERY == 0:
            numbers = {"loss/learned from": losses[-1], **told}
            on_progress(step / steps, Reading(f"step {step}: cross-entropy {losses[-1]:.3f}", **numbers))
    if held is None:
        kept, taken = (weight.detach(), float(log_scale.detach().exp())), steps
    return Association(*kept, tuple(losses), taken, activation)


def associated(logits: Float[Tensor, "c k"], activation: Activation = "softmax") -> Float[Tensor, "c k"]:
    """The association: a distribution over concepts by softmax or sparsemax, the positive logits, or all as they are."""
    match activation:
        case "softmax":
            return torch.softmax(logits, 1)
        case "sparsemax":
            return sparsemax(logits)
        case "relu":
            return torch.relu(logits)
        case _:
            return logits


def sparsemax(logits: Float[Tensor, "c k"]) -> Float[Tensor, "c k"]:
    """The distribution nearest to each row: what is far below the largest entry becomes zero.

    References
    ----------
    Martins, Astudillo, "From softmax to sparsemax", ICML 2016.

    Examples
    --------
    >>> sparsemax(torch.tensor([[0.5, 0.25, -1.0]])).tolist()
    [[0.625, 0.375, 0.0]]
    """
    ordered = logits.sort(1, descending=True).values
    sums = ordered.cumsum(1)
    ranks = torch.arange(1, logits.shape[1] + 1)
    size = (1 + ranks * ordered > sums).sum(1, keepdim=True)
    return torch.relu(logits - (sums.gather(1, size - 1) - 1) / size)


def held_mass(association: Float[Tensor, "c k"], owners: Sequence[Sequence[int]]) -> float:
    """The share that classes give to their own concepts, on average."""
    own = sum(float(association[label, k]) for k, labels in enumerate(owners) for label in labels)
    return own / len(association)
