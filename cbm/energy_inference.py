"""The joint distribution of an energy model asked in full: by enumeration, by Gibbs sampling, or for its lowest energy.

Enumeration is exact for a few concepts. Gibbs sampling has no bias for any number of them, and its chains say how far
they agree. Mean field, which the model itself uses, is compared with both.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cbm.bottleneck import Clamp
from cbm.energy_parts import EnergyBottleneck
from cbm.errors import ModelError
from cbm.mean_field import Coupling

MOST = 16  # concepts that can be enumerated
AT_ONCE = 1 << 22  # energies held in memory


@dataclass(frozen=True)
class Posterior:
    """What the joint distribution says of some images.

    Attributes
    ----------
    concepts, classes
        Probability that each concept is present `[n k]`, and of each class `[n c]`.
    r_hat
        Potential scale reduction of each concept's chains `[n k]`: 1 when they agree. 1 where nothing was sampled.

    References
    ----------
    Gelman, Rubin, "Inference from iterative simulation using multiple sequences", Statistical Science 1992.
    """

    concepts: Float[Tensor, "n k"]
    classes: Float[Tensor, "n c"]
    r_hat: Float[Tensor, "n k"]


def enumerated(model: EnergyBottleneck, x: Float[Tensor, "n d"], clamp: Clamp | None = None) -> Posterior:
    """The exact posterior, by the energy of every combination of concepts.

    Raises
    ------
    ModelError
        If there are more than 16 concepts, or one is held at neither 0 nor 1.
    """
    corners = corners_of(len(model.usual))
    between = model.head.coupling.energy(corners)  # [m c]
    concepts, classes = [], []
    for some, mask, values in _images(model, x, clamp, AT_ONCE // between.numel()):
        if bool(((values != 0) & (values != 1))[mask].any()):
            raise ModelError("enumeration holds concepts at 0 or 1 only", hint="use mean field or Gibbs sampling")
        evidence, class_logits = model.logits(some)
        alike = (corners == values[:, None]) | ~mask[:, None]
        single = (evidence @ corners.T).masked_fill(~alike.all(2), -torch.inf)
        joint = (
            (single[:, :, None] + class_logits[:, None] - between).flatten(1).softmax(1).view(len(some), *between.shape)
        )
        concepts.append(joint.sum(2) @ corners)
        classes.append(joint.sum(1))
    q = torch.cat(concepts)
    return Posterior(q, torch.cat(classes), torch.ones_like(q))


def corners_of(k: int) -> Float[Tensor, "m k"]:
    """Every combination of `k` concepts, one a row.

    Raises
    ------
    ModelError
        If there are more than 16.
    """
    if k > MOST:
        raise ModelError(
            f"{k} concepts have too many combinations to enumerate", hint="use mean field or Gibbs sampling"
        )
    return ((torch.arange(2**k)[:, None] >> torch.arange(k)) & 1).float()


def sampled(
    model: EnergyBottleneck,
    x: Float[Tensor, "n d"],
    clamp: Clamp | None = None,
    *,
    chains: int = 4,
    sweeps: int = 200,
    burn: int = 50,
    seed: int = 0,
) -> Posterior:
    """The posterior by blocked Gibbs sampling: the class given all concepts, then each concept given all else.

    Parameters
    ----------
    chains
        Started apart, from each concept's own energy.
    sweeps, burn
        Rounds over all concepts, and how many of them are not counted.

    Notes
    -----
    Averages are of the conditional probabilities, not of the samples drawn from them, which have more variance. A
    concept held between 0 and 1 is drawn in every sweep.

    References
    ----------
    Geman, Geman, "Stochastic relaxation, Gibbs distributions, and the Bayesian restoration of images", PAMI 1984.
    """
    generator = torch.Generator().manual_seed(seed)
    mask, values = model.known(len(x), clamp)
    evidence, class_logits = model.logits(x)
    chain = _Chains(
        evidence.repeat(chains, 1), class_logits.repeat(chains, 1), mask.repeat(chains, 1), values.repeat(chains, 1),
        model.head.coupling, generator,
    )  # fmt: skip
    n, kept = len(x), sweeps - burn
    totals = [torch.zeros(chains * n, size) for size in (evidence.shape[1], evidence.shape[1], class_logits.shape[1])]
    state = chain.first()
    for sweep in range(sweeps):
        state, q, p = chain.sweep(state)
        if sweep >= burn:
            for total, value in zip(totals, (q, q.square(), p), strict=True):
                total += value
    mean, square, classes = (total.view(chains, n, -1) / kept for total in totals)
    within = (square - mean.square()).clamp(min=0).mean(0)
    between = mean.var(0) if chains > 1 else torch.zeros_like(within)
    r_hat = torch.where(within > 1e-12, (1 + between / within.clamp(min=1e-12)).sqrt(), 1.0)
    return Posterior(mean.mean(0), classes.mean(0), r_hat)


@dataclass(frozen=True)
class _Chains:
    """What stays the same while chains run; a row is one chain of one image."""

    evidence: Float[Tensor, "r k"]
    class_logits: Float[Tensor, "r c"]
    mask: Bool[Tensor, "r k"]
    values: Float[Tensor, "r k"]
    coupling: Coupling
    generator: torch.Generator

    def first(self) -> Float[Tensor, "r k"]:
        return self._drawn(torch.where(self.mask, self.values, torch.sigmoid(self.evidence)))

    def sweep(self, c: Float[Tensor, "r k"]) -> tuple[Float[Tensor, "r k"], Float[Tensor, "r k"], Float[Tensor, "r c"]]:
        """Concepts drawn anew, the probabilities they were drawn with, and those of the classes."""
        start, change, table = self.coupling.start, self.coupling.change, self.coupling.table
        hidden = start + c @ change
        classes = torch.softmax(self.class_logits - torch.relu(hidden) @ table.T, 1)
        of_class = table[torch.multinomial(classes, 1, generator=self.generator)[:, 0]]
        c, q = c.clone(), torch.empty_like(c)
        for k in range(c.shape[1]):
            absent = hidden - c[:, k : k + 1] * change[k]
            cost = ((torch.relu(absent + change[k]) - torch.relu(absent)) * of_class).sum(1)
            q[:, k] = torch.where(self.mask[:, k], self.values[:, k], torch.sigmoid(self.evidence[:, k] - cost))
            c[:, k] = self._drawn(q[:, k])
            hidden = absent + c[:, k : k + 1] * change[k]
        return c, q, classes

    def _drawn(self, q: Float[Tensor, "*r"]) -> Float[Tensor, "*r"]:
        return (torch.rand(q.shape, generator=self.generator) < q).float()


def lowest(
    model: EnergyBottleneck, x: Float[Tensor, "n d"], clamp: Clamp | None = None, *, rounds: int = 20
) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n"]]:
    """Concepts `[n k]` and class `[n]` of the lowest energy, by coordinate descent from mean field's answer.

    Every class is tried and each concept flipped in turn, while that lowers the energy; no single change lowers it
    further.
    """
    mask, _ = model.known(len(x), clamp)
    evidence, class_logits = model.logits(x)
    coupling = model.head.coupling
    c = (model(x, clamp) > 0.5).float()
    for _ in range(rounds):
        before = c.clone()
        y = (class_logits - coupling.energy(c)).argmax(1)
        for k in range(c.shape[1]):
            hidden = coupling.start + c @ coupling.change
            absent = hidden - c[:, k : k + 1] * coupling.change[k]
            cost = ((torch.relu(absent + coupling.change[k]) - torch.relu(absent)) * coupling.table[y]).sum(1)
            c[:, k] = torch.where(mask[:, k], c[:, k], (evidence[:, k] > cost).float())
        if torch.equal(c, before):
            break
    return c, (class_logits - coupling.energy(c)).argmax(1)


def _images(
    model: EnergyBottleneck, x: Float[Tensor, "n d"], clamp: Clamp | None, rows: int
) -> Iterator[tuple[Float[Tensor, "b d"], Bool[Tensor, "b k"], Float[Tensor, "b k"]]]:
    """A few images at a time, with what is held on them."""
    mask, values = model.known(len(x), clamp)
    rows = max(1, rows)
    yield from zip(*(torch.split(part, rows) for part in (x, mask, values)), strict=True)
