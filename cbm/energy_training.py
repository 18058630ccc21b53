"""Training of the three energies and of the joint distribution that they make together.

The published losses train each energy on its own. A fourth makes the joint mean something: a random set of concepts is
held at its labels, mean field infers the others and the class, and these answers are scored. With one concept left out
it is a pseudo-likelihood; with none held it is the prediction; what is between are interventions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cbm.energy import Energies, class_loss, concept_loss, initial, known_loss, perturbed
from cbm.energy_parts import EnergyBottleneck, parts_of
from cbm.mean_field import Coupling, mean_field
from cbm.progress import OnProgress, Reading, silent
from cbm.training_set import TrainingSet

FEWEST = 16  # images a step, and steps an epoch, where there are few images
DROPOUT = 0.2  # of the hidden units
PREDICTED = 0.5  # share of the images of which nothing is held
CERTAIN = 1e-5  # a probability is at most this close to 0 and 1 in a loss
WEIGHING = 12  # steps of the last fit
CLASS_WEIGHT = 3.0  # of the class loss; the paper's, as are the ones of the others


@dataclass(frozen=True)
class EnergyConfig:
    """How energies are trained.

    Attributes
    ----------
    hidden, epochs, batch, rate, decay
        Hidden units, passes over the images, images a step, the longest step of Adam, and its weight decay.
    joint
        Weight of the loss of the joint distribution.
    seed
        Of the first parameters, the order and what is held.
    """

    hidden: int = 128
    epochs: int = 15
    batch: int = 128
    rate: float = 1e-2
    decay: float = 1e-4
    joint: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Batch:
    """Some images: standardised embeddings, concept labels (NaN where unknown) and classes."""

    x: Float[Tensor, "n d"]
    c: Float[Tensor, "n k"]
    y: Int[Tensor, "n"]


def train_energies(
    train: TrainingSet, held: TrainingSet, config: EnergyConfig, *, on_progress: OnProgress = silent
) -> tuple[EnergyBottleneck, float]:
    """The bottleneck of energies trained on annotated images, and the joint loss on the images held out.

    Of all epochs, the one with the least loss on `held` is kept.

    Notes
    -----
    Adam with one warm-up and a cosine decay instead of the published 300 epochs of plain SGD. The noise of the global
    loss is put on a copy; the published code writes it into integer labels, which then train the concepts. The weights
    of the three energies in the joint are trained too.
    """
    generator = torch.Generator().manual_seed(config.seed)
    centre, scale = train.x.mean(0), float(train.x.std(0).square().mean().sqrt().clamp(min=1e-6))
    usual = _shares(train)
    images, checked = (_standardised(part, centre, scale) for part in (train, held))
    first = initial(train.x.shape[1], len(train.concepts), len(train.classes), config.hidden, generator)
    parameters = {name: tensor.requires_grad_(True) for name, tensor in vars(first).items()}
    weights = torch.ones(3, requires_grad=True)
    energies = Energies(**parameters)
    adam = torch.optim.AdamW([*parameters.values(), weights], lr=config.rate, weight_decay=config.decay)
    size = min(config.batch, max(FEWEST, len(images.x) // FEWEST))
    steps = config.epochs * -(-len(images.x) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(adam, config.rate, total_steps=steps, pct_start=0.1)
    best, kept = torch.inf, (energies, weights)
    for epoch in range(config.epochs):
        told = {"loss/best on held-out": float(best)}
        on_progress(0.9 * epoch / config.epochs, Reading(f"epoch {epoch + 1} of {config.epochs}", **told))
        for batch in _batches(images, size, generator):
            adam.zero_grad()
            loss = _loss(energies, weights, batch, usual, config.joint, generator)
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            schedule.step()
        reached = _checked(energies, weights, checked)
        if reached < best:
            best, kept = reached, _copied(energies, weights)
    energies, weights = kept
    on_progress(0.9, "weighing the energies")
    weights, best = _weighed(energies, weights, checked, config.seed)
    with torch.no_grad():
        return parts_of(energies, weights, usual=usual, centre=centre, scale=scale), best


def _loss(
    energies: Energies,
    weights: Float[Tensor, "3"],
    batch: Batch,
    usual: Float[Tensor, "k"],
    joint: float,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """The three published losses and that of the joint distribution."""
    keep = (torch.rand(len(batch.x), len(energies.class_offset), generator=generator) >= DROPOUT) / (1 - DROPOUT)
    by_class, by_concept = energies.class_energy(batch.x, keep), energies.concept_energy(batch.x, keep)
    coupling = energies.coupling()
    guessed = torch.where(batch.c.isnan(), usual, batch.c)
    between = coupling.energy(perturbed(guessed, generator))
    published = (
        CLASS_WEIGHT * class_loss(by_class, batch.y) + concept_loss(by_concept, batch.c) + class_loss(between, batch.y)
    )
    mask = _held(batch.c, generator)
    return published + joint * _joint_loss(by_class, by_concept, coupling, weights, batch, mask)


def _joint_loss(
    by_class: Float[Tensor, "n c"],
    by_concept: Float[Tensor, "n k 2"],
    coupling: Coupling,
    weights: Float[Tensor, "3"],
    batch: Batch,
    mask: Bool[Tensor, "n k"],
) -> Float[Tensor, ""]:
    """Cross-entropy of the class and of every concept that is not held, as mean field infers them."""
    evidence = weights[1] * (by_concept[..., 0] - by_concept[..., 1])
    coupling = replace(coupling, table=weights[2] * coupling.table)
    prior = -weights[0] * by_class
    q = mean_field(evidence, prior, coupling, mask=mask, values=batch.c.nan_to_num())
    asked = torch.logit(q.clamp(CERTAIN, 1 - CERTAIN))
    return known_loss(asked, torch.where(mask, torch.nan, batch.c)) + class_loss(
        coupling.mean_energy(q) - prior, batch.y
    )


def _held(c: Float[Tensor, "n k"], generator: torch.Generator) -> Bool[Tensor, "n k"]:
    """Concepts to hold: none of half of the images, any share of the others'; never one whose label is unknown."""
    share, some = torch.rand(2, len(c), 1, generator=generator).unbind(0)
    share = torch.where(some < PREDICTED, 0.0, share)
    return (torch.rand(c.shape, generator=generator) < share) & ~c.isnan()


