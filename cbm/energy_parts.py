"""The bottleneck and the head of an energy-based concept model, with everything that is fixed after training folded in.

A score is the probability that a concept is present. Scores depend on each other through the global energy: when a
person clamps some, the others are inferred again.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cbm.bottleneck import Clamp, check_width
from cbm.energy import Energies
from cbm.errors import ModelError
from cbm.mean_field import Coupling, mean_field

FREE = -1.0  # in `held`: inferred
AT_ONCE = 1 << 22  # hidden units held in memory while contributions are computed
BY_CONCEPT = ("concept_table", "held", "change", "usual")
Part = TypeVar("Part", "EnergyHead", "EnergyBottleneck")


@dataclass(frozen=True)
class EnergyHead:
    """Classes from concept probabilities: the class energy of the image and the mean global energy of the concepts.

    Logits are relative to their mean over classes.

    Attributes
    ----------
    class_layer, class_offset, class_table
        From embedding to hidden units, and energy of each class for a unit: `[h d]`, `[h]`, `[c h]`.
    start, change, global_table
        The global energy, see `cbm.mean_field.Coupling`: `[h]`, `[k h]`, `[c h]`.
    weights
        Of the class, the concept and the global energy in the joint distribution, `[3]`.
    usual
        Share of the training images that have each concept, `[k]`; what a contribution is relative to.
    """

    class_layer: Float[Tensor, "h d"]
    class_offset: Float[Tensor, "h"]
    class_table: Float[Tensor, "c h"]
    start: Float[Tensor, "h"]
    change: Float[Tensor, "k h"]
    global_table: Float[Tensor, "c h"]
    weights: Float[Tensor, "3"]
    usual: Float[Tensor, "k"]

    def __call__(self, s: Float[Tensor, "n k"], x: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Logits `[n c]`, which sum to zero for each image."""
        logits = self.class_logits(x) - self.coupling.mean_energy(s)
        return logits - logits.mean(1, keepdim=True)

    def contributions(self, s: Float[Tensor, "n k"], x: Float[Tensor, "n d"], target: int) -> Float[Tensor, "n k"]:
        """What the logit loses when a concept's score becomes the usual one and the others stay; they do not add up."""
        k = s.shape[1]
        table = (self.global_table[target] - self.global_table.mean(0)) * self.weights[2]
        coupling = replace(self.coupling, table=table[None])
        rows = max(1, AT_ONCE // max(1, k * len(self.start)))
        own = torch.eye(k, dtype=torch.bool, device=s.device)
        parts = []
        for some in torch.split(s, rows):
            without = torch.where(own, self.usual, some[:, None]).flatten(0, 1)
            parts.append(coupling.mean_energy(without).view(-1, k) - coupling.mean_energy(some))
        return torch.cat(parts) if parts else s

    def effects(self) -> Float[Tensor, "c k"]:
        """What the presence of a concept, against its absence, adds to each logit when the others are as usual."""
        k = len(self.usual)
        own = torch.eye(k, dtype=torch.bool)
        absent, present = (
            self.coupling.mean_energy(torch.where(own, end, self.usual.expand(k, k))) for end in (0.0, 1.0)
        )
        gain = absent - present
        return (gain - gain.mean(1, keepdim=True)).T

    def class_logits(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n c"]:
        """Negative class energies, weighted."""
        check_width(x, self.class_layer)
        hidden = torch.relu(torch.addmm(self.class_offset, x, self.class_layer.T))
        return -self.weights[0] * (hidden @ self.class_table.T)

    @property
    def coupling(self) -> Coupling:
        """The global energy, weighted."""
        return Coupling(self.start, self.change, self.weights[2] * self.global_table)


@dataclass(frozen=True)
class EnergyBottleneck:
    """Concept probabilities of the joint distribution of concepts and classes, by mean field.

    It reads the class and the global energy as the head does, since classes are summed over.

    Attributes
    ----------
    concept_layer, concept_offset, concept_table
        From embedding to hidden units, and log-odds of each concept for a unit: `[e d]`, `[e]`, `[k e]`.
    held
        Probability at which an edit holds a concept on every image, `[k]`; -1 where it is inferred.
    class_layer, class_offset, class_table, start, change, global_table, weights, usual
        As in `EnergyHead`.
    """

    concept_layer: Float[Tensor, "e d"]
    concept_offset: Float[Tensor, "e"]
    concept_table: Float[Tensor, "k e"]
    held: Float[Tensor, "k"]
    class_layer: Float[Tensor, "h d"]
    class_offset: Float[Tensor, "h"]
    class_table: Float[Tensor, "c h"]
    start: Float[Tensor, "h"]
    change: Float[Tensor, "k h"]
    global_table: Float[Tensor, "c h"]
    weights: Float[Tensor, "3"]
    usual: Float[Tensor, "k"]

    def __call__(self, x: Float[Tensor, "n d"], clamp: Clamp | None = None) -> Float[Tensor, "n k"]:
        """Probabilities `[n k]`; the clamped ones are what the clamp says, the others are inferred with them.

        Raises
        ------
        ModelError
            If the embeddings have another width, or a clamped score is no probability.
        """
        mask, values = self.known(len(x), clamp)
        evidence, classes = self.logits(x)
        return mean_field(evidence, classes, self.head.coupling, mask=mask, values=values)

    def logits(self, x: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "n k"], Float[Tensor, "n c"]]:
        """Log-odds of the concepts and logits of the classes by their own energies, both weighted."""
        return self.weights[1] * self.concept_logits(x), self.head.class_logits(x)

    def concept_logits(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        """Log-odds of each concept by its own energy alone: what training calls `p(c_k | x)`."""
        check_width(x, self.concept_layer)
        return torch.relu(torch.addmm(self.concept_offset, x, self.concept_layer.T)) @ self.concept_table.T

    def known(self, n: int, clamp: Clamp | None) -> tuple[Bool[Tensor, "n k"], Float[Tensor, "n k"]]:
        """Which concepts are held, by an edit or by a person (who comes first), and at which probability."""
        mask, values = self.held != FREE, self.held
        if clamp is not None:
            if bool((((clamp.values < 0) | (clamp.values > 1)) & clamp.mask).any()):
                raise ModelError(
                    "a score of an energy model is a probability and cannot be set below 0 or above 1",
                    hint="set 1 for present, 0 for absent",
                )
            mask, values = mask | clamp.mask, torch.where(clamp.mask, clamp.values, values)
        return mask.expand(n, -1), values.expand(n, -1)

    @property
    def head(self) -> EnergyHead:
        """The head of the same energies."""
        return EnergyHead(**{f.name: getattr(self, f.name) for f in fields(EnergyHead)})


def parts_of(
    energies: Energies,
    weights: Float[Tensor, "3"],
    *,
    usual: Float[Tensor, "k"],
    centre: Float[Tensor, "d"],
    scale: float,
) -> EnergyBottleneck:
    """The bottleneck of trained energies that read `(x - centre) / scale`."""
    class_layer, concept_layer = energies.class_layer / scale, energies.concept_layer / scale
    coupling = energies.coupling()
    return EnergyBottleneck(
        concept_layer=concept_layer,
        concept_offset=energies.concept_offset - concept_layer @ centre,
        concept_table=energies.concept_table(),
        held=torch.full_like(usual, FREE),
        class_layer=class_layer,
        class_offset=energies.class_offset - class_layer @ centre,
        class_table=energies.class_table(),
        start=coupling.start,
        change=coupling.change,
        global_table=coupling.table,
        weights=weights,
        usual=usual,
    )


def without(part: Part, k: int) -> Part:
    """The part without a concept, which what remains then meets as it usually is."""
    rest = [j for j in range(len(part.usual)) if j != k]
    rows = {name: tensor[rest] for name, tensor in vars(part).items() if name in BY_CONCEPT}
    return replace(part, start=part.start + part.usual[k] * part.change[k], **rows)


def holding(part: Part, k: int, value: float) -> Part:
    """The part with a concept held at a probability on every image.

    Raises
    ------
    ModelError
        If the value is no probability.
    """
    if not 0 <= value <= 1:
        raise ModelError(
            f"the score of an energy model is a probability; {value:g} is none", hint="set 1 for present, 0 for absent"
        )
    place = torch.arange(len(part.usual)) == k
    fixed = {
        name: torch.where(place, value, tensor) for name, tensor in vars(part).items() if name in ("usual", "held")
    }
    return replace(part, **fixed)


def energy_shapes(tensors: Mapping[str, Tensor], k: int, c: int) -> dict[str, tuple[int, ...]]:
    """The shape that each tensor of a stored energy model must have for `k` concepts and `c` classes, by its name."""
    h, d = (tensors["bottleneck.class_layer"].shape[axis : axis + 1].numel() for axis in (0, 1))
    head = {"class_layer": (h, d), "class_offset": (h,), "class_table": (c, h), "start": (h,), "change": (k, h),
            "global_table": (c, h), "weights": (3,), "usual": (k,)}  # fmt: skip
    e = tensors["bottleneck.concept_layer"].shape[0:1].numel()
    own = {"concept_layer": (e, d), "concept_offset": (e,), "concept_table": (k, e), "held": (k,)}
    return {f"bottleneck.{name}": shape for name, shape in (head | own).items()} | {
        f"head.{name}": shape for name, shape in head.items()
    }
