"""The three energies of an energy-based concept bottleneck model, in closed form, and the losses that train them.

Each published network is `w . relu(z + z * u) + b` with a unit vector `u`. Since `1 + u >= 0`, it equals
`(w * relu(z)) . (1 + u) + b`: one matrix product gives the energies of all classes or concepts, and the projection of
the concept embeddings becomes a table with a row for each concept and label value.

Constants `b` that cancel in every probability are left out.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, normalize

from cbm.mean_field import Coupling


@dataclass(frozen=True)
class Energies:
    """The parameters, with the paper's sizes; `h` hidden units.

    Attributes
    ----------
    class_layer, class_offset, class_out
        From embedding to hidden units `[h d]` and `[h]`, and from those to an energy `[h]`.
    class_embedding
        One row for each class, `[c h]`; the global energy reads it too.
    concept_layer, concept_offset, concept_out
        As for classes; every concept has its own last layer, `[k h]`.
    concept_embedding
        `[k 2 h]`; the second index is the label: 0 absent, 1 present, in every energy.
    global_layer, global_offset, global_out
        From all concepts' embeddings to hidden units, `[h k h]` and `[h]`, and from those to an energy, `[h]`.

    References
    ----------
    Xu, Qin, Mi, Wang, Li, "Energy-based concept bottleneck models", ICLR 2024.
    """

    class_layer: Float[Tensor, "h d"]
    class_offset: Float[Tensor, "h"]
    class_out: Float[Tensor, "h"]
    class_embedding: Float[Tensor, "c h"]
    concept_layer: Float[Tensor, "h d"]
    concept_offset: Float[Tensor, "h"]
    concept_out: Float[Tensor, "k h"]
    concept_embedding: Float[Tensor, "k 2 h"]
    global_layer: Float[Tensor, "h k h"]
    global_offset: Float[Tensor, "h"]
    global_out: Float[Tensor, "h"]

    def class_energy(self, x: Float[Tensor, "n d"], keep: Float[Tensor, "n h"] | None = None) -> Float[Tensor, "n c"]:
        """Energy of every class; `keep` multiplies the hidden units, as dropout does."""
        hidden = _hidden(x, self.class_layer, self.class_offset, keep)
        return hidden @ self.class_table().T

    def concept_energy(
        self, x: Float[Tensor, "n d"], keep: Float[Tensor, "n h"] | None = None
    ) -> Float[Tensor, "n k 2"]:
        """Energy of every concept being absent and present."""
        hidden = _hidden(x, self.concept_layer, self.concept_offset, keep)
        table = self.concept_out[:, None] * (1 + normalize(self.concept_embedding, dim=2))
        return (hidden @ table.flatten(0, 1).T).view(-1, *table.shape[:2])

    def global_energy(self, c: Float[Tensor, "n k"]) -> Float[Tensor, "n c"]:
        """Energy of every class with these concepts; values between 0 and 1 mix the two embeddings."""
        return self.coupling().energy(c)

    def class_table(self) -> Float[Tensor, "c h"]:
        """Class energy for each hidden unit."""
        return class_table(self.class_out, self.class_embedding)

    def concept_table(self) -> Float[Tensor, "k h"]:
        """Log-odds of each concept for each hidden unit: how much lower the energy of present is than that of absent."""
        absent, present = normalize(self.concept_embedding, dim=2).unbind(1)
        return self.concept_out * (absent - present)

    def coupling(self) -> Coupling:
        """The global energy as a table: the projection of every concept's two embeddings, once and for all."""
        absent, present = torch.einsum("hkj,ksj->skh", self.global_layer, self.concept_embedding)
        table = class_table(self.global_out, self.class_embedding)
        return Coupling(self.global_offset + absent.sum(0), present - absent, table)


def class_table(out: Float[Tensor, "h"], embedding: Float[Tensor, "c h"]) -> Float[Tensor, "c h"]:
    """Energy of every class for each hidden unit of a network whose last layer is `out`."""
    return out * (1 + normalize(embedding, dim=1))


def class_loss(energy: Float[Tensor, "n c"], labels: Int[Tensor, "n"]) -> Float[Tensor, ""]:
    """Mean of `E(y) + log sum_m exp(-E(m))`, which is the cross-entropy of the negative energies."""
    return cross_entropy(-energy, labels)


def concept_loss(energy: Float[Tensor, "n k 2"], labels: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """The same for every concept, summed over concepts; labels that are NaN do not count."""
    return known_loss(energy[..., 0] - energy[..., 1], labels)


def known_loss(logits: Float[Tensor, "n k"], labels: Float[Tensor, "n k"]) -> Float[Tensor, ""]:
    """Cross-entropy of the labels that are known (not NaN), the mean of each concept, summed over concepts."""
    known = ~labels.isnan()
    each = binary_cross_entropy_with_logits(logits, torch.where(known, labels, 0.0), reduction="none")
    return ((each * known).sum(0) / known.sum(0).clamp(min=1)).sum()


def initial(d: int, k: int, c: int, hidden: int, generator: torch.Generator) -> Energies:
    """Random parameters; the global layer is scaled by the number of inputs that it sums."""

    def draw(*shape: int, scale: float) -> Tensor:
        return torch.randn(shape, generator=generator) * scale

    return Energies(
        class_layer=draw(hidden, d, scale=(2 / d) ** 0.5),
        class_offset=torch.zeros(hidden),
        class_out=draw(hidden, scale=1.0),
        class_embedding=draw(c, hidden, scale=1.0),
        concept_layer=draw(hidden, d, scale=(2 / d) ** 0.5),
        concept_offset=torch.zeros(hidden),
        concept_out=draw(k, hidden, scale=1.0),
        concept_embedding=draw(k, 2, hidden, scale=1.0),
        global_layer=draw(hidden, k, hidden, scale=(1 / (k * hidden)) ** 0.5),
        global_offset=torch.zeros(hidden),
        global_out=draw(hidden, scale=1.0),
    )


def _hidden(
    x: Float[Tensor, "n d"], layer: Float[Tensor, "h d"], offset: Float[Tensor, "h"], keep: Float[Tensor, "n h"] | None
) -> Float[Tensor, "n h"]:
    hidden = torch.relu(torch.addmm(offset, x, layer.T))
    return hidden if keep is None else hidden * keep
