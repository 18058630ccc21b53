"""The published inference of an energy model, for comparison: gradient descent on relaxed labels.

It is kept for what it teaches. The global energy picks each concept's embedding by a hard choice, so the logits of the
concepts get no gradient from it: correcting some concepts moves no other one, only the class.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from cbm.energy import Energies

RATE = 0.1
PATIENCE, ENOUGH = 10, 1.0  # steps without a class energy lower than the best by this much
SURE = 5.0  # logit of a corrected concept, and minus that of its opposite


@dataclass(frozen=True)
class Relaxed:
    """Logits of the concepts `[n k 2]` and of the classes `[n c]`, and the steps that they took."""

    concepts: Float[Tensor, "n k 2"]
    classes: Float[Tensor, "n c"]
    steps: int


def relaxed(
    energies: Energies,
    x: Float[Tensor, "n d"],
    *,
    concepts: Float[Tensor, "n k 2"] | None = None,
    weights: tuple[float, float, float] = (1.0, 1.0, 0.01),
    steps: int = 1000,
    reference_sign: bool = False,
) -> Relaxed:
    """Minimise the relaxed energies over the labels of these images, as the published code does.

    Parameters
    ----------
    concepts
        Logits to start from; zero when not given. The classes always start from zero.
    weights
        Of the class, the concept and the global energy.
    steps
        Most steps; the rule of the published code ends it earlier.
    reference_sign
        Read the concept embeddings as the published code does: in the global energy, absent means present.

    References
    ----------
    Xu, Qin, Mi, Wang, Li, "Energy-based concept bottleneck models", ICLR 2024, and its code.
    """
    frozen = FrozenEnergies(energies, x, reference_sign=reference_sign)
    k, c = energies.concept_out.shape[0], energies.class_embedding.shape[0]
    begin = torch.zeros(len(x), k, 2, dtype=x.dtype) if concepts is None else concepts.clone()
    labels = begin.requires_grad_(True), torch.zeros(len(x), c, dtype=x.dtype, requires_grad=True)
    adam, best, since, taken = torch.optim.Adam(labels, lr=RATE), torch.inf, 0, 0
    while taken < steps and since < PATIENCE:
        by_class, by_concept, between = frozen(*labels)
        total = weights[0] * by_class.mean() + weights[1] * by_concept.mean(0).sum() + weights[2] * between.mean()
        better = by_class.mean().item() < best - ENOUGH
        best, since = (by_class.mean().item(), 0) if better else (best, since + 1)
        adam.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        adam.step()
        taken += 1
    return Relaxed(labels[0].detach(), labels[1].detach(), taken)


def corrected(
    energies: Energies,
    x: Float[Tensor, "n d"],
    found: Relaxed,
    truth: Float[Tensor, "n k"],
    mask: Bool[Tensor, "n k"],
    *,
    weights: tuple[float, float, float] = (0.0, 0.0, 3.0),
    steps: int = 1000,
    reference_sign: bool = False,
) -> Relaxed:
    """The published intervention: the masked concepts' logits become those of the truth, and the descent goes on."""
    sure = torch.stack([SURE * (1 - 2 * truth), SURE * (2 * truth - 1)], 2)
    start = torch.where(mask[..., None], sure, found.concepts)
    return relaxed(energies, x, concepts=start, weights=weights, steps=steps, reference_sign=reference_sign)


class FrozenEnergies:
    """The relaxed energies of some images as functions of the labels' logits only; nothing else gets a gradient."""

    def __init__(self, energies: Energies, x: Float[Tensor, "n d"], *, reference_sign: bool = False) -> None:
        embedding = energies.concept_embedding
        read = replace(energies, concept_embedding=embedding.flip(1)) if reference_sign else energies
        self.energies, self.between = energies, read.coupling()
        self.for_class = torch.relu(x @ energies.class_layer.T + energies.class_offset) * energies.class_out
        self.for_concept = torch.relu(x @ energies.concept_layer.T + energies.concept_offset)
        out = energies.concept_out
        self.bare = self.for_concept @ out.T
        absent, present = embedding.unbind(1)
        self.absent, self.present = ((self.for_concept @ (out * end).T) for end in (absent, present))
        self.squares = absent.square().sum(1), present.square().sum(1), (absent * present).sum(1)

    def __call__(
        self, concepts: Float[Tensor, "n k 2"], classes: Float[Tensor, "n c"]
    ) -> tuple[Float[Tensor, "n"], Float[Tensor, "n k"], Float[Tensor, "n"]]:
        """Class, concept and global energy. A mixture of embeddings has unit length, but for the global energy."""
        mixed = normalize(torch.softmax(classes, 1) @ self.energies.class_embedding, dim=1)
        q0, q1 = torch.softmax(concepts, 2).unbind(2)
        s0, s1, s01 = self.squares
        length = (q0.square() * s0 + q1.square() * s1 + 2 * q0 * q1 * s01).clamp(min=1e-24).sqrt()
        by_concept = self.bare + (q0 * self.absent + q1 * self.present) / length
        picked = (q1.detach() > 0.5).to(q1.dtype)
        hidden = torch.relu(self.between.start + picked @ self.between.change) * self.energies.global_out
        by_class = (self.for_class * (1 + mixed)).sum(1)
        return by_class, by_concept, (hidden * (1 + mixed)).sum(1)