def _weighed(
    energies: Energies, weights: Float[Tensor, "3"], images: Batch, seed: int
) -> tuple[Float[Tensor, "3"], float]:
    """The weights of the energies with the least joint loss on some images, and that loss."""
    mask = _held(images.c, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        by_class, by_concept, coupling = (
            energies.class_energy(images.x),
            energies.concept_energy(images.x),
            energies.coupling(),
        )
    log = weights.clamp(min=1e-3).log().requires_grad_(True)
    descent = torch.optim.LBFGS([log], max_iter=WEIGHING, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        descent.zero_grad()
        value = _joint_loss(by_class, by_concept, coupling, log.exp(), images, mask)
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        descent.step(loss)  # type: ignore[no-untyped-call]
    found = log.detach().exp()
    return found, float(_joint_loss(by_class, by_concept, coupling, found, images, mask))


@torch.no_grad()
def _checked(energies: Energies, weights: Float[Tensor, "3"], images: Batch) -> float:
    """The joint loss when nothing is held."""
    mask = torch.zeros_like(images.c, dtype=torch.bool)
    by_class, by_concept = energies.class_energy(images.x), energies.concept_energy(images.x)
    return float(_joint_loss(by_class, by_concept, energies.coupling(), weights, images, mask))


def _copied(energies: Energies, weights: Float[Tensor, "3"]) -> tuple[Energies, Float[Tensor, "3"]]:
    copies = {f.name: getattr(energies, f.name).detach().clone() for f in fields(Energies)}
    return Energies(**copies), weights.detach().clone()


def _batches(images: Batch, size: int, generator: torch.Generator) -> Iterator[Batch]:
    for rows in torch.split(torch.randperm(len(images.x), generator=generator), size):
        yield Batch(images.x[rows], images.c[rows], images.y[rows])


def _standardised(data: TrainingSet, centre: Float[Tensor, "d"], scale: float) -> Batch:
    assert data.concept_labels is not None
    return Batch((data.x - centre) / scale, data.concept_labels, data.labels)


def _shares(train: TrainingSet) -> Float[Tensor, "k"]:
    """Share of the images with each concept, of those where it is known; a half where it nowhere is."""
    assert train.concept_labels is not None
    return train.concept_labels.nanmean(0).nan_to_num(0.5)
