"""Trains the bottleneck and the final layer of a Sparse-CBM together, on scores of texts that were computed once.

Either scores are mixed, `z = psi @ mixing.T`, or gated, `z = gate * psi`. The cross-entropy of the final layer reaches
both layers, and both are in the optimiser.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from cbm import sparse_losses
from cbm.gates import annealed, divergence, sampled_gates
from cbm.progress import OnProgress, Reading, silent

Loss = Literal["gumbel", "l1", "contrastive", "similarity", "dense", "paper_diagonal", "reference_mean"]
Reads = Literal["own", "all"]
CUT = 0.02  # size of a weight of the mixing, which starts at 1, under which the L1 penalty has made it nothing


@dataclass(frozen=True)
class Schedule:
    """Passes over the images, images a step, the step length of Adam, and the seed of order and noise."""

    epochs: int
    batch: int
    rate: float
    seed: int = 0


@dataclass(frozen=True)
class Mixed:
    """A trained mixing `[k k]` and the final layer on the mixed scores, `[c k]` and `[c]`."""

    mixing: Float[Tensor, "k k"]
    weight: Float[Tensor, "c k"]
    bias: Float[Tensor, "c"]


@dataclass(frozen=True)
class Gated:
    """Trained gates, which open by `psi @ reads.T + openings`, and the final layer on the scores that come through."""

    reads: Float[Tensor, "k k"]
    openings: Float[Tensor, "k"]
    weight: Float[Tensor, "c k"]
    bias: Float[Tensor, "c"]


def train_mixed(
    psi: Float[Tensor, "n k"],
    y: Int[Tensor, "n"],
    classes: int,
    loss: Loss,
    *,
    strength: float,
    positive: Bool[Tensor, "c k"] | None = None,
    schedule: Schedule,
    on_progress: OnProgress = silent,
) -> Mixed:
    """Mixed scores, begun as the texts' own, and a final layer; "dense" leaves the texts' scores alone.

    Parameters
    ----------
    psi
        Standardised scores of the texts.
    strength
        What the loss on the bottleneck counts beside the cross-entropy.
    positive
        For "contrastive": the concepts that belong to each class.

    Notes
    -----
    Adam leaves a weight that the L1 penalty holds at zero swinging around it; in the end such weights are set to zero.
    """
    mixing = torch.eye(psi.shape[1])
    weight, bias = torch.zeros(classes, psi.shape[1]), torch.zeros(classes)
    draw = torch.Generator().manual_seed(schedule.seed + 1)

    def value(rows: Int[Tensor, "b"], share: float) -> Float[Tensor, ""]:
        z = psi[rows] @ mixing.T
        task = cross_entropy(z @ weight.T + bias, y[rows])
        match loss:
            case "l1":
                return task + strength * mixing.abs().sum() / len(mixing)
            case "contrastive":
                assert positive is not None
                return task + strength * sparse_losses.contrastive(z, positive[y[rows]])
            case "similarity":
                return task + strength * sparse_losses.unlike(z, psi[rows])
            case "paper_diagonal":
                return task + strength * sparse_losses.paper_diagonal(z, sparse_losses.gumbel_noises(z, draw))
            case "reference_mean":
                return task + strength * sparse_losses.reference_mean(z, sparse_losses.gumbel_noises(z, draw))
            case _:
                return task

    trained = [weight, bias] if loss == "dense" else [mixing, weight, bias]
    _descend(trained, value, len(psi), schedule, on_progress)
    return Mixed(mixing.where(mixing.abs() >= CUT, 0.0) if loss == "l1" else mixing, weight, bias)


def train_gated(
    psi: Float[Tensor, "n k"],
    y: Int[Tensor, "n"],
    classes: int,
    *,
    reads: Reads,
    strength: float,
    active: float,
    tau: float,
    schedule: Schedule,
    on_progress: OnProgress = silent,
) -> Gated:
    """Gates on the texts' scores and a final layer, by samples of the gates at a temperature that falls to `tau`.

    Parameters
    ----------
    reads
        A gate reads the score of its "own" concept, or those of "all".
    strength
        What an image's divergence from gates that are open with probability `active` counts beside the cross-entropy.
    """
    k = psi.shape[1]
    gate = torch.ones(k) if reads == "own" else torch.eye(k)
    openings, weight, bias = torch.zeros(k), torch.zeros(classes, k), torch.zeros(classes)
    draw = torch.Generator().manual_seed(schedule.seed + 1)

    def value(rows: Int[Tensor, "b"], share: float) -> Float[Tensor, ""]:
        opening = (psi[rows] * gate if reads == "own" else psi[rows] @ gate.T) + openings
        z = sampled_gates(opening, annealed(share, tau), draw) * psi[rows]
        return cross_entropy(z @ weight.T + bias, y[rows]) + strength * divergence(opening, active).mean()

    _descend([gate, openings, weight, bias], value, len(psi), schedule, on_progress)
    return Gated(torch.diag(gate) if reads == "own" else gate, openings, weight, bias)


def _descend(
    trained: list[Tensor],
    value: Callable[[Tensor, float], Tensor],
    n: int,
    schedule: Schedule,
    on_progress: OnProgress,
) -> None:
    """Lower `value(rows, share of the training)` by Adam, in place."""
    order = torch.Generator().manual_seed(schedule.seed)
    adam = torch.optim.Adam([tensor.requires_grad_(True) for tensor in trained], lr=schedule.rate)
    for epoch in range(schedule.epochs):
        batches = torch.split(torch.randperm(n, generator=order), schedule.batch)
        total = 0.0
        for i, rows in enumerate(batches):
            loss = value(rows, (epoch * len(batches) + i) / (schedule.epochs * len(batches)))
            for tensor, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
                tensor.grad = gradient
            adam.step()
            total += float(loss.detach()) * len(rows) / n
        told = f"epoch {epoch + 1} of {schedule.epochs}: loss {total:.3f}"
        on_progress((epoch + 1) / schedule.epochs, Reading(told, loss=total))
    for tensor in trained:
        tensor.requires_grad_(False)
